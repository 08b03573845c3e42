"""Fuzz the normaliser with atheris, guided by coverage: JSON as it comes, and real items with some of their nodes changed.

`python atheris_normalise.py [libFuzzer options] FOLDER`: the JSON files of FOLDER are the items to change and the corpus.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["flows.steps"]):
    from flows.steps.archives.asset_hrefs import ItemPlace
    from flows.steps.archives.item_refused import ItemRefused, NotAScene
    from flows.steps.scenes.normalise import normalise

SITE = "https://stac.example.org/collections/c/items"
PLACE = ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset())
SEEDS: list[dict[str, Any]] = []


def one_input(data: bytes) -> None:
    """Decide the items of a JSON document, or a real item changed as the bytes say."""
    if data[:1] in (b"{", b"["):
        try:
            document: Any = json.loads(data)
        except (ValueError, RecursionError):
            return
        features = document.get("features") if isinstance(document, dict) else None
        items = features if isinstance(features, list) else [document]
    else:
        items = [changed(atheris.FuzzedDataProvider(data))]
    for item in items[:3]:
        if isinstance(item, dict):
            try:
                normalise(item, PLACE, "fuzz", lambda href: None)
            except (ItemRefused, NotAScene):
                continue


def changed(source: Any) -> dict[str, Any]:
    """A real item with up to six of its nodes replaced."""
    item = copy.deepcopy(SEEDS[source.ConsumeIntInRange(0, len(SEEDS) - 1)])
    for _ in range(source.ConsumeIntInRange(1, 6)):
        node: Any = item
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = keys[source.ConsumeIntInRange(0, len(keys) - 1)]
            if not isinstance(node[key], dict | list) or source.ConsumeIntInRange(0, 4) == 0:
                node[key] = value_of(source)
                break
            node = node[key]
    return item


def value_of(source: Any) -> Any:
    """Something that JSON can hold."""
    kind = source.ConsumeIntInRange(0, 8)
    if kind == 0:
        return source.ConsumeInt(12)
    if kind == 1:
        return source.ConsumeFloat()
    if kind == 2:
        return source.ConsumeUnicode(60)
    if kind == 3:
        return [source.ConsumeFloat() for _ in range(source.ConsumeIntInRange(0, 9))]
    if kind == 4:
        return {source.ConsumeUnicode(8): source.ConsumeUnicode(8)}
    if kind == 5:
        return [[[source.ConsumeFloatInRange(-400, 400), source.ConsumeFloatInRange(-100, 100)] for _ in range(6)]]
    return (None, True, [])[kind - 6]


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[-1]).glob("*.json")):
        found = json.loads(path.read_text())
        SEEDS.extend(found.get("features", [found])[:3])
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
