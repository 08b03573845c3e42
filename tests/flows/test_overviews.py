"""Overviews in cells and cubes: what lies there, who finds it, and what it spares."""

import json
import logging
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid5

import numpy as np
import pytest
import xarray
from numpy.typing import NDArray

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows import open_cube
from flows.build_here import build
from flows.steps.cubes.cell_store import (
    DigestMismatch,
    arrays_digest,
    verify_cell,
    verify_written,
    with_overviews,
    write_metadata,
    write_shards,
)
from flows.steps.cubes.cells import cell_path
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.exporting import export_cube
from flows.steps.cubes.geozarr import geozarr_attributes
from flows.steps.cubes.open_cube import count_overviews, open_snapshot
from flows.steps.cubes.pinning import pin_snapshot
from flows.steps.cubes.snapshot import assemble
from flows.steps.index.catalogue import PublishedCell, published_cells
from flows.steps.pictures.cube import coverage_picture, quicklook_picture, sites_for_picture
from flows.steps.storage import Storage
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE, CellKey
from products.period import Period, parse_period
from products.template import ArrayTemplate, CellTemplate

TILE_PX = 256
GRID = PixelGrid("EPSG:32647", 30.0, TILE_PX, 15.0)
TILES = tuple(Tile(GRID.crs, row, column) for row in (-70, -69) for column in (90, 91))
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
TEMPLATE = CellTemplate(
    "seen",
    1,
    "Known values with overviews",
    (
        ArrayTemplate("features", "feature", ("red", "green", "blue"), "float32", float("nan")),
        ArrayTemplate("accounts", "cause", ("expected", "used"), "uint16", 0, {}, overview="mean_count"),
        ArrayTemplate("classes", None, (), "uint8", 0, {}, overview="mode"),
    ),
)


@dataclass(frozen=True)
class Written:
    """A cube of four tiles, as `build` leaves it but for the index, and the arrays of each tile."""

    storage: Storage
    cube: str
    plan: CubePlan
    arrays: dict[Tile, dict[str, NDArray[Any]]]

    def cell(self, tile: Tile) -> str:
        return cell_path(self.storage, TEMPLATE.product, self.plan.cells[tile.label, YEAR.label].id)


def known_arrays(number: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(number)
    features = random.normal(0.2, 0.1, (1, 3, TILE_PX, TILE_PX)).astype("float32")
    features[random.random(features.shape) < 0.1] = np.nan
    used = random.integers(0, 20, (1, 1, TILE_PX, TILE_PX)).astype("uint16")
    classes = random.integers(0, 4, (1, TILE_PX, TILE_PX)).astype("uint8")
    return {"features": features, "accounts": np.concatenate([used + 3, used], 1), "classes": classes}


def write_cube(storage: Storage) -> Written:
    cells, arrays = {}, {}
    for number, tile in enumerate(TILES):
        key = CellKey(TEMPLATE.product, 1, tile, YEAR)
        arrays[tile] = known_arrays(number)
        stored = with_overviews(TEMPLATE, arrays[tile], 2)
        number_of_cell = uuid5(NAMESPACE, key.label)
        path = cell_path(storage, TEMPLATE.product, number_of_cell)
        location = storage.url(f"{path}/zarr.json")
        cell = PublishedCell(number_of_cell, "seen", 1, tile.label, YEAR.label, location, {"neocube:overviews": 2})
        write_shards(storage, path, TEMPLATE, stored, 2)
        write_metadata(storage, path, TEMPLATE, key, GRID.geobox(tile), {})
        verify_cell(storage, path, TEMPLATE, TILE_PX, arrays_digest(stored), 2)
        cells[tile.label, YEAR.label] = cell
    plan = CubePlan(TEMPLATE, "matang", GRID, TILES, (YEAR,), cells)
    assemble(storage, storage.path("seen.zarr"), plan)
    return Written(storage, storage.path("seen.zarr"), plan, arrays)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_cube(Storage(str(tmp_path_factory.mktemp("store"))))


@pytest.fixture(scope="module")
def cube_on_s3(written: Written, s3_endpoint: str) -> Storage:
    """A copy of the cube, as the root of a store."""
    client = {"endpoint_url": s3_endpoint, "region_name": "eu-west-1"}
    storage = Storage("s3://overviews/seen.zarr", {"key": "who", "secret": "secret", "client_kwargs": client})
    storage.filesystem.mkdir("overviews")
    storage.filesystem.put(written.cube, storage.root, recursive=True)
    return storage


def requests_for(cube: str, log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """(method, key below the cube) of what the S3 server was asked since the log was cleared."""
    inside = cube.removeprefix("s3:/") + "/"
    found = [re.search(r"(GET|HEAD|PUT|POST) (\S+) HTTP", record.getMessage()) for record in log.records]
    return [(each[1], each[2].removeprefix(inside)) for each in found if each]


def block_means(pixels: NDArray[Any], step: int) -> NDArray[np.float64]:
    """Means of the finite pixels of step x step blocks of (..., y, x), in float64."""
    shape = (*pixels.shape[:-2], pixels.shape[-2] // step, step, pixels.shape[-1] // step, step)
    return np.nanmean(pixels.astype(np.float64).reshape(shape), axis=(-3, -1))


@pytest.mark.parametrize(("level", "step"), [(1, 4), (2, 16)])
def test_a_level_of_a_cube_has_the_means_and_the_places_of_the_pixels_below(
    written: Written, level: int, step: int
) -> None:
    whole, overview = xarray.open_zarr(written.cube), xarray.open_zarr(written.cube, group=str(level))
    np.testing.assert_allclose(overview.features, block_means(whole.features.values, step), rtol=2**-23)
    np.testing.assert_array_equal(overview.accounts, block_means(whole.accounts.values, step))
    for axis in ("y", "x"):
        np.testing.assert_allclose(overview[axis], whole[axis].values.reshape(-1, step).mean(1))
    assert list(overview.feature.values) == ["red", "green", "blue"]
    found = open_snapshot(written.cube, level=level)
    assert found.odc.geobox == open_snapshot(written.cube).odc.geobox.zoom_out(step)
    assert found.features.odc.geobox.crs.epsg == 32647


def test_the_tile_and_its_overviews_are_what_plain_xarray_opens(written: Written) -> None:
    whole = xarray.open_zarr(written.cube)
    for each in (whole, xarray.open_zarr(written.cube, group="1")):
        assert set(each.data_vars) == {"features", "accounts", "classes"}
        assert {"period_end", "spatial_ref"} <= set(each.coords)
    assert whole.sizes == {"period": 1, "cause": 2, "y": 512, "x": 512, "feature": 3}
    assert list(xarray.open_groups(written.cube, engine="zarr")) == ["/", "/1", "/2"]


def test_a_level_of_a_cell_depends_on_its_tile_only(written: Written) -> None:
    tile = TILES[3]
    plan = replace(written.plan, tiles=(tile,))
    path = written.storage.path("one_tile.zarr")
    assemble(written.storage, path, plan)
    part, whole = (xarray.open_zarr(each, group="1") for each in (path, written.cube))
    np.testing.assert_array_equal(part.features, whole.features[..., 64:, 64:])
    np.testing.assert_array_equal(part.classes, whole.classes[..., 64:, 64:])


def test_the_shards_of_levels_are_links_to_those_of_cells(written: Written) -> None:
    for array in ("features", "1/features", "2/accounts"):
        there = Path(written.cube, array, "c/0/0/1/0")
        assert there.samefile(Path(written.cell(TILES[2]), array, "c/0/0/0/0"))


def test_a_cube_says_in_the_words_of_geozarr_where_it_is_and_which_overviews_it_has(written: Written) -> None:
    said = json.loads(Path(written.cube, "zarr.json").read_text())["attributes"]
    corner = [30.0, 0.0, 15 + 90 * 7680.0, 0.0, -30.0, 15 + 70 * 7680.0]
    assert [each["name"] for each in said["zarr_conventions"]] == ["proj", "spatial", "multiscales"]
    assert (said["proj:code"], said["spatial:dimensions"], said["spatial:shape"]) == (
        "EPSG:32647",
        ["y", "x"],
        [512, 512],
    )
    assert said["spatial:transform"] == corner
    assert said["spatial:bbox"] == [corner[2], corner[5] - 15360, corner[2] + 15360, corner[5]]
    layout = said["multiscales"]["layout"]
    assert [each["asset"] for each in layout] == [".", "1", "2"]
    assert layout[2] == {
        "asset": "2",
        "derived_from": ".",
        "transform": {"scale": [16.0, 16.0], "translation": [0.0, 0.0]},
        "spatial:shape": [32, 32],
        "spatial:transform": [480.0, 0.0, corner[2], 0.0, -480.0, corner[5]],
    }
    assert "resampling_method" not in said["multiscales"]
    of_means = CellTemplate("means", 1, "", TEMPLATE.arrays[:2])
    assert geozarr_attributes(GRID.geobox(TILES[0]), of_means, 1)["multiscales"]["resampling_method"] == "average"
    level = json.loads(Path(written.cube, "1", "zarr.json").read_text())["attributes"]
    assert "multiscales" not in level and level["spatial:shape"] == [128, 128]
    assert open_snapshot(written.cube).attrs.keys().isdisjoint({"multiscales", "zarr_conventions", "spatial:bbox"})


def test_a_cube_with_a_cell_from_before_overviews_has_none_and_names_none(written: Written) -> None:
    older = replace(written.plan.cells[TILES[0].label, YEAR.label], properties={})
    plan = replace(written.plan, cells={**written.plan.cells, (TILES[0].label, YEAR.label): older})
    path = written.storage.path("older.zarr")
    assemble(written.storage, path, plan)
    assert (plan.levels, count_overviews(path), count_overviews(written.cube)) == (0, 0, 2)
    assert "multiscales" not in xarray.open_zarr(path).attrs and not Path(path, "1").exists()
    np.testing.assert_array_equal(xarray.open_zarr(path).features, xarray.open_zarr(written.cube).features)
    assert sites_for_picture(path, {}, 20)[0].sizes["y"] == 512


def test_ground_without_a_cell_is_empty_in_every_level(written: Written) -> None:
    cells = {place: cell for place, cell in written.plan.cells.items() if place[0] != TILES[1].label}
    path = written.storage.path("holes.zarr")
    assemble(written.storage, path, replace(written.plan, cells=cells))
    level = xarray.open_zarr(path, group="2")
    assert np.isnan(level.features[..., :16, 16:]).all() and (level.accounts[..., :16, 16:] == 0).all()
    np.testing.assert_array_equal(
        level.features[..., 16:, :], xarray.open_zarr(written.cube, group="2").features[..., 16:, :]
    )


def test_a_changed_overview_is_found_when_the_cell_is_read_back(written: Written) -> None:
    cell, other = Path(written.cell(TILES[0])), Path(written.cell(TILES[1]))
    shard = cell / "1/features/c/0/0/0/0"
    content = shard.read_bytes()
    stored = with_overviews(TEMPLATE, written.arrays[TILES[0]])
    digest = arrays_digest(stored)
    verify_cell(written.storage, str(cell), TEMPLATE, TILE_PX, digest)
    verify_written(written.storage, str(cell), TEMPLATE, stored, 2)
    shard.unlink()
    shard.write_bytes((other / "1/features/c/0/0/0/0").read_bytes())
    with pytest.raises(DigestMismatch, match="reads back with digest"):
        verify_cell(written.storage, str(cell), TEMPLATE, TILE_PX, digest)
    with pytest.raises(DigestMismatch, match="other values in 1/features than were written"):
        verify_written(written.storage, str(cell), TEMPLATE, stored, 2)
    shard.write_bytes(content[:-1] + b"x")
    with pytest.raises(DigestMismatch, match="does not read back: the index of a shard has another checksum"):
        verify_written(written.storage, str(cell), TEMPLATE, stored, 2)
    shard.write_bytes(content)


def test_features_that_are_rounded_are_rounded_in_overviews_too() -> None:
    bits = {"precision_bits": 5}
    arrays = (replace(TEMPLATE.arrays[0], attributes=bits), *TEMPLATE.arrays[1:])
    rounded = with_overviews(replace(TEMPLATE, arrays=arrays), known_arrays(0))["1/features"]
    exact = with_overviews(TEMPLATE, known_arrays(0))["1/features"]
    assert (rounded.view(np.uint32) & ((1 << 18) - 1))[np.isfinite(rounded)].max() == 0
    np.testing.assert_allclose(rounded, exact, rtol=2**-6)
    assert (rounded != exact).any()


@pytest.mark.parametrize("level", [0, 2])
def test_one_request_tells_all_about_a_cube_in_an_object_store(
    written: Written, cube_on_s3: Storage, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "werkzeug"):
        opened = open_snapshot(cube_on_s3.root, cube_on_s3.options, level)
        asked = requests_for(cube_on_s3.root, caplog)
    assert [each for each in asked if "zarr.json" in each[1]] == [("GET", "zarr.json")]
    read = {(method, key.removeprefix(f"{level}/").split("/")[0]) for method, key in asked if "zarr.json" not in key}
    assert read == {("GET", name) for name in opened.coords}
    here = open_snapshot(written.cube, level=level)
    np.testing.assert_array_equal(opened.accounts.sel(cause="used"), here.accounts.sel(cause="used"))


def test_a_picture_reads_the_coarsest_level_that_has_its_pixels_and_nothing_finer(
    cube_on_s3: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "werkzeug"):
        sites = [sites_for_picture(cube_on_s3.root, cube_on_s3.options, 30) for _ in range(2)]
        pictures = [draw(*each) for draw, each in zip((quicklook_picture, coverage_picture), sites, strict=True)]
        read = {key.partition("/c/")[0] for _, key in requests_for(cube_on_s3.root, caplog) if "/c/" in key}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert {path for path in read if path.endswith(("features", "accounts"))} == {"2/features", "2/accounts"}


@pytest.mark.parametrize(("most_px", "side"), [(30, 32), (32, 32), (33, 128), (128, 128), (240, 512), (900, 512)])
def test_a_picture_is_drawn_from_the_coarsest_level_that_has_its_pixels(
    written: Written, most_px: int, side: int
) -> None:
    (site,) = sites_for_picture(written.cube, {}, most_px)
    assert site.sizes["x"] == side


def test_a_built_cube_and_its_copies_have_overviews(
    ingested_settings: Settings, small_recipe: Path, tmp_path: Path
) -> None:
    cube = build(str(small_recipe), "demo", "2020")["cube"]
    with open_index(ingested_settings) as index:
        cells = published_cells(index, "mangrove_features", 1, [parse_period("2020")])
        pinned = pin_snapshot(index, Storage(ingested_settings.store_url), cube, "t", datetime(2026, 1, 1, tzinfo=UTC))
    assert {cell.levels for cell in cells.values()} == {1}
    whole, level = xarray.open_zarr(cube), xarray.open_zarr(cube, group="1")
    has_values = np.isfinite(whole.features.values).any()
    accounts = whole.accounts.values.astype(np.float64)
    np.testing.assert_array_equal(level.accounts, block_means(accounts, 4))
    assert has_values and level.sizes["y"] * 4 == whole.sizes["y"]
    balance = level.accounts.sel(cause="expected") - level.accounts.drop_sel(cause="expected").sum("cause")
    assert not balance.any()
    (copy,) = export_cube(cube, {}, str(tmp_path / "copy"), "zarr")["files"]
    for other in (copy, pinned["snapshot"]):
        xarray.testing.assert_identical(xarray.open_zarr(other, group="1"), level)
    assert open_cube("mangrove_features", "demo", "2020", level=1)["ndvi_p50"].shape == (1, *level.features.shape[-2:])
    with pytest.raises(RequestError, match="expected a level from 0 to 1 of mangrove_features over demo, got 2"):
        open_cube("mangrove_features", "demo", level=2)
