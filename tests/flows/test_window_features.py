"""Texture, terrain and distance through the whole build: rasters are read beyond the tile and are part of what makes a cell; any crop has the same pixels."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from datacube_config.sources import source_table
from flows.build_here import build
from flows.learning_cells import cells_with_state
from flows.plan_cells import plan
from flows.steps.areas import find_area
from flows.steps.ingesting.ingest_rasters import ingest_rasters
from products.errors import RequestError
from products.period import parse_period
from products.registry import features_recipe
from products.window.terrain import terrain
from tests.flows.hills import AREA, ground_of, take_in, write_hill

YEAR = "2020"
FEATURES = """  - index: {names: [NDVI], reduce: [p50]}
  - texture: {of: {index: MNDWI}, window_px: 5, measures: [contrast, entropy], levels: 16}
  - texture: {of: {feature: ndvi_p50}, window_px: 3, measures: [mean]}
  - terrain: {source: hill, measures: [elevation, slope, position], window_px: 7}
  - distance: {source: hill, band: land, at_least: 1, max_distance_m: 300, name: coast, signed: true}
"""


def recipe_file(folder: Path, tile_px: int, features: str = FEATURES, name: str = "shaped") -> str:
    path = folder / f"{name}_{tile_px}.recipe.yaml"
    path.write_text(
        f"""name: {name}_{tile_px}
version: 1
kind: features
grid: {{crs: utm, resolution_m: 30, tile_px: {tile_px}, anchor: landsat}}
period: P1Y
sources:
  - {{collection: landsat-c2-l2, clear: {{dilate_px: 1}}}}
  - {{collection: sentinel-2-l2a}}
harmonise: {{}}
features:
{features}"""
    )
    return str(path)


def features_of(report: dict[str, object]) -> xr.DataArray:
    return xr.open_zarr(str(report["cube"]))["features"].load()


@pytest.mark.full
def test_window_features_do_not_know_where_tiles_end(ingested_settings: Settings, tmp_path: Path) -> None:
    small, large = recipe_file(tmp_path, 32), recipe_file(tmp_path, 64)
    with pytest.raises(
        RequestError,
        match="reads the product 'hill', which is not in the index: take it in with neocube ingest PATH --as hill",
    ):
        plan(small, AREA, YEAR)
    ground = ground_of(large)
    take_in(ingested_settings, write_hill(tmp_path / "hills", ground))

    one, other = features_of(build(small, AREA, YEAR)), features_of(build(large, AREA, YEAR))
    x, y = np.intersect1d(one.x, other.x), np.intersect1d(one.y, other.y)
    assert one.feature.values.tolist() == [
        "ndvi_p50", "mndwi_p50_contrast_5", "mndwi_p50_entropy_5", "ndvi_p50_mean_3", "elevation", "slope", "position_7", "coast_distance",
    ]  # fmt: skip
    inside, outside = one.sel(x=x, y=y), other.sel(x=x, y=y)
    np.testing.assert_array_equal(inside.values, outside.values)
    for feature in one.feature.values:
        assert np.isfinite(inside.sel(feature=feature)).mean() > 0.5, feature
        assert np.nanstd(inside.sel(feature=feature)) > 0, feature
    assert set(np.unique(np.sign(inside.sel(feature="coast_distance")))) == {-1.0, 1.0}


def test_slope_is_that_of_the_elevation_feature(ingested_settings: Settings, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, 64)
    take_in(ingested_settings, write_hill(tmp_path / "hills", ground_of(recipe)))
    made = features_of(build(recipe, AREA, YEAR)).isel(period=0)
    slope = terrain(made.sel(feature="elevation").values, ["slope"], 30.0)["slope"]

    np.testing.assert_array_equal(made.sel(feature="slope").values[1:-1, 1:-1], slope)


def test_a_raster_is_part_of_what_makes_a_cell(ingested_settings: Settings, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, 64)
    take_in(ingested_settings, write_hill(tmp_path / "hills", ground_of(recipe)))
    first = build(recipe, AREA, YEAR)
    assert first["failed"] == [] and first["built"] >= 1
    again = build(recipe, AREA, YEAR)
    assert (again["built"], again["fresh"]) == (0, first["built"])
    asked = features_recipe(recipe), find_area(AREA), parse_period(YEAR)
    with open_index(ingested_settings) as index:
        assert cells_with_state(index, ingested_settings, *asked).n_stale == 0
        rows = list(index.dc.index.datasets.search(product="hill"))
        cells = list(index.dc.index.datasets.search(product="shaped_64"))
        sources = index.dc.index.datasets.get(cells[0].id, include_sources=True)
        assert sources is not None and "raster" in str(
            sources.source_tree.children if sources.source_tree else sources.sources
        )
        index.dc.index.datasets.archive([rows[0].id])
    stale = plan(recipe, AREA, YEAR)
    assert {cell.state for cell in stale.cells} == {"stale"}
    with open_index(ingested_settings) as index:
        assert cells_with_state(index, ingested_settings, *asked).n_stale == first["built"]


def test_a_cell_reads_the_rasters_of_its_own_time_whatever_else_is_asked_for(
    ingested_settings: Settings, tmp_path: Path
) -> None:
    coast = """  - index: {names: [NDVI], reduce: [p50]}
  - distance: {source: shore, band: land, at_least: 1, max_distance_m: 300, name: coast}
  - terrain: {source: hill, measures: [elevation], window_px: 3}
"""
    recipe = recipe_file(tmp_path, 64, coast)
    Path(recipe).write_text(Path(recipe).read_text().replace("period: P1Y", "period: P6M"))
    ground, days = ground_of(recipe), ("20191231", "20200101", "20200630", "20200701", "20201231", "20210101")
    take_in(ingested_settings, write_hill(tmp_path / "hills", ground))
    for day in days:
        written = next(write_hill(tmp_path / day, ground, day).glob("*.tif"))
        written.rename(tmp_path / f"shore_{day}.tif")
    take_in(ingested_settings, tmp_path, "shore", len(days))
    with open_index(ingested_settings) as index:
        day_of = {
            row.id: str(row.metadata_doc["properties"]["neocube:moment"])
            for name in ("shore", "hill")
            for row in index.dc.index.datasets.search(product=name)
        }

    halves = {"2020-01-01--2020-07-01": "2020-01-01/2020-06-30", "2020-07-01--2021-01-01": "2020-07-01/2020-12-31"}
    whole = plan(recipe, AREA, YEAR)
    read = {cell.key.period.label: {day_of[raster.id] for raster in cell.rasters} for cell in whole.cells}
    assert read == {
        "2020-01-01--2020-07-01": {"static", "2020-01-01", "2020-06-30"},
        "2020-07-01--2021-01-01": {"static", "2020-07-01", "2020-12-31"},
    }
    for label, half in halves.items():
        alone = {cell.key: cell.id for cell in plan(recipe, AREA, half).cells}
        assert alone == {cell.key: cell.id for cell in whole.cells if cell.key.period.label == label}


def test_the_edge_of_a_raster_is_no_coast_and_nodata_in_it_is_none_either(
    ingested_settings: Settings, tmp_path: Path
) -> None:
    asked = """  - index: {names: [NDVI], reduce: [p50]}
  - distance: {source: hill, band: land, at_least: 1, max_distance_m: 300, name: land}
  - distance: {source: hill, band: land, at_least: 1, max_distance_m: 300, name: shore, signed: true}
"""
    recipe = recipe_file(tmp_path, 64, asked)
    ground = ground_of(recipe)
    box, step = ground.boundingbox, 30.0
    width, height = ground.width // 2 + 40, ground.height + 40  # to 20 pixels east of the middle
    land = np.full((height, width), -9999, "float32")  # nodata, where it is not land
    land[:, 30:40] = 1  # columns 10 to 20 of the ground
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 2, "dtype": "float32", "nodata": -9999}
    transform = from_origin(box.left - 20 * step, box.top + 20 * step, step, step)
    with rasterio.open(tmp_path / "hill_west.tif", "w", **profile, crs=str(ground.crs), transform=transform) as file:
        file.write(land * 0, 1)
        file.write(land, 2)
    take_in(ingested_settings, tmp_path)
    made = features_of(build(recipe, AREA, YEAR)).isel(period=0, y=5)

    column = ((made.x.values - box.left) // step).astype(int)
    first_beyond = ground.width // 2 + 20
    away = np.clip(np.maximum(10 - column, column - 19) * step, 0, 300)
    is_known = np.minimum(first_beyond - column, 10) * step >= away
    assert 0 < is_known.sum() < (column < first_beyond).sum()
    plain, signed = made.sel(feature="land_distance").values, made.sel(feature="shore_distance").values
    np.testing.assert_array_equal(plain, np.where(is_known, away, np.nan).astype(np.float32))
    np.testing.assert_array_equal(np.where(signed < 0, 0, signed), plain)
    assert (signed[(column >= 10) & (column < 20)] < 0).all()


def test_a_distance_on_a_grid_that_stretches_the_ground_is_no_plan(ingested_settings: Settings, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, 64)
    take_in(ingested_settings, write_hill(tmp_path / "hills", ground_of(recipe)))
    Path(recipe).write_text(Path(recipe).read_text().replace("crs: utm", 'crs: "EPSG:6933"'))
    with pytest.raises(RequestError, match="slope in EPSG:6933: .* use crs: utm, or leave slope, coast_distance out"):
        plan(recipe, AREA, YEAR)


def test_a_raster_that_cannot_be_read_fails_its_cells_and_names_the_file(
    ingested_settings: Settings, tmp_path: Path
) -> None:
    recipe = recipe_file(tmp_path, 64)
    folder = write_hill(tmp_path / "hills", ground_of(recipe))
    take_in(ingested_settings, folder)
    (folder / "hill_whole.tif").write_bytes(b"not an image")
    report = build(recipe, AREA, YEAR)

    assert report["built"] == 0
    assert "hill_whole.tif" in report["failed"][0]["cause"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("texture: {of: {index: NDVI}, measures: [colour]}", "unknown texture measure 'colour'"),
        ("texture: {of: {index: NDVI}, window_px: 4, measures: [contrast]}", "expected an odd window_px, got 4"),
        (
            "texture: {of: {feature: swir9}, measures: [contrast]}",
            "texture of 'swir9', which is not a feature of the recipe",
        ),
        (
            "texture: {of: {feature: count_used}, measures: [contrast]}\n  - count: {}",
            "texture of 'count_used': expected a feature over time, as ndvi_p50, not",
        ),
        (
            "texture: {of: {feature: slope}, measures: [contrast]}\n  - terrain: {measures: [slope]}",
            "texture of 'slope': expected a feature over time",
        ),
        (
            "texture: {of: {feature: coast_distance}, measures: [contrast]}\n"
            "  - distance: {source: hill, band: land, max_distance_m: 90, name: coast}",
            "texture of 'coast_distance': expected a feature over time",
        ),
        ("terrain: {measures: [slope, slope]}", "the terrain measure 'slope' stands twice"),
        ("distance: {source: hill, band: land, max_distance_m: 0, name: coast}", "greater than 0"),
    ],
)
def test_a_wrong_window_feature_is_named(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        features_recipe(recipe_file(tmp_path, 64, "  - index: {names: [NDVI], reduce: [p50]}\n" + f"  - {entry}\n"))


@pytest.mark.full
def test_the_recipe_of_surroundings_is_built_of_the_elevation_of_a_simulated_coast(
    ingested_settings: Settings, small_archive: Path
) -> None:
    with open_index(ingested_settings) as index:
        taken = ingest_rasters(index, "simulated_elevation", str(small_archive / "truth"), source_table())
    assert (taken.added, taken.quarantined) == (1, [])
    report = build("every_surrounding", "100.8425,4.9475,100.8475,4.9525", YEAR)
    assert report["failed"] == []
    features = features_of(report).isel(period=0)
    known = np.isfinite(features).mean(["y", "x"])
    assert (known > 0.2).all(), known.to_series()
    assert float(features.sel(feature="land_distance").min()) < 0 < float(features.sel(feature="land_distance").max())
