"""open_cube and plain xarray: lazy, one variable per feature, georeferenced, and clear about what is not there."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives the datasets `.rio`
import xarray

import flows
from datacube_config.schema import cube_pointer
from flows.steps.cubes.open_cube import find_cube, open_snapshot, within
from flows.steps.storage import path_of
from products.errors import RequestError
from products.period import parse_period
from products.spec import FeaturesRecipe
from tests.flows.published_product import SAID


@pytest.fixture
def home_of_product(published: Any, neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings in force are those of the product."""
    monkeypatch.setenv("NEOCUBE_HOME", str(published.settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", published.settings.store_url)


@pytest.mark.usefixtures("home_of_product")
def test_open_cube_gives_one_lazy_variable_per_feature(published: Any) -> None:
    cube = flows.open_cube("known_features", area="matang")
    assert set(cube.data_vars) == {"red", "ndvi_p50", "smad", "accounts", "class_map"}
    assert all(cube[name].chunks for name in cube.data_vars)
    assert cube.red.dims == ("period", "y", "x")
    np.testing.assert_array_equal(cube.smad.values, published.features[:, 2])
    np.testing.assert_array_equal(cube.accounts.sel(cause="used").values, published.arrays["accounts"][:, 1])


@pytest.mark.usefixtures("home_of_product")
def test_variables_have_units_and_long_names(published: Any) -> None:
    cube = flows.open_cube("known_features", area="matang")
    assert {name: cube[name].attrs for name in SAID} == SAID
    assert xarray.open_zarr(path_of(published.cube_url)).attrs["neocube:layers"] == SAID
    assert "neocube:layers" not in cube.attrs


@pytest.mark.usefixtures("home_of_product")
def test_a_dataset_and_an_opened_store_without_nested_attributes_can_be_written(published: Any, tmp_path: Path) -> None:
    flows.open_cube("known_features", area="matang").to_netcdf(tmp_path / "ours.nc")
    plain = xarray.open_zarr(path_of(published.cube_url))
    nested = ("neocube:layers", "multiscales", "zarr_conventions")
    plain.attrs = {name: said for name, said in plain.attrs.items() if name not in nested}
    plain.to_netcdf(tmp_path / "plain.nc")
    for name in ("ours", "plain"):
        with xarray.open_dataset(tmp_path / f"{name}.nc", decode_coords="all") as read:
            assert read.rio.crs.to_epsg() == 32647
            red = read.red if name == "ours" else read.features.sel(feature="red")
            np.testing.assert_array_equal(red.values, published.features[:, 0])


@pytest.mark.usefixtures("home_of_product")
def test_open_cube_keeps_the_periods_asked_for(published: Any) -> None:
    cube = flows.open_cube("known_features", area="matang", period="2020")
    xarray.testing.assert_identical(flows.open_cube("known_features", area="matang", period=2020), cube)
    np.testing.assert_array_equal(cube.period.values, np.array(["2020-01-01"], "datetime64[ns]"))
    np.testing.assert_array_equal(cube.period_end.values, np.array(["2021-01-01"], "datetime64[ns]"))
    np.testing.assert_array_equal(cube.red.values, published.features[1:, 0])


@pytest.mark.usefixtures("home_of_product")
def test_open_cube_takes_the_path_of_a_recipe(published: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "{name: known_features, version: 1, kind: features, grid: {resolution_m: 30}, period: P1Y, sources: "
        "[{collection: landsat-c2-l2}], features: [{geomedian: {bands: [red, nir]}}]}"
    )
    assert flows.open_cube(str(recipe), area="matang").identical(flows.open_cube("known_features", area="matang"))
    with pytest.raises(RequestError, match=r"none\.yaml"):
        flows.open_cube(str(tmp_path / "none.yaml"), area="matang")


@pytest.mark.usefixtures("home_of_product")
def test_open_cube_refuses_another_crs_and_an_overview_that_is_not_there(published: Any) -> None:
    with pytest.raises(RequestError, match=r"expected crs= as one of EPSG:32647 for .*, got EPSG:32648"):
        flows.open_cube("known_features", area="matang", crs="EPSG:32648")
    for level in (-1, 1):
        with pytest.raises(RequestError, match=f"a level from 0 to 0 of known_features over matang, got {level}"):
            flows.open_cube("known_features", area="matang", level=level)


def test_odc_geo_and_rioxarray_know_where_a_cube_is(published: Any) -> None:
    cube = open_snapshot(published.cube_url)
    for found in (cube, cube.features, cube.class_map):
        assert found.odc.geobox == published.mosaic
        assert found.rio.crs.to_epsg() == 32647
        assert found.rio.transform() == published.mosaic.affine


def test_plain_xarray_opens_the_same_pixels(published: Any) -> None:
    plain = xarray.open_zarr(path_of(published.cube_url))
    np.testing.assert_array_equal(plain.features.values, published.features)
    assert list(plain.feature.values) == ["red", "ndvi_p50", "smad"]


def test_plain_xarray_knows_where_a_cube_is_and_when_its_periods_end(published: Any) -> None:
    plain = xarray.open_zarr(path_of(published.cube_url))
    assert set(plain.data_vars) == {"features", "accounts", "class_map"}
    assert {"spatial_ref", "period_end"} <= set(plain.features.coords)
    for found in (plain, plain.features, plain.class_map):
        assert found.rio.crs.to_epsg() == 32647 and found.odc.crs.epsg == 32647
    np.testing.assert_array_equal(plain.period_end.values, np.array(["2020-01-01", "2021-01-01"], "datetime64[ns]"))


def test_a_chunk_holds_whole_shards_of_one_layer(published: Any) -> None:
    assert open_snapshot(published.cube_url).features.chunks == ((1, 1), (1, 1, 1), (64,), (64,))


def test_a_period_that_the_cube_lacks_is_refused_with_what_it_has(published: Any) -> None:
    with pytest.raises(
        RequestError, match=r"no cell of 2015: it has 2, from 2019-01-01 to 2021-01-01 \(end excluded\)"
    ):
        within(open_snapshot(published.cube_url), parse_period("2015"))


@pytest.mark.parametrize(
    ("length", "step", "asked", "begins"),
    [
        ("P2Y", "P1Y", "2021", ["2021-01-01"]),
        ("P4Y", "P1Y", "2020", ["2020-01-01"]),
        ("P3Y", "P1Y", "2020", ["2019-01-01"]),
        ("P36M", "P1Y", "2020/2021", ["2020-01-01", "2021-01-01"]),
        ("P3M", "P1Y", "2020-01/2020-02", ["2020-01-01"]),
    ],
)
def test_the_cells_of_a_period_are_those_that_a_build_of_it_makes(
    length: str, step: str, asked: str, begins: list[str]
) -> None:
    recipe = FeaturesRecipe.model_validate(
        {
            "name": "overlapping",
            "version": 1,
            "kind": "features",
            "grid": {"resolution_m": 30},
            "period": {"length": length, "step": step},
            "sources": [{"collection": "landsat-c2-l2"}],
            "features": [{"geomedian": {"bands": ["red", "nir"]}}],
        }
    )
    cells = recipe.periods_in(parse_period("2017/2023"))
    edges = [
        np.array([edge.replace(tzinfo=None) for edge in each], "datetime64[ns]")
        for each in zip(*((cell.start, cell.end) for cell in cells), strict=True)
    ]
    cube = xarray.Dataset(
        {"features": ("period", np.zeros(len(cells)))}, {"period": edges[0], "period_end": ("period", edges[1])}
    )
    found = within(cube, parse_period(asked), recipe)
    assert list(np.datetime_as_string(found["period"].values, "D")) == begins
    if length != "P3M":
        assert [cell.start.date().isoformat() for cell in recipe.periods_in(parse_period(asked))] == begins


def test_a_cube_that_is_not_there_is_refused_with_those_that_are(published: Any) -> None:
    with pytest.raises(RequestError, match="no cube of 'other' over 'matang': there is known_features over matang"):
        find_cube(published.index, "other", "matang")
    with pytest.raises(RequestError, match=r"expected crs= as one of EPSG:32647 for .*, got EPSG:32648"):
        find_cube(published.index, "known_features", "matang", "EPSG:32648")
    with pytest.raises(FileNotFoundError, match="no cube at /nowhere: expected a Zarr v3 group"):
        open_snapshot("/nowhere")


@pytest.fixture
def zoned_pointers(published: Any) -> Iterator[None]:
    """Pointers of a product in two versions over two zones, for one test: the index is the session's."""
    row = {"product": "zoned", "area": "coast", "snapshot_url": "file:///cube", "cell_ids": []}
    with published.index.engine.begin() as connection:
        for version, crs in ((1, "EPSG:32647"), (2, "EPSG:32647"), (2, "EPSG:32648")):
            connection.execute(cube_pointer.insert().values(**row, version=version, crs=crs))
    yield
    with published.index.engine.begin() as connection:
        connection.execute(cube_pointer.delete().where(cube_pointer.c.product == "zoned"))


@pytest.mark.usefixtures("zoned_pointers")
def test_the_newest_version_counts_and_zones_must_be_told_apart(published: Any) -> None:
    with pytest.raises(
        RequestError, match="expected crs= as one of EPSG:32647, EPSG:32648 for zoned over coast, got None"
    ):
        find_cube(published.index, "zoned", "coast")
    assert find_cube(published.index, "zoned", "coast", "EPSG:32647").version == 2


def test_importing_flows_loads_nothing_heavy() -> None:
    script = "import flows, sys; print({'xarray', 'datacube', 'prefect', 'zarr'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
    with pytest.raises(
        AttributeError, match="expected one of BY_PASS, at_steps, build, clear_series, make_map, open_cube"
    ):
        _ = flows.nothing
