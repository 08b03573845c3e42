"""A cube of sites across oceans: what it takes to open, draw and show it follows the ground that is there, not the box around it."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from matplotlib import image
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

import flows
from datacube_config.schema import cube_pointer
from flows.steps.areas import find_area
from flows.steps.cubes.cube_pieces import find_sites
from flows.steps.cubes.held_tiles import HeldTiles
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.pictures.cube import (
    COVERAGE_PX,
    NOTHING,
    QUICKLOOK_PX,
    coverage_picture,
    quicklook_picture,
    sites_for_picture,
)
from flows.steps.pictures.gallery import picture_of_kind
from flows.steps.pictures.tiles import Layers, tile_picture
from products.grid import Tile
from tests.flows.published_product import GRID, PERIODS, TILE_PX, TILES, assembled_far_apart, window
from tests.flows.test_tiles import tile_at

AREA = "100,5,101,60"
FAR_TASKS = 600  # of a variable: the box has 7449 x 421 tiles, 3262 chunks of 1024 x 1024 pixels


@pytest.fixture
def far(published: Any, neocube_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, tuple[Tile, ...]]]:  # fmt: skip
    """The path of a cube of two sites 7000 km apart, which the index knows as one over AREA, and its places; the settings in force are those of its product."""
    monkeypatch.setenv("NEOCUBE_HOME", str(published.settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", published.settings.store_url)
    path = tmp_path / "far.zarr"
    places = assembled_far_apart(published, str(path))
    row = {
        "product": "known_features",
        "version": 1,
        "area": find_area(AREA).name,
        "crs": GRID.crs,
        "snapshot_url": path.as_uri(),
    }
    with published.index.engine.begin() as connection:
        connection.execute(cube_pointer.insert().values(**row, cell_ids=[]))
    yield str(path), places
    with published.index.engine.begin() as connection:
        connection.execute(cube_pointer.delete().where(cube_pointer.c.area == find_area(AREA).name))


def n_tasks(array: xarray.DataArray) -> int:
    """The tasks that Dask lists for an array."""
    return len(dict(array.__dask_graph__()))  # type: ignore[call-overload]


def on(cube: xarray.Dataset, tile: Tile) -> xarray.Dataset:
    """The part of a cube on a tile."""
    box = GRID.geobox(tile)
    return cube.sel(x=box.coordinates["x"].values, y=box.coordinates["y"].values)


def pixels(png: bytes) -> NDArray[np.float32]:
    """The picture as (y, x, channel), 0 to 1."""
    return np.asarray(image.imread(io.BytesIO(png), format="png"))


def share_of(png: bytes, colour: str) -> float:
    """The share of the pixels of a picture that have a colour."""
    return float((np.abs(pixels(png)[..., :3] - to_rgb(colour)).max(axis=2) < 0.01).mean())


@pytest.mark.parametrize("period", [None, "2020"])
def test_open_cube_lists_no_chunk_for_each_tile_of_the_ocean(published: Any, far: Any, period: str | None) -> None:
    _, (near, beside, northern, _) = far
    cube = flows.open_cube("known_features", AREA, period)
    assert dict(cube.sizes) == {"period": 1 if period else 2, "cause": 2, "y": 7449 * TILE_PX, "x": 421 * TILE_PX}
    assert cube.odc.geobox.shape == (7449 * TILE_PX, 421 * TILE_PX)
    for name in ("ndvi_p50", "class_map"):
        assert n_tasks(cube[name].isel(period=0)) < FAR_TASKS
    for tile, source in zip((near, beside, northern), TILES, strict=False):
        part = on(cube, tile)
        np.testing.assert_array_equal(part["ndvi_p50"].values[-1], published.features[-1, 1][window(source)])
        np.testing.assert_array_equal(part["class_map"].values[-1], published.arrays["class_map"][-1][window(source)])
    assert np.isnan(cube["red"].isel(period=0, y=slice(50_000, 50_010), x=slice(40)).values).all()


def test_chunks_are_small_where_there_are_tiles_and_bounded_between_them() -> None:
    held = HeldTiles(256, frozenset({(3, 0), (4, 0), (5, 1), (6, 0), (7, 0), (100, 60)}))
    rows, columns = held.chunks(200 * 256, 61 * 256)
    assert (sum(rows), sum(columns)) == (200 * 256, 61 * 256)
    assert rows[:4] == (3 * 256, 1024, 256, 8192) and 256 in rows[4:]
    assert columns == (512, 8192, 26 * 256, 256)
    assert max(*rows, *columns) == 8192


def test_a_cube_that_tiles_fill_has_chunks_of_one_side(published: Any) -> None:
    assert open_snapshot(published.cube_url).features.chunks == ((1, 1), (1, 1, 1), (64,), (64,))
    assert find_sites(published.cube_url).windows == ()


def test_pictures_show_each_site_and_no_ocean(far: Any) -> None:
    path, _ = far
    sites = sites_for_picture(path, {}, COVERAGE_PX)
    assert [(site.sizes["y"], site.sizes["x"]) for site in sites] == [(TILE_PX, 2 * TILE_PX), (TILE_PX, 2 * TILE_PX)]
    assert max(n_tasks(site["features"]) for site in sites) < 20
    coverage = coverage_picture(*sites)
    assert share_of(coverage, NOTHING) < 0.05
    assert share_of(coverage, "white") < 0.75
    quicklook = pixels(quicklook_picture(*sites_for_picture(path, {}, QUICKLOOK_PX)))[..., :3]
    is_shown = (quicklook > 0.02).all(axis=2) & (quicklook < 0.98).all(axis=2)
    assert is_shown.mean() > 0.15
    picture, held = picture_of_kind(*sites)
    alone, _ = picture_of_kind(sites[0])
    assert held == {"features": 3}
    assert pixels(picture).shape == (2 * pixels(alone).shape[0], pixels(alone).shape[1], 4)


def test_sites_of_one_picture_have_the_same_colours(far: Any) -> None:
    path, _ = far
    north, south = (site.load() for site in find_sites(path).at())
    brighter = south.assign(features=south["features"] * 100)
    left = [pixels(quicklook_picture(north, other))[100:400, :270, :3] for other in (south, brighter)]
    spread = [np.std(shown[shown < 0.99]) for shown in left]
    assert spread[1] < spread[0] / 2


def test_map_tiles_show_each_site_at_its_place(far: Any) -> None:
    path, (_, beside, northern, _) = far
    layers = Layers(path)
    assert max(n_tasks(level) for site in layers.sites for level in site) < 20
    west, south, east, north = layers.bounds
    for tile in (beside, northern):
        ((longitude, latitude),) = GRID.geobox(tile).extent.to_crs("EPSG:4326").centroid.coords
        assert west < longitude < east and south < latitude < north
        assert layers.period_at(longitude, latitude) == PERIODS[-1]
        for zoom, least in ((0, 16), (3, 16), (9, 2), (14, 500)):
            address = tile_at(zoom, longitude, latitude)
            assert pixels(tile_picture(layers, zoom, *address))[..., 3].sum() >= least
    assert not pixels(tile_picture(layers, 9, *tile_at(9, (west + east) / 2, (south + north) / 2)))[..., 3].any()
