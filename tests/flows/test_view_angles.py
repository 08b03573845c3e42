"""The angles of sun and view: from real items into scenes, and from scenes into pixels."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.cell_memory import cell_bytes
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from flows.steps.scenes.view_angles import angles_of, stated_angles
from flows.steps.simulation.archive import Simulation, write_archive
from products.errors import RequestError
from products.period import parse_period
from products.pixel.brdf import c_factor
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import features_recipe, parse_recipe
from products.scene import Angles, BandFile, Scene
from products.sensors import ANGLE_BANDS
from products.spec import FeaturesRecipe
from tests.flows.scene_files import write_scene

AREA, YEAR = "demo", "2020"
VIEW = {"view:incidence_angle": 9.5, "view:azimuth": 104.0}
SUN = {"eo:sun_elevation": 50.0, "eo:sun_azimuth": 130.0}
RECIPE = """name: {name}
version: 1
kind: features
grid: {{crs: utm, resolution_m: 30, tile_px: 96, anchor: landsat}}
period: P1Y
sources: [{{collection: sentinel-2-l2a}}]
brdf: {brdf}
features:
  - band: {{names: [red, nir], reduce: [p50]}}
"""


@pytest.mark.parametrize(
    ("file", "sensor", "expected"),
    [
        ("odd/S2A_T60CWS_20240109_antimeridian.json", "msi", Angles(23.492426766553393, 84.2999551111562, 2.7389608862839, 200.87744776180622)),
        ("usgs/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json", "oli", Angles(22.57988462, 158.45194309, 0.0, 0.0)),
        ("dea_deafrica/S2A_28QCH_20200714_0_L2A.json", "msi", None),
    ],
)  # fmt: skip
def test_items_of_real_catalogues_state_their_angles_or_not(
    shared_data: Path, file: str, sensor: str, expected: Angles | None
) -> None:
    properties = json.loads((shared_data / "stac" / file).read_text())["properties"]
    assert angles_of(stated_angles(properties), sensor) == expected


def test_what_is_no_angle_is_left_out() -> None:
    said = {"view:sun_elevation": "high", "view:sun_azimuth": 361, "view:azimuth": None, "view:off_nadir": -1}
    assert stated_angles(said | {"view:incidence_angle": float("nan")}) == {}
    assert stated_angles({"view:sun_azimuth": -178.9, "view:off_nadir": 0}) == {
        "eo:sun_azimuth": -178.9,
        "eo:off_nadir": 0.0,
    }


def test_off_nadir_at_the_sensor_is_more_at_the_ground() -> None:
    found = angles_of(SUN | {"eo:off_nadir": 10.0, "eo:azimuth": 104.0}, "msi")
    assert found == Angles(50.0, 130.0, pytest.approx(11.249, abs=1e-3), 104.0)
    assert angles_of(SUN | {"eo:off_nadir": 10.0, "view:incidence_angle": 11.0, "eo:azimuth": 104.0}, "msi") == Angles(
        50.0, 130.0, 11.0, 104.0
    )


@pytest.mark.parametrize(
    "facts",
    [
        {},
        SUN,
        SUN | {"view:incidence_angle": 5.0},
        SUN | {"eo:off_nadir": 5.0},
        SUN | {"view:incidence_angle": 90.0, "eo:azimuth": 1.0},
        SUN | {"eo:off_nadir": 75.0, "eo:azimuth": 1.0},
        SUN | {"eo:sun_elevation": 0.0, "eo:off_nadir": 0.0},
        {"eo:sun_elevation": 50.0, "eo:off_nadir": 0.0},
        {"eo:sun_elevation": "50", "eo:sun_azimuth": 130.0, "eo:off_nadir": 0.0},
    ],
)
def test_half_of_the_angles_are_none(facts: dict[str, Any]) -> None:
    assert angles_of(facts, "msi") is None


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What Sentinel-2A saw on four days of 2020."""
    write_archive(tmp_path / "archive", Simulation(find_area(AREA), parse_period("2020-02"), 3, 96, "none", 2))
    return tmp_path / "archive"


def say(archive: Path, said: dict[str, float]) -> None:
    """Add to the properties of all items of Sentinel-2."""
    for path in (archive / "sentinel-2-l2a").glob("*/*.json"):
        item = json.loads(path.read_text())
        path.write_text(json.dumps(item | {"properties": item["properties"] | said}))


def recipe_file(folder: Path, brdf: str) -> str:
    path = folder / f"{brdf}.recipe.yaml"
    path.write_text(RECIPE.format(name=f"brdf_{brdf}", brdf=brdf))
    return str(path)


def test_the_build_of_scenes_without_angles_is_refused(
    embedded_settings: Settings, archive: Path, tmp_path: Path
) -> None:
    with open_index(embedded_settings) as index:
        ingest_archive(index, str(archive))
    assert build(recipe_file(tmp_path, "none"), AREA, YEAR)["failed"] == []
    with pytest.raises(RequestError, match=r"brdf: c_factor needs the angles .* lack them, the first S2"):
        build(recipe_file(tmp_path, "c_factor"), AREA, YEAR)


def test_pixels_are_as_seen_from_the_zenith(embedded_settings: Settings, archive: Path, tmp_path: Path) -> None:
    say(archive, VIEW | {"view:sun_elevation": 55.0, "view:sun_azimuth": 130.0})
    with open_index(embedded_settings) as index:
        ingest_archive(index, str(archive))
        recipe = features_recipe(recipe_file(tmp_path, "c_factor"))
        scenes = find_scenes(index, recipe.sources, parse_period(YEAR), find_area(AREA).geometry)
    assert {scene.angles for scene in scenes} == {Angles(55.0, 130.0, 9.5, 104.0)}
    seen, normal = (
        xr.open_zarr(build(recipe_file(tmp_path, brdf), AREA, YEAR)["cube"]).features.load()
        for brdf in ("none", "c_factor")
    )
    assert np.isfinite(seen).any()
    for band in ("red", "nir"):
        factor = c_factor(band, Angles(55.0, 130.0, 9.5, 104.0))
        assert factor < 0.99
        np.testing.assert_allclose(
            normal.sel(feature=f"{band}_p50"), factor * seen.sel(feature=f"{band}_p50"), rtol=2e-5, atol=1e-6
        )


GROUND = GeoBox((24, 24), Affine(30, 0, 500_010, 0, -30, 300_000), CRS("EPSG:32647"))
DN = 12_000


def landsat_recipe(brdf: str) -> FeaturesRecipe:
    found = parse_recipe(
        f"""
name: angles_of_pixels
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: 24}}
period: P1Y
sources: [{{collection: landsat-c2-l2}}]
brdf: {brdf}
features:
  - band: {{names: [red, nir], reduce: [p50]}}
""",
        "angles.yaml",
    )
    assert isinstance(found, FeaturesRecipe)
    return found


def across_the_swath(folder: Path) -> tuple[Scene, dict[str, np.ndarray]]:
    """A Landsat scene whose view zenith grows from 0 to 7.5 degrees on both sides of its middle, as in VZA and VAA."""
    flat = {band: np.full(GROUND.shape, DN, np.uint16) for band in ("red", "nir")}
    scene = write_scene(
        folder,
        "swath",
        flat | {"qa_pixel": np.full(GROUND.shape, 21824, np.uint16)},
        GROUND,
        datetime(2020, 5, 1, tzinfo=UTC),
    )
    off = np.broadcast_to(np.linspace(-7.5, 7.5, 24), GROUND.shape)
    degrees = {
        "sun_zenith": np.full(GROUND.shape, 35.0), "sun_azimuth": np.full(GROUND.shape, 130.0),
        "view_zenith": np.abs(off), "view_azimuth": np.where(off < 0, 100.0, -80.0),
    }  # fmt: skip
    bands = dict(scene.bands)
    for band, values in degrees.items():
        path = folder / f"{band}.tif"
        profile = {"driver": "GTiff", "count": 1, "dtype": "int16", "crs": "EPSG:32647", "height": 24, "width": 24}
        with rasterio.open(path, "w", **profile, transform=GROUND.affine) as file:
            file.write(np.round(values * 100).astype(np.int16), 1)
        bands[band] = BandFile(str(path), 0.01, 0.0, -32768)
    return replace(scene, bands=bands, angles=Angles(55.0, 130.0, 0.0, 0.0)), degrees


def test_a_landsat_swath_is_normalised_pixel_by_pixel(tmp_path: Path) -> None:
    scene, degrees = across_the_swath(tmp_path)
    recipe = landsat_recipe("c_factor")
    loaded = load_observations(recipe, [scene], GROUND, 2, RasterAccess())
    assert loaded.seen.causes.max() == 0 and {asset.band for asset in loaded.manifest.assets} >= set(ANGLE_BANDS)
    for b, band in enumerate(("red", "nir")):
        made = loaded.seen.block[b, 0] * loaded.seen.gain[0, b] + loaded.seen.bias[0, b]
        for x in (0, 5, 23):
            at = Angles(
                55.0, 130.0, *(round(float(degrees[name][3, x]), 2) for name in ("view_zenith", "view_azimuth"))
            )
            assert made[3, x] == pytest.approx((DN * 2.75e-5 - 0.2) * c_factor(band, at), abs=2e-5)
        assert abs(made[3, 0] - made[3, 23]) > 2e-3

    plain = load_observations(landsat_recipe("none"), [scene], GROUND, 2, RasterAccess())
    assert (plain.seen.block == DN).all() and len(plain.manifest.assets) == len(loaded.manifest.assets) - 4
    part = load_observations(recipe, [scene], GROUND[5:20, 3:24], 1, RasterAccess())
    np.testing.assert_array_equal(part.seen.block, loaded.seen.block[:, :, 5:20, 3:24])
    assert cell_bytes(recipe, 10, 2) > cell_bytes(landsat_recipe("none"), 10, 2)


def test_angles_that_cannot_be_read_leave_the_scene_unread(tmp_path: Path) -> None:
    scene, _ = across_the_swath(tmp_path)
    Path(scene.bands["view_zenith"].href).write_bytes(b"no raster")
    loaded = load_observations(landsat_recipe("c_factor"), [scene], GROUND, 1, RasterAccess())
    assert [asset.band for asset in loaded.manifest.failed] == ["view_zenith"]
    assert loaded.seen.accounts[ACCOUNT_NAMES.index("unread")].all()
