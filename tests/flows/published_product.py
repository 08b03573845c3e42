"""A small product as `build` publishes it: four cells of two years and their cube, of known values."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.snapshot import assemble, publish_cube
from flows.steps.index.catalogue import published_cells
from flows.steps.index.index_setup import add_product
from flows.steps.storage import Storage, open_storage
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE, CellKey
from products.period import Period
from products.template import ArrayTemplate, CellTemplate, odc_product_definition

TILE_PX = 32
GRID = PixelGrid("EPSG:32647", 30.0, TILE_PX, 15.0)
TILES = tuple(Tile(GRID.crs, row, column) for row in (-552, -551) for column in (718, 719))
PERIODS = tuple(Period(datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)) for year in (2019, 2020))
SAID = {
    "red": {"units": "1", "long_name": "red reflectance, geometric median"},
    "ndvi_p50": {"units": "1", "long_name": "percentile 50 over time of NDVI"},
    "smad": {"units": "degree", "long_name": "an angle"},
}
TEMPLATE = CellTemplate(
    "known_features",
    1,
    "Annual features of known values",
    (
        ArrayTemplate(
            "features", "feature", ("red", "ndvi_p50", "smad"), "float32", float("nan"), layer_attributes=SAID
        ),
        ArrayTemplate("accounts", "cause", ("expected", "used"), "uint16", 0, {}, overview="mean_count"),
        ArrayTemplate("class_map", None, (), "uint8", 255, {}, overview="mode"),
    ),
)


@dataclass(frozen=True)
class PublishedProduct:
    """`known_features`: its whole arrays over `mosaic`, published as cells and as a cube over the area matang."""

    settings: Settings
    index: Index
    mosaic: GeoBox
    arrays: dict[str, NDArray[Any]]
    cube_url: str

    @property
    def features(self) -> NDArray[np.float32]:
        """(period, feature, y, x)."""
        return self.arrays["features"]

    @property
    def cell_url(self) -> str:
        """One of the cells."""
        return str(next(iter(cells(self.index).values())).location).removesuffix("/zarr.json")


def publish(settings: Settings, index: Index) -> PublishedProduct:
    """Publish the product into the store of the settings."""
    storage, arrays = open_storage(settings), known_arrays()
    add_product(index.dc, odc_product_definition(TEMPLATE))
    for number, period in enumerate(PERIODS):
        for tile in TILES:
            key = CellKey(TEMPLATE.product, TEMPLATE.version, tile, period)
            draft = CellDraft(uuid5(NAMESPACE, key.label), key, TEMPLATE, GRID, "digest", {})
            content = {name: array[number : number + 1, ..., *window(tile)] for name, array in arrays.items()}
            publish_cell(index, storage, draft, content)
    return PublishedProduct(settings, index, GRID.mosaic(TILES), arrays, assembled(index, storage))


def assembled(index: Index, storage: Storage) -> str:
    """The URL of the cube of all cells."""
    return publish_cube(index, storage, CubePlan(TEMPLATE, "matang", GRID, TILES, PERIODS, cells(index)))


def assembled_far_apart(published: PublishedProduct, url: str) -> tuple[Tile, ...]:
    """A cube of three of the cells, laid out as if two were neighbours and one 7000 km north of them, and a fourth place that has none; returns the places."""
    near, beside, far, lacking = places = tuple(
        Tile(GRID.crs, *at) for at in ((-552, 718), (-552, 719), (-8000, 300), (-8000, 299))
    )
    laid_out = dict(zip((near, beside, far), TILES, strict=False))
    known = cells(published.index)
    there = {
        (at.label, period.label): known[tile.label, period.label] for at, tile in laid_out.items() for period in PERIODS
    }
    plan = CubePlan(TEMPLATE, "far", GRID, tuple(sorted(places)), PERIODS, there)
    assemble(open_storage(published.settings), url, plan)
    return near, beside, far, lacking


def cells(index: Index) -> Any:
    """The active cells by (tile, period)."""
    return published_cells(index, TEMPLATE.product, TEMPLATE.version, PERIODS)


def known_arrays() -> dict[str, NDArray[Any]]:
    """A smooth surface with noise, with holes, and one cell that is all hole."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[0 : 2 * TILE_PX, 0 : 2 * TILE_PX] / TILE_PX
    features = np.sin(3 * y + np.arange(6).reshape(2, 3, 1, 1)) + x + random.normal(0, 0.05, (2, 3, *y.shape))
    features[random.random(features.shape) < 0.03] = np.nan
    features[1, :, :TILE_PX, :TILE_PX] = np.nan
    accounts = random.integers(0, 40, (2, 2, *y.shape)).astype("uint16")
    class_map = random.integers(0, 4, (2, *y.shape)).astype("uint8")
    return {"features": features.astype("float32"), "accounts": accounts, "class_map": class_map}


def window(tile: Tile) -> tuple[slice, slice]:
    """The rows and columns of a tile in the mosaic."""
    row, column = (tile.row - TILES[0].row) * TILE_PX, (tile.column - TILES[0].column) * TILE_PX
    return slice(row, row + TILE_PX), slice(column, column + TILE_PX)
