"""Renditions and slices in the index, and which cells a new rendition makes stale."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.plan_cells import plan
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.index.catalogue import scene_of
from flows.steps.index.scene_index import Decision, list_scenes, take_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import normalise

SITE = "https://stac.example.org/collections/c/items"
Item = dict[str, Any]


@pytest.fixture
def template(shared_data: Path) -> Item:
    """A Sentinel-2 item of Earth Search Collection 1, with its datastrip."""
    item: Item = json.loads((shared_data / "stac/earth_search/c1/13TDE_2024_10_items.json").read_text())["features"][0]
    return item


def slice_of(template: Item, strip: str, generated: str, baseline: str = "05.10") -> Item:
    """The template's tile and datatake in a datastrip and a processing."""
    item = copy.deepcopy(template)
    number = baseline.replace(".", "")
    item["id"] = f"S2A_T13TDE_{strip}_L2A_{number}"
    item["properties"] |= {
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"S2A_MSIL2A_20240422T173911_N{number}_R098_T13TDE_{generated}.SAFE",
        "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_{generated}_S{strip}_N{baseline}",
    }
    return item


def take(index: Index, *items: Item) -> Decision:
    """Index items of a remote catalogue."""
    place = ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset())
    return take_scenes(index, [normalise(item, place, "earth-search", read_file_grid) for item in items])


def taken(decision: Decision) -> tuple[int, int, int, int]:
    """How many are added, replaced, superseded and unchanged."""
    return len(decision.added), len(decision.replaced), len(decision.superseded), decision.unchanged


def statuses(index: Index) -> dict[str, str]:
    return {row["item_id"]: row["status"].split(":")[0] for row in list_scenes(index)}


NORTH, SOUTH = "20240422T174753", "20240422T175431"


def test_two_stations_slices_of_one_pass_are_both_kept(each_index: Index, template: Item) -> None:
    north, south = slice_of(template, NORTH, "20240423T004950"), slice_of(template, SOUTH, "20240423T011500")
    assert taken(take(each_index, north, south)) == (2, 0, 0, 0)
    assert set(statuses(each_index).values()) == {"active"}
    scenes = [scene_of(each) for each in each_index.dc.index.datasets.search(product="sentinel2_msi_l2a")]
    assert len({scene.id for scene in scenes}) == 2
    assert len({scene.pass_id for scene in scenes}) == len({scene.acquisition for scene in scenes}) == 1
    assert taken(take(each_index, south, north)) == (0, 0, 0, 2)


def test_a_new_rendition_of_one_slice_replaces_only_that(each_index: Index, template: Item) -> None:
    north, south = slice_of(template, NORTH, "20240423T004950"), slice_of(template, SOUTH, "20240423T011500")
    take(each_index, north, south)
    newer = slice_of(template, "20240422T175432", "20250101T000000", "05.11")
    assert taken(take(each_index, newer)) == (0, 1, 0, 0)
    assert statuses(each_index) == {north["id"]: "active", south["id"]: "archived", newer["id"]: "active"}
    (reason,) = [row["status"] for row in list_scenes(each_index) if row["item_id"] == south["id"]]
    assert reason.endswith("baseline 05.11 > 05.10")


def test_the_slices_and_renditions_of_one_page_settle_as_those_of_many(each_index: Index, template: Item) -> None:
    south, older = slice_of(template, SOUTH, "20240423T011500"), slice_of(template, SOUTH, "20240422T201500", "05.09")
    north = slice_of(template, NORTH, "20240423T004950")
    assert taken(take(each_index, older, north, south)) == (2, 0, 1, 0)
    assert statuses(each_index) == {north["id"]: "active", south["id"]: "active", older["id"]: "archived"}


def reprocessed(archive: Path, name: str, folder: Path) -> Path:
    """A copy of a Sentinel-2 scene of the archive, processed years later."""
    (path,) = archive.rglob(f"{name}.json")
    shutil.copytree(path.parent, folder)
    item = json.loads((folder / path.name).read_text())
    product = item["properties"]["s2:product_uri"]
    item["properties"]["s2:product_uri"] = product[: -len("20200101T000000.SAFE")] + "20290101T000000.SAFE"
    (folder / path.name).write_text(json.dumps({**item, "id": f"{name}_again"}))
    return folder


def test_a_replaced_rendition_makes_the_cells_that_read_it_stale_and_no_other(
    ingested_settings: Settings, small_recipe: Path, small_archive: Path, tmp_path: Path
) -> None:
    built = build(str(small_recipe), "demo", "2020")
    assert built["failed"] == []
    before = plan(str(small_recipe), "demo", "2020")
    assert {cell.state for cell in before.cells} == {"fresh"}
    readers: dict[str, set[str]] = {}
    for cell in before.cells:
        for scene in cell.scenes:
            if scene.collection == "sentinel-2-l2a":
                readers.setdefault(scene.item_id, set()).add(cell.key.tile.label)
    name = min(readers, key=lambda item: (len(readers[item]), item))
    assert 0 < len(readers[name]) < len(before.cells)
    with open_index(ingested_settings) as index:
        report = ingest_archive(index, str(reprocessed(small_archive, name, tmp_path / "again")))
        assert (report.replaced, report.quarantined) == (1, [])
    after = plan(str(small_recipe), "demo", "2020")
    assert {cell.key.tile.label for cell in after.cells if cell.state == "stale"} == readers[name]
    assert {cell.state for cell in after.cells} == {"fresh", "stale"}
