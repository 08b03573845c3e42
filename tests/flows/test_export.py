"""neocube export: files that rasterio, rioxarray and xarray read back equal to the cube."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray
from click.testing import CliRunner

from datacube_config.errors import StorageLost
from flows.cli import main
from flows.steps.cubes.cube_cogs import write_cogs
from flows.steps.cubes.cube_pieces import open_pieces
from flows.steps.cubes.cube_times import times_of
from flows.steps.cubes.exporting import export_cube, writing_into
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.storage import path_of, s3_options
from products.errors import RequestError
from tests.flows.published_product import GRID, SAID, TILES, assembled_far_apart, window

FEATURES = ("red", "ndvi_p50", "smad")


def test_a_cog_a_period_has_the_features_as_named_bands(published: Any, tmp_path: Path) -> None:
    document = export_cube(published.cube_url, {}, str(tmp_path / "files"), "cog")
    names = [Path(name).name for name in document["files"]]
    stem = "known_features_matang"
    assert names == sorted(
        f"{stem}_{year}{array}.tif" for year in (2019, 2020) for array in ("", "_accounts", "_class_map")
    )
    for number, year in enumerate((2019, 2020)):
        with rasterio.open(tmp_path / "files" / f"{stem}_{year}.tif") as file:
            np.testing.assert_array_equal(file.read(), published.features[number])
            assert (file.descriptions, file.dtypes[0], file.crs.to_epsg()) == (FEATURES, "float32", 32647)
            assert file.units == tuple(SAID[name]["units"] for name in FEATURES)
            assert [file.tags(band)["long_name"] for band in file.indexes] == [SAID[n]["long_name"] for n in FEATURES]
            assert np.isnan(file.nodata) and file.transform == published.mosaic.affine
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.tags()["start_datetime"] == f"{year}-01-01T00:00:00+00:00"
        with rasterio.open(tmp_path / "files" / f"{stem}_{year}_accounts.tif") as file:
            np.testing.assert_array_equal(file.read(), published.arrays["accounts"][number])
            assert (file.descriptions, file.dtypes[0], file.nodata) == (("expected", "used"), "uint16", None)
        with rasterio.open(tmp_path / "files" / f"{stem}_{year}_class_map.tif") as file:
            np.testing.assert_array_equal(file.read(1), published.arrays["class_map"][number])
            assert (file.descriptions, file.dtypes[0], file.nodata) == (("class_map",), "uint8", 255)


def test_rioxarray_reads_a_cog_back_equal_and_where_the_cube_is(published: Any, tmp_path: Path) -> None:
    export_cube(published.cube_url, {}, str(tmp_path), "cog")
    with rioxarray.open_rasterio(tmp_path / "known_features_matang_2020.tif") as file:
        assert isinstance(file, xarray.DataArray)
        np.testing.assert_array_equal(file.values, published.features[1])
        np.testing.assert_array_equal(file.x.values, open_snapshot(published.cube_url).x.values)
        assert file.rio.crs.to_epsg() == 32647


@pytest.mark.parametrize("form", ["cog", "netcdf"])
def test_sites_far_apart_are_files_of_their_own(published: Any, tmp_path: Path, form: Any) -> None:
    near, beside, far, lacking = assembled_far_apart(published, str(tmp_path / "far.zarr"))
    document = export_cube(str(tmp_path / "far.zarr"), {}, str(tmp_path / "files"), form)
    names = [Path(name).name for name in document["files"]]
    pieces = {1: (GRID.mosaic((lacking, far)), (TILES[2],)), 2: (GRID.mosaic((near, beside)), TILES[:2])}
    if form == "netcdf":
        assert names == ["known_features_far_1.nc", "known_features_far_2.nc"]
        for number, (mosaic, _) in pieces.items():
            with xarray.open_dataset(tmp_path / "files" / names[number - 1], engine="h5netcdf") as file:
                assert (file.sizes["y"], file.sizes["x"], file.sizes["period"]) == (*mosaic.shape, 2)
        return
    arrays, numbered = (
        ("", "_accounts", "_class_map"),
        [f"{year}_{number}" for year in (2019, 2020) for number in (1, 2)],
    )
    assert names == sorted(f"known_features_far_{place}{array}.tif" for place in numbered for array in arrays)
    for number, (mosaic, tiles) in pieces.items():
        with rasterio.open(tmp_path / "files" / f"known_features_far_2019_{number}.tif") as file:
            assert (file.shape, file.transform) == (mosaic.shape, mosaic.affine)
            there = np.concatenate([published.features[0][:, *window(tile)] for tile in tiles], axis=-1)
            np.testing.assert_array_equal(file.read()[:, :, -there.shape[-1] :], there)


def test_the_sites_of_a_cube_in_an_object_store_are_found(published_on_s3: Any) -> None:
    url = "s3://cubes/published/far.zarr"
    near, beside, _, lacking = assembled_far_apart(published_on_s3, url)
    north, south = open_pieces(url, s3_options(published_on_s3.settings))
    assert [north.odc.geobox.affine, south.odc.geobox.affine] == [GRID.geobox(lacking).affine, GRID.geobox(near).affine]
    assert north.odc.geobox.shape == south.odc.geobox.shape == GRID.mosaic((near, beside)).shape
    there = published_on_s3.features[..., *window(TILES[2])]
    np.testing.assert_array_equal(north.features.values[..., -there.shape[-1] :], there)


def wide_cube() -> xarray.Dataset:
    """One period of one feature, 1300 rows of 700 pixels."""
    y, x = 300_000 - 30.0 * np.arange(1300), 500_000 + 30.0 * np.arange(700)
    values = np.random.default_rng(0).normal(size=(1, 1, 1300, 700)).astype("float32")
    times = {"period": np.array(["2020-01-01"], "M8[ns]"), "period_end": ("period", np.array(["2021-01-01"], "M8[ns]"))}
    attrs = {"proj:code": "EPSG:32647", "neocube:product": "wide", "neocube:version": 1, "title": "Wide"}
    cube = xarray.Dataset({"features": (("period", "feature", "y", "x"), values)}, {**times, "y": y, "x": x}, attrs)
    return cube.assign_coords(feature=["red"]).rio.write_crs("EPSG:32647")


def test_a_cog_has_overviews_of_averages_and_all_its_strips(tmp_path: Path) -> None:
    cube = wide_cube()
    write_cogs(cube, tmp_path, "wide")
    assert [path.name for path in tmp_path.iterdir()] == ["wide_2020.tif"]
    with rasterio.open(tmp_path / "wide_2020.tif") as file:
        np.testing.assert_array_equal(file.read(), cube.features.values[0])
        assert file.overviews(1)[0] == 2
        half = file.read(1, out_shape=(650, 350))
    expected = cube.features.values[0, 0].reshape(650, 2, 350, 2).mean((1, 3))
    np.testing.assert_allclose(half, expected, atol=1e-6)


def test_a_netcdf_file_is_cf_and_reads_back_equal(published: Any, tmp_path: Path) -> None:
    document = export_cube(published.cube_url, {}, str(tmp_path), "netcdf")
    assert document["files"] == [str(tmp_path / "known_features_matang.nc")]
    with xarray.open_dataset(document["files"][0], engine="h5netcdf", decode_coords="all") as file:
        for layer, name in enumerate(FEATURES):
            np.testing.assert_array_equal(file[name].values, published.features[:, layer])
            assert file[name].dtype == np.float32
            assert {key: file[name].attrs[key] for key in SAID[name]} == SAID[name]
        np.testing.assert_array_equal(file.accounts.values, published.arrays["accounts"])
        np.testing.assert_array_equal(file.class_map.values, published.arrays["class_map"])
        assert list(file.cause.values) == ["expected", "used"]
        stored = [(time.label, time.first, time.end) for time in times_of(open_snapshot(published.cube_url))]
        assert [(time.label, time.first, time.end) for time in times_of(file)] == stored
        assert file.rio.crs.to_epsg() == 32647 and file.rio.transform() == published.mosaic.affine
        assert (file.attrs["Conventions"], file.attrs["neocube_missing"]) == ("CF-1.11", "")
        assert len(file.attrs["neocube_cells"].split()) == 8
        assert file.red.encoding["grid_mapping"] == "spatial_ref" and file.red.encoding["zlib"]


def test_a_zarr_copy_has_files_of_its_own(published: Any, tmp_path: Path) -> None:
    (copy,) = export_cube(published.cube_url, {}, str(tmp_path / "a" / "b"), "zarr")["files"]
    np.testing.assert_array_equal(xarray.open_zarr(copy).features.values, published.features)
    shard = "features/c/0/0/0/0"
    assert (Path(copy) / shard).stat().st_nlink == 1 < (Path(path_of(published.cube_url)) / shard).stat().st_nlink


@pytest.mark.parametrize("form", [*(pytest.param(form, marks=pytest.mark.full) for form in ("cog", "netcdf")), "zarr"])
def test_a_cube_in_an_object_store_is_exported_to_a_folder(published_on_s3: Any, tmp_path: Path, form: Any) -> None:
    options = s3_options(published_on_s3.settings)
    first = export_cube(published_on_s3.cube_url, options, str(tmp_path), form)["files"][0]
    if form == "zarr":
        np.testing.assert_array_equal(xarray.open_zarr(first).features.values, published_on_s3.features)
    elif form == "netcdf":
        with xarray.open_dataset(first, engine="h5netcdf") as file:
            np.testing.assert_array_equal(file.red.values, published_on_s3.features[:, 0])
    else:
        with rasterio.open(first) as file:
            np.testing.assert_array_equal(file.read(), published_on_s3.features[0])


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_a_folder_that_is_not_empty_is_left_alone_without_overwrite(published: Any, tmp_path: Path, form: Any) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="is not empty: expected an empty or new folder, or --overwrite"):
        export_cube(published.cube_url, {}, str(tmp_path), form)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    first = export_cube(published.cube_url, {}, str(tmp_path), form, overwrite=True)
    assert export_cube(published.cube_url, {}, str(tmp_path), form, overwrite=True) == first
    assert (tmp_path / "mine.txt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_wrong_exports_are_refused_with_what_was_expected(published: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = {
        (published.cube_url, "s3://bucket/files"): "expected a folder of this machine to export to, got s3://bucket",
        (published.cube_url, str(tmp_path / "file")): "expected a folder to export to, .*file is a file",
        ("/nowhere.zarr", str(tmp_path / "new")): "no cube at /nowhere.zarr: expected a snapshot",
    }
    for (url, folder), words in refused.items():
        with pytest.raises(RequestError, match=words):
            export_cube(url, {}, folder, "cog")
    with (
        pytest.raises(StorageLost, match=r"cannot export to .*/out: No space left on device: make room there"),
        writing_into(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("folder", ["file/below", "/proc/below"])
def test_an_export_to_a_place_that_cannot_be_written_is_a_wrong_request(
    published: Any, neocube_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEOCUBE_HOME", str(published.settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", published.settings.store_url)
    done = CliRunner().invoke(main, ["export", "known_features", str(tmp_path / folder), "--area", "matang"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"cannot export to {tmp_path / folder}: " in done.stderr and "choose another folder" in done.stderr


def test_export_says_its_files_as_json_and_in_words(
    published: Any, neocube_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEOCUBE_HOME", str(published.settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", published.settings.store_url)
    asked = ["export", "known_features", str(tmp_path / "out"), "--area", "matang", "--format", "netcdf"]
    done = CliRunner().invoke(main, [*asked, "--json"], catch_exceptions=False)
    files = json.loads(done.stdout)["files"]
    assert files == [str(tmp_path / "out" / "known_features_matang.nc")] and Path(files[0]).is_file()
    again = CliRunner().invoke(main, [*asked[:2], str(tmp_path / "two"), *asked[3:]], catch_exceptions=False)
    assert again.stdout == f"{tmp_path}/two/known_features_matang.nc\n"
