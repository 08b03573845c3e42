"""What the metadata claim of scale and offset, held against the pixels when an archive is first seen."""

import copy
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from sqlalchemy import event, select

from datacube_config.connection import Index
from datacube_config.schema import radiometric_verdict
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.item_refused import NotAScene
from flows.steps.archives.items import Wanted, read_items
from flows.steps.areas import find_area
from flows.steps.ingesting.radiometric_check import PROPERTY, check_radiometry
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise
from flows.steps.simulation.archive import Simulation, write_archive
from flows.steps.simulation.scenes import write_cog
from products.period import parse_period
from tests.flows.loopback_server import Silent, answering

ACCESS = RasterAccess()


def scenes_of(folder: Path) -> list[SceneDocument]:
    scenes = []
    for found in read_items(str(folder), Wanted(), ArchiveFiles()):
        with suppress(NotAScene):
            scenes.append(normalise(found.document or {}, found.place, "here", read_file_grid))
    return scenes


def msi(scenes: list[SceneDocument], baseline: str, offset: float | None = None) -> list[SceneDocument]:
    """Sentinel-2 scenes of a baseline, and of an offset in the metadata."""
    ours = [s for s in scenes if s.product == "sentinel2_msi_l2a" and s.rendition.startswith(baseline)]
    return [s for s in ours if offset is None or radiometry(s)["blue"]["offset"] == offset]


def landsat(scenes: list[SceneDocument]) -> list[SceneDocument]:
    return [scene for scene in scenes if scene.product.startswith("landsat")]


def radiometry(scene: SceneDocument) -> Any:
    return scene.document["properties"]["neocube:radiometry"]


def claiming(scene: SceneDocument, **claim: float) -> SceneDocument:
    """The scene with another scale or offset in its metadata."""
    false = replace(scene, document=copy.deepcopy(scene.document))
    for band, values in radiometry(false).items():
        if band in ("scl", "qa_pixel", "qa_radsat"):
            continue
        values |= claim
    return false


def rows(index: Index) -> list[Any]:
    with index.engine.connect() as connection:
        return list(connection.execute(select(radiometric_verdict)))


@pytest.fixture(scope="session")
def archive_2022(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated archive of 2022: Sentinel-2 of baseline 05.09, whose pixels have the offset in them."""
    folder = tmp_path_factory.mktemp("simulated_2022") / "archive"
    write_archive(folder, Simulation(find_area("demo"), parse_period("2022"), 5, 128, "none", 2))
    return folder


@pytest.fixture
def busy_site() -> Iterator[tuple[str, list[str]]]:
    """A site that answers 503 to everything, and what it was asked for."""
    asked: list[str] = []

    class Busy(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def do_HEAD(self) -> None:
            self.do_GET()

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Busy)) as url:
        yield url, asked


def moved(scene: SceneDocument, root: str) -> dict[str, Any]:
    """The document with its files under another root."""
    document = copy.deepcopy(scene.document)
    for measurement in document["measurements"].values():
        measurement["path"] = f"{root}/{Path(measurement['path']).name}"
    return document


def raised(scene: SceneDocument, folder: Path) -> dict[str, Any]:
    """The document with copies of its files in a folder, 1000 added to the DN of the bands."""
    shutil.copytree(Path(scene.document["measurements"]["blue"]["path"]).parent, folder)
    for band, measurement in scene.document["measurements"].items():
        if band != "scl":
            path = folder / Path(measurement["path"]).name
            with rasterio.open(path) as file:
                dn, grid = file.read(1), GeoBox(file.shape, file.transform, str(file.crs))
            write_cog(path, np.where(dn > 0, dn + 1000, 0).astype("uint16"), grid, 0)
    return moved(scene, str(folder))


def gone(scene: SceneDocument) -> dict[str, Any]:
    return moved(scene, "/nowhere")


def verdicts(index: Index) -> dict[tuple[str, str], str]:
    return {(row.baseline, row.claim): row.verdict for row in rows(index)}


def look(index: Index, scenes: list[SceneDocument], archive: str = "here", **options: Any) -> dict[Any, str]:
    return check_radiometry(index, archive, scenes, ACCESS, **options)


def test_right_metadata_are_confirmed_whatever_the_baseline(
    index: Index, small_archive: Path, archive_2022: Path
) -> None:
    scenes = [*scenes_of(small_archive), *scenes_of(archive_2022)]
    assert look(index, scenes) == {}
    assert verdicts(index) == {
        ("02", "DN x 2.75e-05 - 0.2"): "confirmed",
        ("02.14", "DN x 0.0001 + 0"): "confirmed",
        ("05.00", "DN x 0.0001 + 0"): "confirmed",
        ("05.09", "DN x 0.0001 - 0.1"): "confirmed",
    }
    assert {scene.document["properties"][PROPERTY] for scene in scenes} == {"confirmed"}


def test_the_evidence_says_what_was_seen(index: Index, archive_2022: Path) -> None:
    scenes = msi(scenes_of(archive_2022), "05.09")
    look(index, scenes)
    (row,) = rows(index)
    assert len(row.evidence["scenes"]) == 3
    assert row.evidence["not_sampled"] == {}
    seen = next(iter(row.evidence["scenes"].values()))
    assert seen["item_id"] in {scene.document["properties"]["neocube:item_id"] for scene in scenes}
    assert seen["evidence"]["tested"]["DN x 0.0001 - 0.1"] == "possible"
    assert "in swir2" in seen["evidence"]["tested"]["DN x 0.0001 + 0"]
    assert seen["evidence"]["clear_px"] > 1000
    assert 900 < seen["evidence"]["dn"]["swir2"]["p0.1"] < 1400


@pytest.mark.parametrize(
    ("baseline", "claim", "words"),
    [
        ("05.09", {"offset": 0.0}, "the darkest pixels would have a reflectance of 0.1.*fit DN x 0.0001 - 0.1"),
        ("05.09", {"offset": -0.2}, "of the clear pixels would have.*below.*fit DN x 0.0001 - 0.1"),
        ("05.09", {"scale": 1e-3, "offset": 0.0}, "swir2 reflectance.*fit DN x 0.0001 - 0.1"),
    ],
)
def test_a_false_claim_on_pixels_with_the_offset_is_contradicted(
    index: Index, archive_2022: Path, baseline: str, claim: dict[str, float], words: str
) -> None:
    false = [claiming(scene, **claim) for scene in msi(scenes_of(archive_2022), baseline)]
    refused = look(index, false)
    assert len(refused) >= 2
    assert all(re.search(words, cause) for cause in refused.values())


def test_an_offset_claimed_for_pixels_without_it_is_contradicted(index: Index, small_archive: Path) -> None:
    false = [claiming(scene, offset=-0.1) for scene in msi(scenes_of(small_archive), "02.14")]
    refused = look(index, false)
    assert set(refused) == {scene.id for scene in false}
    assert all("below -0.04; the pixels fit DN x 0.0001 + 0" in cause for cause in refused.values())
    assert verdicts(index) == {("02.14", "DN x 0.0001 - 0.1"): "contradicted"}


def test_a_landsat_scale_of_collection_1_is_contradicted(index: Index, small_archive: Path) -> None:
    false = [claiming(scene, scale=1e-4, offset=0.0) for scene in landsat(scenes_of(small_archive))]
    refused = look(index, false)
    assert set(refused) == {scene.id for scene in false}
    assert all("the pixels fit DN x 2.75e-05 - 0.2" in cause for cause in refused.values())


def test_one_contradicting_scene_is_refused_alone_and_two_take_their_claim_with_them(
    index: Index, small_archive: Path
) -> None:
    first, second, third, *_ = [claiming(scene, offset=-0.1) for scene in msi(scenes_of(small_archive), "02.14")]
    assert set(look(index, [first])) == {first.id}
    assert verdicts(index) == {("02.14", "DN x 0.0001 - 0.1"): "undetermined"}
    assert set(look(index, [second])) == {second.id}
    assert verdicts(index) == {("02.14", "DN x 0.0001 - 0.1"): "contradicted"}
    (cause,) = look(index, [third]).values()
    names = sorted(scene.document["properties"]["neocube:item_id"] for scene in (first, second))
    assert f"the pixels of {names[0]} and {names[1]} contradict it (here, sentinel-2-l2a, baseline 02.14)" in cause
    assert look(index, [claiming(third, offset=0.0)]) == {}


def test_scenes_whose_pixels_were_mended_are_taken(index: Index, small_archive: Path, tmp_path: Path) -> None:
    first, second, third, *_ = msi(scenes_of(small_archive), "02.14")
    false = [claiming(scene, offset=-0.1) for scene in (first, second, third)]
    assert len(look(index, false)) == 3
    mended = [replace(scene, document=raised(scene, tmp_path / str(scene.id))) for scene in false]
    assert look(index, mended) == {}
    assert verdicts(index) == {("02.14", "DN x 0.0001 - 0.1"): "confirmed"}


def test_a_confirmed_claim_costs_one_statement_a_batch(index: Index, small_archive: Path) -> None:
    scenes = scenes_of(small_archive)
    look(index, scenes)
    statements: list[str] = []
    event.listen(index.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    started = time.perf_counter()
    assert look(index, [replace(scene, document=gone(scene)) for scene in scenes]) == {}
    assert time.perf_counter() - started < 0.5
    assert len(statements) == 1


def test_the_same_batch_again_samples_nothing_more(index: Index, shared_data: Path) -> None:
    scenes = scenes_of(shared_data / "sentinel2_l2a/S2A_29RKH_20200219_0_L2A")
    look(index, scenes)
    (before,) = rows(index)
    assert look(index, [replace(scene, document=gone(scene)) for scene in scenes]) == {}
    (after,) = rows(index)
    assert after.evidence == before.evidence


def test_a_trial_run_stores_nothing(index: Index, small_archive: Path) -> None:
    false = [claiming(scene, offset=-0.1) for scene in msi(scenes_of(small_archive), "02.14")]
    assert len(look(index, false, dry_run=True)) >= 2
    assert rows(index) == []


def test_switched_off_everything_passes_and_is_flagged(index: Index, small_archive: Path) -> None:
    false = [claiming(scene, offset=-0.1) for scene in msi(scenes_of(small_archive), "02.14")]
    assert look(index, false, mode="off") == {}
    assert {scene.document["properties"][PROPERTY] for scene in false} == {"undetermined"}
    (row,) = rows(index)
    assert (row.verdict, row.evidence["not_sampled"]["reason"]) == (
        "undetermined",
        "not sampled: radiometric_check is off",
    )


def test_pixels_out_of_reach_leave_the_claim_undetermined_and_are_not_asked_for_again_at_once(
    index: Index, small_archive: Path, busy_site: tuple[str, list[str]]
) -> None:
    url, asked = busy_site
    remote = [replace(scene, document=moved(scene, url)) for scene in msi(scenes_of(small_archive), "02.14")]
    assert look(index, remote) == {}
    assert {scene.document["properties"][PROPERTY] for scene in remote} == {"undetermined"}
    (row,) = rows(index)
    assert row.verdict == "undetermined"
    assert row.evidence["not_sampled"]["reason"].startswith("not sampled: ")
    assert asked
    asked.clear()
    assert look(index, remote) == {}
    assert asked == []


def test_a_file_that_only_names_other_files_is_not_opened(index: Index, small_archive: Path, tmp_path: Path) -> None:
    scene = msi(scenes_of(small_archive), "02.14")[0]
    blue = Path(scene.document["measurements"]["blue"]["path"])
    with rasterio.open(blue) as source:
        height, width = source.shape
    band = f'<VRTRasterBand dataType="UInt16" band="1"><SimpleSource><SourceFilename>{blue}</SourceFilename></SimpleSource></VRTRasterBand>'
    trick = tmp_path / "B02.tif"
    trick.write_text(f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{band}</VRTDataset>')
    document = copy.deepcopy(scene.document)
    document["measurements"]["blue"]["path"] = str(trick)
    assert look(index, [replace(scene, document=document)]) == {}
    (row,) = rows(index)
    assert "not recognized as being in a supported file format" in row.evidence["not_sampled"]["reason"]


@pytest.mark.parametrize(
    ("folder", "verdict"),
    [
        ("landsat_c2_l2/LC08_L2SP_005009_20150710", "confirmed"),
        ("landsat_c2_l2/LC08_L2SP_008059_20191201", "confirmed"),
        ("landsat_c2_l2/mini_LT05_L2SP_090084_19980308", "confirmed"),
        ("landsat_c2_l2/LC08_L2SP_001062_20201031", "undetermined"),
        ("sentinel2_l2a/S2A_29RKH_20200219_0_L2A", "undetermined"),
    ],
    ids=["Greenland", "Amazonia", "Sydney 1998", "all cloud", "Sahara"],
)
def test_a_real_scene_is_confirmed_or_left_open(index: Index, shared_data: Path, folder: str, verdict: str) -> None:
    (scene,) = scenes_of(shared_data / folder)
    assert look(index, [scene]) == {}
    assert scene.document["properties"][PROPERTY] == verdict


@pytest.mark.parametrize("claim", [{"scale": 1e-4, "offset": 0.0}, {"scale": 2.75e-4}])
@pytest.mark.parametrize("name", ["LC08_L2SP_005009_20150710", "LC08_L2SP_008059_20191201"])
def test_a_real_scene_with_a_false_scale_is_contradicted(
    index: Index, shared_data: Path, name: str, claim: dict[str, float]
) -> None:
    scene = scenes_of(shared_data / "landsat_c2_l2" / name)[0]
    (cause,) = look(index, [claiming(scene, **claim)]).values()
    assert cause.endswith("the pixels fit DN x 2.75e-05 - 0.2")
