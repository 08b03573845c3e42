"""Whatever an item holds, it is a scene, refused or no scene: no other error, no long wait, no write, no network."""

import builtins
import copy
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.scenes.normalise import SceneDocument, normalise
from tests.flows.fuzz_seeds import SEEDS

SITE = "https://stac.example.org/collections/c/items"
PLACE = ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset())
LONGEST_S = 2.0


def deep(levels: int = 20_000) -> Any:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested]
    return nested


DEEPEST = deep(1)
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 10**400, -(10**30), 2**63, 1e308, float("nan"), float("inf"), -0.0, "", " ", "0",
    "\x00", "\ud800", "\u202e", "\u0663\u0662", "\uff25\uff30\uff33\uff27", "x" * 100_000, "EPSG:3031", "EPSG:4326", "EPSG:0", "/vsimem/x", "file:///etc/passwd",
    "../../x", "http://[", "http://localhost/x", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2020-02-30",
    [], [[]], [None], [0, 0], [1e9] * 6, [float("nan")] * 6, {}, {"a": {}}, {"type": "Polygon"}, DEEPEST,
    "S2A_MSIL2A_20201399T999999_N9999_R000_T99ZZZ_20209999T999999", "LC08_L2SP_999999_20209999_20209999_02_T1",
]  # fmt: skip


@pytest.fixture(scope="module")
def seeds(shared_data: Path) -> list[dict[str, Any]]:
    """Real items of eight catalogues."""
    documents = [json.loads((shared_data / "stac" / name).read_text()) for name in SEEDS]
    return [item for document in documents for item in document.get("features", [document])[:2]]


def fresh(value: Any) -> Any:
    """A hostile value of its own, which changes to one item do not carry into the next."""
    return deep() if value is DEEPEST else copy.deepcopy(value)


def paths(node: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, ten levels down."""
    if len(here) == 10:
        return
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*here, key)
        yield from paths(child, (*here, key))


def mutate(item: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """An item with one to four of its nodes deleted, replaced, repeated or moved."""
    changed = copy.deepcopy(item)
    for _ in range(data.draw(st.integers(1, 4))):
        places = [place for place in paths(changed) if place[0] not in ("links", "stac_extensions")]
        if not places:
            break
        *parents, key = data.draw(st.sampled_from(places))
        node: Any = changed
        for parent in parents:
            node = node[parent]
        action = data.draw(st.sampled_from(["delete", "replace", "junk", "wrap", "rename"]))
        if action == "delete":
            del node[key]
        elif action == "replace":
            node[key] = fresh(data.draw(st.sampled_from(HOSTILE)))
        elif action == "junk":
            node[key] = data.draw(JUNK)
        elif action == "wrap":
            node[key] = [node[key]] * data.draw(st.sampled_from([1, 2]))
        elif isinstance(node, dict):
            node[data.draw(st.text(max_size=20))] = node.pop(key)
    return changed


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12,
)


def decide(item: Any) -> str:
    """The kind of answer; anything but the three is an error."""
    started = time.process_time()
    try:
        scene = normalise(item, PLACE, "test", lambda href: None)
    except (ItemRefused, NotAScene) as answer:
        said, kind = str(answer), type(answer).__name__
    else:
        assert isinstance(scene, SceneDocument)
        said, kind = json.dumps(scene.document, allow_nan=False), "SceneDocument"
    assert len(said.encode()) < (200_000 if kind == "SceneDocument" else 3000)
    assert kind != "SceneDocument" or not ("\\u0000" in said or "\\ud8" in said)
    assert time.process_time() - started < LONGEST_S
    return kind


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a file to write, or a connection, fails the test."""
    real_open = builtins.open

    def reading_only(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        assert not set(mode) & set("wax+"), f"normalise opened {file} to write"
        return real_open(file, mode, *rest, **options)

    def closed(*arguments: Any, **options: Any) -> None:
        raise AssertionError("normalise opened a connection")

    for name in ("remove", "rename", "mkdir", "unlink"):
        monkeypatch.setattr(os, name, closed)
    monkeypatch.setattr(socket.socket, "connect", closed)
    monkeypatch.setattr(builtins, "open", reading_only)


def fuzzed(examples: int) -> Any:
    return settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )


@given(st.data())
@fuzzed(150)
def test_a_mutated_real_item_is_decided(seeds: list[dict[str, Any]], data: st.DataObject) -> None:
    decide(mutate(data.draw(st.sampled_from(seeds)), data))


@given(st.dictionaries(st.sampled_from(["id", "type", "properties", "assets", "geometry", "collection", "bbox"]), JUNK))
@fuzzed(100)
def test_junk_with_the_keys_of_an_item_is_decided(item: dict[str, Any]) -> None:
    decide(item)


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_hostile_values_at_each_place_of_the_properties_are_decided(seeds: list[dict[str, Any]], number: int) -> None:
    item = seeds[number]
    for key in [
        *item["properties"],
        "landsat:scene_id",
        "proj:wkt2",
        "proj:code",
        "s2:mgrs_tile",
        "sat:relative_orbit",
    ]:
        for value in HOSTILE:
            decide({**item, "properties": {**item["properties"], key: fresh(value)}})


def test_hostile_values_in_place_of_each_part_are_decided(seeds: list[dict[str, Any]]) -> None:
    for item in seeds:
        for key in ("id", "type", "properties", "assets", "geometry", "collection", "bbox", "stac_version"):
            for value in HOSTILE:
                decide({**item, key: fresh(value)})


def test_an_untouched_item_is_a_scene(seeds: list[dict[str, Any]]) -> None:
    assert {decide(item) for item in seeds} == {"SceneDocument"}


@pytest.mark.full
@given(st.data())
@fuzzed(5000)
def test_many_mutated_real_items_are_decided(seeds: list[dict[str, Any]], data: st.DataObject) -> None:
    decide(mutate(data.draw(st.sampled_from(seeds)), data))
