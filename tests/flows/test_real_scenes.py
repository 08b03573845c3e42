"""Real Landsat and Sentinel-2 scenes, with their items as they are, from ingest to cube."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.steps.index.catalogue import published_cells, scene_of
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from products.period import parse_period
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import features_recipe
from products.scene import Scene

LANDSAT = "landsat_c2_l2/LC08_L2SP_"
# share of valid pixels with QA_PIXEL bit 3, percent: the cloud cover of each scene's MTL to within 0.2 points
CLOUD_PERCENT = {"001062_20201031": 99.94, "005009_20150710": 54.67, "008059_20191201": 81.06}
PLACES = {
    "001062_20201031": "-66,-3,-65.9,-2.9",
    "005009_20150710": "-40.6,72.2,-40.4,72.3",
    "008059_20191201": "-75.6,1.3,-75.5,1.4",
}
RECIPE = """
name: real_features
version: 1
kind: features
grid: {crs: utm, resolution_m: RESOLUTION, tile_px: 64}
period: P1Y
sources:
  - {collection: COLLECTION, clear: {dilate_px: 0}}
features:
  - geomedian: {bands: [blue, green, red, nir, swir1, swir2]}
  - index: {names: [NDVI], reduce: [p50]}
  - count: {}
"""


def recipe_file(folder: Path, collection: str, resolution: int) -> Path:
    path = folder / "real.recipe.yaml"
    path.write_text(RECIPE.replace("COLLECTION", collection).replace("RESOLUTION", str(resolution)))
    return path


def ingested(settings: Settings, folder: Path) -> Scene:
    with open_index(settings) as index:
        report = ingest_archive(index, str(folder))
        assert (report.added, report.quarantined) == (1, [])
        found = [
            d
            for product in index.dc.index.products.get_all()
            for d in index.dc.index.datasets.search(product=product.name)
        ]
        assert len(found) == 1
        return scene_of(found[0])


@pytest.mark.parametrize("name", CLOUD_PERCENT)
def test_the_cloud_share_of_a_landsat_scene_is_that_of_its_metadata(
    name: str, embedded_settings: Settings, shared_data: Path, tmp_path: Path
) -> None:
    scene = ingested(embedded_settings, shared_data / f"{LANDSAT}{name}")
    with rasterio.open(scene.bands["blue"].href) as source:
        own_grid = GeoBox(source.shape, source.transform, source.crs)
    loaded = load_observations(
        features_recipe(str(recipe_file(tmp_path, "landsat-c2-l2", 450))), [scene], own_grid, 2, RasterAccess()
    )
    counts = dict(zip(ACCOUNT_NAMES, loaded.seen.accounts.sum(axis=(1, 2), dtype=np.int64), strict=True))
    assert counts["expected"] == own_grid.shape[0] * own_grid.shape[1]
    assert counts["unread"] == 0
    share = 100 * counts["cloud"] / (counts["expected"] - counts["nodata"])
    assert share == pytest.approx(CLOUD_PERCENT[name], abs=0.2)


@pytest.mark.parametrize("name", CLOUD_PERCENT)
def test_a_real_landsat_scene_becomes_a_cube(
    name: str, embedded_settings: Settings, shared_data: Path, tmp_path: Path
) -> None:
    ingested(embedded_settings, shared_data / f"{LANDSAT}{name}")
    recipe = recipe_file(tmp_path, "landsat-c2-l2", 450)
    report = build(str(recipe), PLACES[name], name[7:11])
    assert (report["failed"], report["unread"]) == ([], [])
    cube = xr.open_zarr(report["cube"]).load()
    accounts = cube.accounts.isel(period=0)
    assert int(accounts.sel(cause="expected").sum()) > 0
    used = accounts.sel(cause="used") > 0
    blue = cube.features.sel(feature="blue").isel(period=0)
    assert bool((blue.notnull() == used).all())
    if bool(used.any()):
        assert float(blue.min()) >= -0.2 and float(blue.max()) < 1.7


def test_a_real_scene_of_the_thematic_mapper_becomes_a_cube_of_its_reflectance(
    embedded_settings: Settings, shared_data: Path, tmp_path: Path
) -> None:
    scene = ingested(embedded_settings, shared_data / "landsat_c2_l2/mini_LT05_L2SP_090084_19980308")
    assert (scene.sensor, scene.platform) == ("tm", "landsat-5")
    west, south, east, north = scene.footprint.to_crs("EPSG:4326").boundingbox
    recipe = recipe_file(tmp_path, "landsat-c2-l2", 4000)  # the pixels of the file are 4035.5 x 3655.5 m
    report = build(str(recipe), f"{west},{south},{east},{north}", "1998")
    assert (report["failed"], report["unread"]) == ([], [])
    cube = xr.open_zarr(report["cube"]).load().isel(period=0)
    used = (cube.accounts.sel(cause="used") == 1).values
    blue = cube.features.sel(feature="blue").values
    np.testing.assert_array_equal(np.isfinite(blue), used)
    with rasterio.open(scene.bands["blue"].href) as file, rasterio.open(scene.bands["qa_pixel"].href) as quality:
        numbers, is_clear = file.read(1), quality.read(1) & 0b11111 == 0
    own = numbers[is_clear & (numbers > 0)] * 0.0000275 - 0.2
    assert used.sum() > 0.8 * own.size * 4035.5 * 3655.5 / 4000**2 > 500
    assert np.median(blue[used]) == pytest.approx(np.median(own), abs=0.005)


def test_a_real_sentinel_2_scene_becomes_a_cube(embedded_settings: Settings, shared_data: Path, tmp_path: Path) -> None:
    scene = ingested(embedded_settings, shared_data / "sentinel2_l2a/S2A_29RKH_20200219_0_L2A")
    assert scene.bands["red"].offset == 0.0
    west, south, east, north = scene.footprint.to_crs("EPSG:4326").boundingbox
    middle = f"{(west + east) / 2},{(south + north) / 2},{(west + east) / 2 + 0.05},{(south + north) / 2 + 0.05}"
    report = build(str(recipe_file(tmp_path, "sentinel-2-l2a", 200)), middle, "2020")
    assert (report["failed"], report["unread"]) == ([], [])
    with open_index(embedded_settings) as index:
        cell = next(iter(published_cells(index, "real_features", 1, [parse_period("2020")]).values()))
    notes = {row["band"]: row["note"] for row in cell.properties["neocube:manifest"]["notes"]}
    assert notes["red"] == "the file has 1098 x 1098 pixels, the catalogue says 10980 x 10980: the file is believed"
    cube = xr.open_zarr(report["cube"]).load()
    used = cube.accounts.sel(cause="used") > 0
    assert float(used.mean()) > 0.5
    ndvi = cube.features.sel(feature="ndvi_p50").where(used)
    assert -0.2 < float(ndvi.median()) < 0.2


def test_pixels_of_sentinel_2_that_sen2cor_cut_off_are_saturated_and_are_averaged_with_no_other(
    embedded_settings: Settings, shared_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "S2A_29RKH_20200219_0_L2A"
    folder.mkdir()
    for file in (shared_data / "sentinel2_l2a" / folder.name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with rasterio.open(folder / "B04.tif", "r+") as source:
        for column, number in ((451, 65535), (460, 32767), (469, 32766)):
            source.write(np.full((1, 1), number, np.uint16), 1, window=Window(column, 460, 1, 1))
        own_grid = GeoBox(source.shape, source.transform, source.crs)[450:480, 450:480]
    scene, recipe = ingested(embedded_settings, folder), recipe_file(tmp_path, "sentinel-2-l2a", 300)
    for geobox, row, columns in ((own_grid, 10, [1, 10]), (own_grid.zoom_out(3), 3, [0, 3])):
        seen = load_observations(features_recipe(str(recipe)), [scene], geobox, 1, RasterAccess()).seen
        accounts = dict(zip(ACCOUNT_NAMES, seen.accounts, strict=True))
        assert np.argwhere(accounts["saturated"]).tolist() == [[row, column] for column in columns]
        assert accounts["used"].sum() > 90


def test_a_folder_without_an_item_is_quarantined_with_that_cause(
    embedded_settings: Settings, shared_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mini_LC08_L2SP_098084_20210503"
    folder.mkdir()
    for raster in (shared_data / "landsat_c2_l2" / folder.name).glob("*.TIF"):
        (folder / raster.name).symlink_to(raster)
    with open_index(embedded_settings) as index:
        report = ingest_archive(index, str(folder))
    assert report.added == 0
    assert "no STAC item describes the rasters of this folder" in report.quarantined[0]["cause"]
