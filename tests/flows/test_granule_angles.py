"""The angles in the metadata of a Sentinel-2 granule: from MTD_TL.xml into pixels, wherever the file lies, and what is said where it is damaged."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.interpolate import RegularGridInterpolator

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.packed_files import packed_folder
from flows.steps.archives.source_bytes import FileAccess
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading import granule_file
from flows.steps.loading.granule_file import read_granule
from flows.steps.loading.mirror_locations import with_mirrors
from flows.steps.loading.nadir import nodes
from flows.steps.loading.raster_access import RasterAccess, raster_access
from flows.steps.loading.reading import BandRead, UnreadBand
from flows.steps.loading.tile_block import load_observations
from flows.steps.mirroring.mirror_jobs import MirrorOrder
from flows.steps.mirroring.mirroring import mirror_scenes
from flows.steps.scenes.granule_angles import BAND_NUMBERS, granule_angles
from flows.steps.scenes.normalise import GRANULE
from flows.steps.simulation.archive import Simulation, write_archive
from products.identity import source_keys
from products.period import parse_period
from products.pixel.angle_grids import AngleGrids
from products.pixel.brdf import c_factor
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import parse_recipe
from products.scene import Angles, BandFile, Scene
from products.spec import FeaturesRecipe
from tests.flows.granule_documents import DETECTORS, NODES, SUN, granule_document, view
from tests.flows.loopback_server import serving_folder
from tests.flows.scene_files import write_scene

AREA, YEAR = "demo", "2020"
WEST, NORTH, STEP = 499_980, 600_000, 5000
GROUND = GeoBox((240, 300), Affine(30, 0, 536_010, 0, -30, 575_010), CRS("EPSG:32647"))
DN = 3000
DEMO_CORNER = 660_000, 600_000
RECIPE = """name: {name}
version: 1
kind: features
grid: {{crs: {crs}, resolution_m: {pixel}, tile_px: 96}}
period: P1Y
sources: [{{collection: sentinel-2-l2a}}]
brdf: {brdf}
features:
  - band: {{names: [red, nir], reduce: [p50]}}
"""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file was read before."""
    monkeypatch.setattr(granule_file, "_known", {})


def recipe(brdf: str = "c_factor", crs: str = '"EPSG:32647"', pixel: int = 30) -> str:
    return RECIPE.format(name=f"granule_{brdf}", crs=crs, pixel=pixel, brdf=brdf)


def parsed(text: str) -> FeaturesRecipe:
    found = parse_recipe(text, "granule.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


def by_hand(
    band: str, eastings: NDArray[Any], northings: NDArray[Any], west: float = WEST, north: float = NORTH
) -> NDArray[Any]:
    """The c-factor of a band at places in the CRS of the tile, from what the document was written of, by scipy and the formula, place by place."""
    number = BAND_NUMBERS[band]
    detectors = [view(number, detector) for detector in DETECTORS]
    zenith, azimuth = (
        np.ma.masked_invalid(np.stack([each[part] for each in detectors])).mean(axis=0).filled(np.nan)
        for part in (0, 1)
    )
    places = np.stack([(north - northings) / STEP, (eastings - west) / STEP], axis=-1)
    lines = np.arange(NODES, dtype=float)
    sun_zenith, sun_azimuth, view_zenith, view_azimuth = (
        RegularGridInterpolator((lines, lines), values)(places) for values in (*SUN, zenith, azimuth)
    )
    found = np.empty(eastings.shape)
    for at in np.ndindex(*eastings.shape):
        angles = Angles(90 - sun_zenith[at], sun_azimuth[at], view_zenith[at], view_azimuth[at])
        found[at] = c_factor(band, angles)
    return found


def centres(ground: GeoBox) -> tuple[NDArray[Any], NDArray[Any]]:
    a = ground.affine
    return np.meshgrid(a.c + (np.arange(ground.shape[1]) + 0.5) * a.a, a.f + (np.arange(ground.shape[0]) + 0.5) * a.e)


def test_detectors_are_merged_and_nodes_that_none_sees_have_the_nearest() -> None:
    grids = granule_angles(granule_document())
    assert (grids.crs, grids.west, grids.north, grids.step_m) == ("EPSG:32647", WEST, NORTH, (STEP, STEP))
    assert set(grids.views) == set(BAND_NUMBERS)
    np.testing.assert_allclose(grids.sun.zenith_deg, SUN[0], atol=1e-4)
    np.testing.assert_allclose((grids.sun.azimuth_deg - SUN[1] + 180) % 360 - 180, 0, atol=1e-3)
    red = grids.views["red"]
    assert np.isfinite(red.zenith_deg).all() and np.isfinite(red.azimuth_deg).all()
    assert red.zenith_deg[10, 4] == pytest.approx(2 + 1.6 + 0.2 + 0.15, abs=1e-4)
    for column, azimuth in ((4, -5.0), (8, 0.0), (12, 5.0), (16, 0.0), (20, -5.0)):  # 8 and 16 are seen by two
        assert red.azimuth_deg[10, column] == pytest.approx(104 + azimuth + 3 + 0.3, abs=2e-3)
    assert red.zenith_deg[10, 22] == red.zenith_deg[10, 21]
    assert red.zenith_deg[0, 0] in (
        red.zenith_deg[0, 3],
        red.zenith_deg[3, 0],
        red.zenith_deg[1, 2],
        red.zenith_deg[2, 1],
    )
    assert grids.views["swir2"].zenith_deg[10, 4] == pytest.approx(2 + 1.6 + 0.2 + 0.6, abs=1e-4)


def test_a_band_that_no_detector_sees_has_its_mean_view() -> None:
    nowhere = np.full((NODES, NODES), np.nan)
    grids = granule_angles(granule_document(views=lambda band, d: (nowhere, nowhere) if band == 3 else view(band, d)))
    assert np.ptp(grids.views["red"].zenith_deg) == 0 and grids.views["red"].zenith_deg[0, 0] == pytest.approx(6.15)
    np.testing.assert_allclose(grids.views["red"].azimuth_deg, 106.3)
    assert np.ptp(grids.views["nir"].zenith_deg) > 1


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "half": (lambda raw: raw[: len(raw) // 2], "unreadable the metadata: "),
    "empty": (lambda raw: b"", "unreadable the metadata: no element found"),
    "entities": (lambda raw: raw.replace(b"<n1:Level", b'<!DOCTYPE x [<!ENTITY a "b">]><n1:Level', 1), "declares a document type"),
    "another": (lambda raw: b"<a/>", r"no Sun_Angles_Grid: expected the metadata of a Sentinel-2 granule \(MTD_TL.xml\)"),
    "words": (lambda raw: raw.replace(b"<VALUES>35 ", b"<VALUES>high ", 1), "are no grids: could not convert string to float"),
    "short line": (lambda raw: raw.replace(b"<VALUES>35 ", b"<VALUES>", 1), "are no grids: .*inhomogeneous"),
    "impossible": (lambda raw: raw.replace(b"<VALUES>35 ", b"<VALUES>-35 ", 1), "zenith angles of 0 to 180 degrees"),
    "lone line": (lambda raw: re.sub(rb"(<Values_List><VALUES>[^<]*</VALUES>).*?</Values_List>", rb"\1</Values_List>", raw), r"a grid of \(1, 23\) nodes"),
    "no steps": (lambda raw: raw.replace(b">5000<", b">0<"), "expected nodes some metres apart"),
    "other steps": (lambda raw: b">1000<".join(raw.rsplit(b">5000<", 1)), r"nodes \(1000.0, 5000.0\) m apart: expected those of the sun"),
    "no band": (lambda raw: raw.replace(b'bandId="3"', b'bandId="33"'), "no view angles of bandId 3"),
    "no place": (lambda raw: raw.replace(b"ULX", b"ULZ"), "no ULX"),
    "no zone": (lambda raw: raw.replace(b"EPSG:32647", b"EPSG:99999"), "HORIZONTAL_CS_CODE is 'EPSG:99999': expected a UTM zone"),
    "all missing": (lambda raw: re.sub(rb"<VALUES>[^<]*<", b"<VALUES>" + b"NaN " * NODES + b"<", raw), "no angle at any node"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_document_is_refused_with_its_cause(damage: str) -> None:
    change, words = DAMAGES[damage]
    raw = change(granule_document())
    assert raw != granule_document()
    with pytest.raises(ItemRefused, match=words):
        granule_angles(raw)


def test_factors_between_nodes_of_pixels_are_those_of_the_formula_pixel_by_pixel() -> None:
    grids = granule_angles(granule_document())
    factors, rows, columns = nodes(grids, ("red", "nir"), GROUND)
    x, y = centres(GROUND)
    ys, xs = np.arange(0, 240, 7), np.arange(0, 300, 7)
    for b, band in enumerate(("red", "nir")):
        lines = np.arange(factors.shape[1], dtype=float), np.arange(factors.shape[2], dtype=float)
        found = RegularGridInterpolator(lines, factors[b])(np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1))
        wanted = by_hand(band, x[np.ix_(ys, xs)], y[np.ix_(ys, xs)])
        np.testing.assert_allclose(found[np.ix_(ys, xs)], wanted, atol=3e-5)
        assert np.ptp(wanted) > 2e-3


def test_the_tile_may_lie_in_another_zone_than_the_cell() -> None:
    other = GeoBox((40, 40), Affine(30, 0, -120_000, 0, -30, 570_000), CRS("EPSG:32648"))
    grids = granule_angles(granule_document())
    factors, rows, columns = nodes(grids, ("red",), other)
    x, y = Transformer.from_crs("EPSG:32648", "EPSG:32647", always_xy=True).transform(*centres(other))
    lines = np.arange(factors.shape[1], dtype=float), np.arange(factors.shape[2], dtype=float)
    found = RegularGridInterpolator(lines, factors[0])(np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1))
    assert WEST < x.min() < x.max() < WEST + 22 * STEP
    np.testing.assert_allclose(found[::5, ::5], by_hand("red", x[::5, ::5], y[::5, ::5]), atol=2e-4)


def flat_scene(folder: Path, granule: str | None) -> Scene:
    """A Sentinel-2 scene of one number, whose items state angles of the scene too."""
    folder.mkdir(exist_ok=True)
    layers = {band: np.full(GROUND.shape, DN, np.uint16) for band in ("red", "nir")}
    scene = write_scene(
        folder, "flat", layers | {"scl": np.full(GROUND.shape, 4)}, GROUND, datetime(2020, 5, 1, tzinfo=UTC),
        platform="sentinel-2a", sensor="msi",
    )  # fmt: skip
    bands = {
        name: replace(file, scale=1.0, offset=0.0) if name == "scl" else BandFile(file.href, 1e-4, -0.1, 0)
        for name, file in scene.bands.items()
    }
    return replace(
        scene,
        bands=bands,
        collection="sentinel-2-l2a",
        angles=Angles(55.0, 0.0, 6.0, 106.0),
        granule_metadata=(granule,) if granule else (),
    )


def test_each_pixel_is_multiplied_by_its_own_factor(tmp_path: Path) -> None:
    path = tmp_path / "MTD_TL.xml"
    path.write_bytes(granule_document())
    scene, asked = flat_scene(tmp_path, str(path)), parsed(recipe())
    loaded = load_observations(asked, [scene], GROUND, 2, RasterAccess())
    assert loaded.seen.causes.max() == 0
    (read,) = [asset for asset in loaded.manifest.assets if asset.band == GRANULE]
    assert (read.outcome, read.decoded_bytes) == ("read", path.stat().st_size)
    x, y = centres(GROUND)
    for b, band in enumerate(("red", "nir")):
        wanted = by_hand(band, x[::11, ::11], y[::11, ::11]) * (DN * 1e-4 - 0.1)
        made = loaded.seen.block[b, 0] * loaded.seen.gain[0, b] + loaded.seen.bias[0, b]
        np.testing.assert_allclose(made[::11, ::11], wanted, atol=6e-5)
        assert len(np.unique(loaded.seen.block[b])) > 3

    part = load_observations(asked, [scene], GROUND[37:200, 11:150], 1, RasterAccess())
    np.testing.assert_array_equal(part.seen.block, loaded.seen.block[:, :, 37:200, 11:150])
    assert [asset.decoded_bytes for asset in part.manifest.assets if asset.band == GRANULE] == [0]  # not read again
    plain = load_observations(parsed(recipe("none")), [scene], GROUND, 1, RasterAccess())
    assert (plain.seen.block == DN).all() and GRANULE not in {asset.band for asset in plain.manifest.assets}


def test_scenes_are_told_apart_by_what_their_angles_come_from(tmp_path: Path) -> None:
    scenes = [flat_scene(tmp_path, granule) for granule in (None, "a/MTD_TL.xml", "b/MTD_TL.xml")]
    keys = [source_keys([scene], with_angles=True)[0] for scene in scenes]
    assert keys[0] != keys[1] == keys[2]
    assert len({source_keys([scene])[0] for scene in scenes}) == 1


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (None, "cannot read the angles of a granule: .*MTD_TL.xml: FileNotFoundError"),
        (b"<n1:Level", "cannot read the angles in .*MTD_TL.xml: unreadable the metadata: .*; fetch the file again, or ingest"),
        (b" " * 8_000_001, "it has more than 8000000 bytes"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_leaves_the_scene_unread_and_says_why(
    tmp_path: Path, raw: bytes | None, words: str
) -> None:
    path = tmp_path / "MTD_TL.xml"
    if raw is not None:
        path.write_bytes(raw)
    loaded = load_observations(parsed(recipe()), [flat_scene(tmp_path, str(path))], GROUND, 1, RasterAccess())
    (failed,) = loaded.manifest.failed
    assert failed.band == GRANULE and re.search(words, failed.cause)
    assert loaded.seen.accounts[ACCOUNT_NAMES.index("unread")].all()

    path.write_bytes(granule_document())  # a failure is not remembered
    again = load_observations(parsed(recipe()), [flat_scene(tmp_path, str(path))], GROUND, 1, RasterAccess())
    assert not again.manifest.failed


def same(found: tuple[AngleGrids, BandRead]) -> bool:
    raw = granule_document()
    wanted = granule_angles(raw).views["red"].zenith_deg
    return found[1].decoded_bytes == len(raw) and bool((found[0].views["red"].zenith_deg == wanted).all())


def test_the_file_may_lie_in_a_bucket_on_a_site_or_in_a_zip(
    tmp_path: Path, s3_endpoint: str, neocube_home: Path
) -> None:
    settings = Settings.model_validate(
        {"home": neocube_home, "s3_endpoint_url": s3_endpoint, "s3_access_key_id": "key", "s3_secret_access_key": "secret"}
    )  # fmt: skip
    access = raster_access(settings)
    bucket = s3fs.S3FileSystem(**access.s3)
    bucket.mkdir("granules")
    bucket.pipe_file("granules/T47/MTD_TL.xml", granule_document())
    assert same(read_granule(["s3://granules/T47/MTD_TL.xml"], 0, access))
    with pytest.raises(UnreadBand, match=r"cannot copy s3://granules/T48/MTD_TL.xml: FileNotFoundError"):
        read_granule(["s3://granules/T48/MTD_TL.xml"], 0, access)

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "MTD_TL.xml").write_bytes(granule_document())
    with serving_folder(tmp_path / "site") as url:
        assert same(read_granule([f"{url}/MTD_TL.xml"], 0, access))
        with pytest.raises(UnreadBand, match="404"):
            read_granule([f"{url}/another.xml"], 0, access)

    packed = tmp_path / "S2A.zip"
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("S2A.SAFE/MTD_TL.xml", granule_document())
    assert same(read_granule([f"{packed_folder(str(packed))}/S2A.SAFE/MTD_TL.xml"], 0, access))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What Sentinel-2A saw on four days of 2020, with the angles of the scene."""
    folder = tmp_path / "archive"
    write_archive(folder, Simulation(find_area(AREA), parse_period("2020-02"), 3, 96, "none", 2))
    said = {"view:incidence_angle": 9.5, "view:azimuth": 104.0}
    change_items(folder, lambda item, _: item["properties"].update(said))
    return folder


def change_items(archive: Path, change: Callable[[dict[str, Any], Path], object]) -> None:
    for path in (archive / "sentinel-2-l2a").glob("*/*.json"):
        item = json.loads(path.read_text())
        change(item, path.parent)
        path.write_text(json.dumps(item))


def add_metadata(item: dict[str, Any], folder: Path) -> None:
    assert item["properties"]["proj:epsg"] == 32647
    raw = granule_document(west=DEMO_CORNER[0], north=DEMO_CORNER[1])
    (folder / "MTD_TL.xml").write_bytes(raw)
    item["assets"]["granule-metadata"] = {"href": "./MTD_TL.xml", "type": "application/xml", "roles": ["metadata"]}


def ingested(settings: Settings, archive: Path) -> list[Scene]:
    with open_index(settings) as index:
        report = ingest_archive(index, str(archive))
        assert not report.quarantined
        return find_scenes(index, parsed(recipe()).sources, parse_period(YEAR), find_area(AREA).geometry)


def recipe_file(folder: Path, brdf: str) -> str:
    path = folder / f"{brdf}.recipe.yaml"
    path.write_text(recipe(brdf, "utm").replace("tile_px: 96", "tile_px: 96, anchor: landsat"))
    return str(path)


def test_a_build_has_the_pixels_of_the_formula(embedded_settings: Settings, archive: Path, tmp_path: Path) -> None:
    change_items(archive, add_metadata)
    scenes = ingested(embedded_settings, archive)
    assert scenes and all(scene.granule_metadata[0].endswith("/MTD_TL.xml") for scene in scenes)
    seen, normal = (
        xr.open_zarr(build(recipe_file(tmp_path, brdf), AREA, YEAR)["cube"]).features.load()
        for brdf in ("none", "c_factor")
    )
    x, y = np.meshgrid(seen.x.values[::5], seen.y.values[::5])
    for band in ("red", "nir"):
        before, after = (each.sel(feature=f"{band}_p50").values[0, ::5, ::5] for each in (seen, normal))
        wanted = by_hand(band, x, y, *DEMO_CORNER) * before
        assert np.isfinite(wanted).sum() > 50
        np.testing.assert_allclose(after, wanted, atol=7e-5)
        assert np.nanmax(np.abs(after - before)) > 5e-4


def test_items_without_the_file_keep_the_angles_of_the_scene_until_they_have_it(
    embedded_settings: Settings, archive: Path
) -> None:
    def name_missing(item: dict[str, Any], _: Path) -> None:
        item["assets"]["granule_metadata"] = {"href": "./MTD_TL.xml"}

    change_items(archive, name_missing)
    scenes = ingested(embedded_settings, archive)
    assert {scene.granule_metadata for scene in scenes} == {()}
    assert all(scene.angles is not None and scene.angles.view_zenith_deg == 9.5 for scene in scenes)
    before = source_keys(scenes, with_angles=True)

    change_items(archive, lambda item, _: item["assets"].pop("granule_metadata"))
    change_items(archive, add_metadata)
    again = ingested(embedded_settings, archive)
    assert all(scene.granule_metadata for scene in again) and [scene.id for scene in again] == [s.id for s in scenes]
    assert not set(source_keys(again, with_angles=True)) & set(before)
    assert source_keys(again) == source_keys(scenes)  # what does not depend on angles stays as it is


def test_a_mirror_has_the_file_too_and_is_asked_first(
    embedded_settings: Settings, archive: Path, tmp_path: Path
) -> None:
    change_items(archive, add_metadata)
    scene = ingested(embedded_settings, archive)[0]
    (source,) = scene.granule_metadata
    order, root = MirrorOrder(str(tmp_path / "mirror"), ("red",)), str(tmp_path / "mirror")
    with open_index(embedded_settings) as index:
        first, second = (mirror_scenes(index, [scene], order, FileAccess(), RasterAccess()) for _ in range(2))
        assert (first.files, first.copied, first.failed, second.kept) == (3, 3, [], 3)  # red, scl, metadata
        (mirrored,) = with_mirrors(index, [scene], (root,))
    copy, last = mirrored.granule_metadata
    assert last == source and copy.startswith(root) and copy.endswith("granule_metadata.xml")
    assert Path(copy).read_bytes() == Path(source).read_bytes()
    Path(source).write_bytes(b"changed")
    assert read_granule(mirrored.granule_metadata, 0, RasterAccess())[1].note == ""
    Path(copy).unlink()
    Path(source).write_bytes(granule_document())
    granule_file._known.clear()
    note = read_granule(mirrored.granule_metadata, 0, RasterAccess())[1].note
    assert note.startswith(f"read from {source}: cannot read the angles of a granule: cannot copy {copy}")


def test_a_place_that_the_archive_may_not_name_or_another_document_is_no_asset(
    embedded_settings: Settings, archive: Path
) -> None:
    hrefs = iter(["../../../MTD_TL.xml", "./other.xml", "ftp://x/MTD_TL.xml", "./other.xml"])
    change_items(archive, lambda item, _: item["assets"].update(metadata={"href": next(hrefs, "./other.xml")}))
    scenes = ingested(embedded_settings, archive)
    assert scenes and {scene.granule_metadata for scene in scenes} == {()}
