"""Map tiles of a cube, held against the cube's own pixels."""

import io
import math
from typing import Any

import numpy as np
import pytest
import xarray
from matplotlib import image
from odc.geo.geobox import GeoBox
from odc.geo.geom import point
from odc.geo.xr import xr_coords
from pyproj import Transformer

from flows.steps.pictures import tiles
from flows.steps.pictures.tiles import Layers, layers_of, tile_box, tile_picture
from products.errors import RequestError
from tests.flows.published_product import PERIODS, PublishedProduct


def tile_at(zoom: int, longitude: float, latitude: float) -> tuple[int, int]:
    """Column and row of the tile that holds a point (the formula of the OpenStreetMap wiki, Slippy map tilenames)."""
    n, angle = 2**zoom, math.radians(latitude)
    return int((longitude + 180) / 360 * n), int((1 - math.asinh(math.tan(angle)) / math.pi) / 2 * n)


def test_tiles_lie_where_web_maps_have_them() -> None:
    for zoom in (0, 5, 14):
        column, row = tile_at(zoom, 100.6, 4.85)
        west, south, east, north = tile_box(zoom, column, row).extent.to_crs("EPSG:4326").boundingbox.bbox
        assert west <= 100.6 <= east and south <= 4.85 <= north


@pytest.mark.parametrize(("zoom", "column", "row"), [(1, 2, 0), (1, 0, 2), (-1, 0, 0), (23, 0, 0)])
def test_a_tile_that_there_is_not_is_refused(zoom: int, column: int, row: int) -> None:
    with pytest.raises(RequestError, match=f"got {zoom}/{column}/{row}"):
        tile_box(zoom, column, row)


def test_a_tile_has_the_values_of_the_last_cell_and_is_clear_outside(published: PublishedProduct) -> None:
    layers = layers_of(Layers(published.cube_url))
    assert layers_of(Layers(published.cube_url)) is layers
    row, column = 20, 37
    x, y = published.mosaic.affine * (column + 0.5, row + 0.5)
    ((longitude, latitude),) = point(x, y, published.mosaic.crs).to_crs("EPSG:4326").coords
    assert layers.period_at(longitude, latitude) == layers.period_at(0, 0) == PERIODS[-1]
    zoom = 17
    address = tile_at(zoom, longitude, latitude)
    pixels = image.imread(io.BytesIO(tile_picture(layers, zoom, *address)))
    across = (longitude + 180) / 360 * 2**zoom - address[0]
    down = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * 2**zoom - address[1]
    low, high = layers.limits[:, 0]
    value = published.features[-1, 0, row, column]
    expected = math.sqrt(np.clip((value - low) / (high - low), 0, 1))
    assert pixels[int(down * 256), int(across * 256), 0] == pytest.approx(expected, abs=0.02)
    west, south, east, north = layers.bounds
    assert west < longitude < east and south < latitude < north
    far = image.imread(io.BytesIO(tile_picture(layers, zoom, address[0] + 50, address[1])))
    assert far[..., 3].max() == 0
    world = image.imread(io.BytesIO(tile_picture(layers, 0, 0, 0)))
    assert world.shape == (256, 256, 4)


Bounds = tuple[float, float, float, float]


class OneLevel:
    """Layers without overviews, one everywhere in a box of a CRS, 200 pixels wide."""

    limits = np.array([[0.0] * 3, [2.0] * 3])

    def __init__(self, crs: str, bounds: Bounds) -> None:
        box = GeoBox.from_bbox(bounds, crs, resolution=(bounds[2] - bounds[0]) / 200, tight=True)
        ones = np.ones((3, *box.shape), np.float32)
        self.sites = [[xarray.DataArray(ones, dims=("feature", "y", "x"), coords=xr_coords(box))]]


@pytest.mark.parametrize(
    ("crs", "longitude", "latitude"),
    [("EPSG:32647", 100.8, 4.9), ("EPSG:32632", 9.0, 50.0), ("EPSG:32701", -179.9, -16.8), ("EPSG:3577", 134.0, -20.0)],
)
def test_every_tile_of_the_world_has_a_picture_and_those_over_the_cube_show_it(
    crs: str, longitude: float, latitude: float
) -> None:
    x, y = point(longitude, latitude, "EPSG:4326").to_crs(crs).coords[0]
    layers: Any = OneLevel(crs, (x - 150e3, y - 150e3, x + 150e3, y + 150e3))
    for zoom in range(5):
        address = tile_at(zoom, longitude, latitude)
        seen = {
            (column, row)
            for column in range(2**zoom)
            for row in range(2**zoom)
            if image.imread(io.BytesIO(tile_picture(layers, zoom, column, row)))[..., 3].any()
        }
        near = {(address[0] + x) % 2**zoom for x in (-1, 0, 1)}
        assert {column for column, _ in seen} <= near
        assert address in seen


@pytest.mark.parametrize(
    ("crs", "bounds", "address"),
    [
        ("EPSG:3413", (-700e3, -3400e3, 900e3, -600e3), (2, 1, 0)),
        ("EPSG:3413", (-700e3, -3400e3, 900e3, -600e3), (3, 2, 1)),
        ("EPSG:3413", (-1500e3, -1500e3, 1500e3, 1500e3), (0, 0, 0)),
        ("EPSG:3035", (2500e3, 1400e3, 7400e3, 5500e3), (2, 2, 0)),
        ("EPSG:5070", (-2400e3, 200e3, 2300e3, 3200e3), (3, 1, 2)),
        ("EPSG:32633", (300e3, 7560e3, 700e3, 7960e3), (5, 17, 6)),
    ],
)
def test_a_cube_whose_sides_are_bent_on_the_map_is_shown_wholly(
    crs: str, bounds: Bounds, address: tuple[int, int, int]
) -> None:
    layers: Any = OneLevel(crs, bounds)
    shown = image.imread(io.BytesIO(tile_picture(layers, *address)))[..., 3] > 0
    column, row = np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5)
    x, y = Transformer.from_crs("EPSG:3857", crs, always_xy=True).transform(
        *(tile_box(*address).affine * (column, row))
    )
    west, south, east, north = bounds
    pixel = (east - west) / 200
    inside = (x > west + pixel) & (x < east - pixel) & (y > south + pixel) & (y < north - pixel)
    assert inside.sum() > 5000
    assert not (inside & ~shown).any()


def test_a_tile_beyond_the_reach_of_the_crs_of_a_cube_is_clear() -> None:
    layers: Any = OneLevel("EPSG:32633", (400e3, 1000e3, 700e3, 1300e3))
    assert image.imread(io.BytesIO(tile_picture(layers, 7, 35, 62)))[..., 3].max() == 0


def test_of_a_large_window_every_nth_pixel_is_read_and_lies_where_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    box = GeoBox.from_bbox((500_000, 500_000, 507_680, 507_680), "EPSG:32647", resolution=30, tight=True)
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32), (1, 256, 256))
    level = xarray.DataArray(ramp, dims=("feature", "y", "x"), coords=xr_coords(box))
    target = GeoBox.from_bbox(
        box.extent.to_crs("EPSG:3857").boundingbox.bbox, "EPSG:3857", shape=(256, 256), tight=True
    )
    whole = tiles._warped(level, box.extent.boundingbox, target)
    monkeypatch.setattr(tiles, "MOST_READ_PX", 64)
    thinned = tiles._warped(level, box.extent.boundingbox, target)
    inside = slice(16, -16)
    assert np.isfinite(whole[0, inside, inside]).all()
    np.testing.assert_allclose(thinned[0, inside, inside], whole[0, inside, inside], atol=0.01)
