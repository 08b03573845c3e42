"""Every recorded item of nine catalogues is decided, and docs/scenes.md says how: `python tests/flows/test_scene_table.py` writes its table."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import normalise

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "scenes.md"
START, END = "<!-- table of items: start -->", "<!-- table of items: end -->"
HEAD = ("File", "Item", "Outcome", "Acquisition, or cause", "Rendition", "CRS", "Slice")
SITE = "https://stac.example.org/collections/c/items"
INDEXED = "indexed as "

Row = tuple[str, ...]


def items_of(path: Path) -> list[Any]:
    if path.suffix not in (".json", ".geojson"):
        return [None]
    document = json.loads(path.read_text())
    features = document.get("features", [document]) if isinstance(document, dict) else document
    return list(features)


def decision(item: dict[str, Any] | None) -> Row:
    """Item, outcome, acquisition or cause, rendition, CRS, slice."""
    if item is None:
        return ("", "not read", "no JSON", "", "", "")
    try:
        scene = normalise(item, ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset()), "test", read_file_grid)
    except NotAScene as note:
        return (item["id"], "skipped", str(note), "", "", "")
    except ItemRefused as refusal:
        return (str(item.get("id")), "quarantined", str(refusal)[:200], "", "", "")
    document = scene.document
    crs = document["crs"] + (", not the stated EPSG:3271" if "neocube:note" in document["properties"] else "")
    return (item["id"], INDEXED + scene.product, scene.acquisition, scene.rendition, crs, scene.slice)


def rows(collection: Path) -> Iterator[Row]:
    for path in sorted(path for path in collection.rglob("*") if path.is_file()):
        for item in items_of(path):
            yield (str(path.relative_to(collection)), *decision(item))


def table(collection: Path) -> str:
    lines = [HEAD, tuple("---" for _ in HEAD), *rows(collection)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def written() -> str:
    text = DOCUMENT.read_text()
    return text[text.index(START) + len(START) : text.index(END)].strip()


def test_the_documented_table_of_every_item_is_what_the_normaliser_decides(shared_data: Path) -> None:
    now = table(shared_data / "stac").splitlines()
    before = written().splitlines()
    news = [f"- {line}" for line in before if line not in now] + [f"+ {line}" for line in now if line not in before]
    assert now == before, (
        f"docs/scenes.md is not what the normaliser decides. If the decisions are meant, write the table anew:\n"
        f"  python {Path(__file__).relative_to(REPOSITORY)}\n" + "\n".join(news[:20])
    )


def test_no_item_of_the_collection_is_undecided(shared_data: Path) -> None:
    outcomes = Counter(row[2].split(" as ")[0] for row in rows(shared_data / "stac"))
    assert outcomes == {"indexed": 143, "quarantined": 22, "skipped": 2, "not read": 1}
    assert not any("unexpected" in row[3] or "unreadable item" in row[3] for row in rows(shared_data / "stac"))


@pytest.mark.parametrize(
    "heading", ["## What is decided", "## Acquisition, slice and rendition", "## Every recorded item"]
)
def test_the_document_has_its_parts(heading: str) -> None:
    assert heading in DOCUMENT.read_text()


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    start, end = text.index(START) + len(START), text.index(END)
    DOCUMENT.write_text(f"{text[:start]}\n\n{table(REPOSITORY.parent / 'shared' / 'data' / 'stac')}\n\n{text[end:]}")
