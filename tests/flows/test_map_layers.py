"""The layers of a map say what a value means: missing is NaN for xarray, in the store, in open_cube and in NetCDF, of older maps too."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray
from numpy.typing import NDArray
from odc.geo.crs import CRS

import flows
from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.steps.areas import find_area
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.exporting import export_cube
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.cubes.snapshot import publish_cube
from flows.steps.index.catalogue import published_cells
from flows.steps.index.index_setup import add_product, init_index
from flows.steps.storage import open_storage, path_of
from products.grid import PixelGrid, Tile
from products.identity import CellKey, SourceKey, cell_id
from products.learning.maps import map_template
from products.learning.recipe import ModelRecipe
from products.period import Period
from products.template import CellTemplate, odc_product_definition
from tests.flows.geojson_files import write_shapes

SIDE = 64
RECIPE = ModelRecipe.model_validate(
    {
        "name": "coast_model", "version": 1, "kind": "model", "features": "coast_features",
        "samples": {"classes": ["mangrove", "open_water", "other"]}, "map": {"name": "coast_map"},
    }
)  # fmt: skip
GRID = PixelGrid("EPSG:32647", 30.0, SIDE, 15.0)
TILE = Tile("EPSG:32647", -276, 359)
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
LAYERS = ("map_class", "probability", "applicable", "uncertainty")
MAPS = ("coast_map", "older_map")
MADE = {"neocube:model": "6b8bd0ac-0b8d-5a52-8a0d-0a3ac2b6a3a1"}


@dataclass(frozen=True)
class Maps:
    """A home with the same map twice, the older one without `_FillValue` and flags; `is_mapped` (y, x)."""

    home: Path
    area: Path
    cubes: dict[str, str]
    arrays: dict[str, NDArray[Any]]
    is_mapped: NDArray[np.bool_]


def map_arrays(template: CellTemplate, is_mapped: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Random layers, and the values that say missing elsewhere."""
    rng = np.random.default_rng(3)
    highest = {"map_class": 4, "probability": 101, "dissimilarity": 2, "applicable": 2, "uncertainty": 101}
    made = {
        each.name: rng.integers(each.name == "map_class", highest[each.name], each.shape(SIDE))
        for each in template.arrays
    }
    return {
        each.name: np.where(is_mapped, made[each.name], each.fill_value).astype(each.dtype) for each in template.arrays
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maps:
    folder = tmp_path_factory.mktemp("layers")
    settings, template = Settings(home=folder / "home"), map_template(RECIPE)
    older = replace(
        template, product="older_map", arrays=tuple(replace(each, attributes={}) for each in template.arrays)
    )
    is_mapped = np.random.default_rng(2).random((SIDE, SIDE)) < 0.4
    area = write_shapes(folder / "coast.geojson", [GRID.mosaic((TILE,)).extent.to_crs(CRS("EPSG:4326"))])
    arrays, cubes = map_arrays(template, is_mapped), {}
    init_index(settings, folder)
    with open_index(settings) as index:
        storage = open_storage(settings)
        for each in (template, older):
            add_product(index.dc, odc_product_definition(each))
            key = CellKey(each.product, each.version, TILE, YEAR)
            number = cell_id(key, [SourceKey("cell", "1")], RECIPE.digest())
            publish_cell(index, storage, CellDraft(number, key, each, GRID, RECIPE.digest(), {}, MADE), arrays)
            cells = published_cells(index, each.product, each.version, [YEAR])
            plan = CubePlan(each, find_area(str(area)).name, GRID, (TILE,), (YEAR,), cells)
            cubes[each.product] = publish_cube(index, storage, plan)
    return Maps(settings.home, area, cubes, arrays, is_mapped)


@pytest.fixture
def opened(made: Maps, neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NEOCUBE_HOME", str(made.home))
    return lambda name: flows.open_cube(name, area=str(made.area))


def check_missing(cube: xarray.Dataset, made: Maps) -> None:
    """NaN where nothing is mapped, and what was written elsewhere."""
    for name in LAYERS:
        expected = np.where(made.is_mapped, made.arrays[name].astype(np.float32), np.nan)
        np.testing.assert_array_equal(cube[name].values, expected)
    share = made.arrays["applicable"][0][made.is_mapped].mean()
    assert float(cube.applicable.mean()) == pytest.approx(share, abs=1e-6)


def test_plain_xarray_takes_for_missing_what_a_map_has_for_missing(made: Maps) -> None:
    cube = xarray.open_zarr(path_of(made.cubes["coast_map"]))
    check_missing(cube, made)
    assert cube.map_class.attrs["flag_values"] == [1, 2, 3]
    assert cube.map_class.attrs["flag_meanings"] == "mangrove open_water other"
    assert cube.map_class.attrs["long_name"] == "class: 1 mangrove, 2 open_water, 3 other"


@pytest.mark.parametrize("name", MAPS)
def test_open_cube_has_nan_where_nothing_is_mapped(made: Maps, opened: Any, name: str) -> None:
    cube = opened(name)
    assert all(cube[layer].chunks for layer in LAYERS)
    check_missing(cube, made)


@pytest.mark.parametrize("name", MAPS)
def test_a_netcdf_file_of_a_map_says_what_is_missing(made: Maps, tmp_path: Path, name: str) -> None:
    (file,) = export_cube(made.cubes[name], {}, str(tmp_path), "netcdf")["files"]
    with xarray.open_dataset(file, engine="h5netcdf") as read:
        check_missing(read, made)
    with xarray.open_dataset(file, engine="h5netcdf", mask_and_scale=False) as stored:
        for layer in LAYERS:
            np.testing.assert_array_equal(stored[layer].values, made.arrays[layer])
            assert stored[layer].dtype == stored[layer].attrs["_FillValue"].dtype == np.uint8


def test_layers_of_shares_are_in_percent_in_every_form(made: Maps, opened: Any, tmp_path: Path) -> None:
    cube = opened("coast_map")
    assert {cube[name].attrs["units"] for name in ("probability", "uncertainty")} == {"percent"}
    export_cube(made.cubes["coast_map"], {}, str(tmp_path), "cog")
    for name, n_layers in (("probability", 3), ("uncertainty", 1)):
        (path,) = tmp_path.glob(f"*_{name}.tif")
        with rasterio.open(path) as file:
            assert file.units == ("percent",) * n_layers


@pytest.mark.parametrize("name", MAPS)
def test_what_open_cube_gives_can_be_written_as_netcdf(made: Maps, opened: Any, tmp_path: Path, name: str) -> None:
    opened(name).to_netcdf(tmp_path / "mine.nc")
    with xarray.open_dataset(tmp_path / "mine.nc", engine="h5netcdf", decode_coords="all") as read:
        check_missing(read, made)
        assert json.loads(read.attrs["neocube:models"]) == {"2020": [MADE["neocube:model"]]}
        assert read.odc.crs.epsg == 32647 and read.map_class.encoding["dtype"] == np.uint8


def test_what_reads_maps_for_itself_still_has_their_codes(made: Maps) -> None:
    cube = open_snapshot(made.cubes["coast_map"])
    for name in LAYERS:
        assert cube[name].dtype == np.uint8
        np.testing.assert_array_equal(cube[name].values, made.arrays[name])
