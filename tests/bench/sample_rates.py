"""A million labelled pixels from a cube to a table with their features, beside xarray's pointwise `.sel` and beside decoding the touched chunks once.

eo-learn, which the row could also stand beside, wants geopandas below 1 and installs beside nothing of this project.
`python tests/bench/sample_rates.py` prints the row as JSON, in well under a minute.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import xarray
from numcodecs.blosc import Blosc
from numpy.typing import NDArray
from rounds import row_of, take_turns
from scipy.ndimage import gaussian_filter

from flows.steps.cubes.cell_store import shard_path, with_overviews, write_metadata, write_shards
from flows.steps.cubes.cells import cell_path
from flows.steps.index.catalogue import PublishedCell
from flows.steps.sampling.chunk_reading import stored_chunks
from flows.steps.sampling.pixels import cell_rows
from flows.steps.sampling.sampled_cells import SampledCell, SampledCells
from flows.steps.sampling.shape_labels import pixels_of
from flows.steps.storage import Storage
from products.area import area_from_bounds
from products.identity import CellKey
from products.learning.label_places import Places
from products.period import parse_period
from products.pixel.causes import ACCOUNT_NAMES
from products.spec import FeaturesRecipe
from products.template import StoredArray, features_template

ROUNDS = 5
N_PIXELS, TILE_PX = 1_000_000, 2048
OURS = "ours"
LOADED, LAZY = "xarray's pointwise .sel of the loaded cell", "xarray's pointwise .sel, lazy by dask"
RECIPE = FeaturesRecipe.model_validate(
    {
        "name": "bench_samples",
        "version": 1,
        "kind": "features",
        "grid": {"crs": "EPSG:32647", "resolution_m": 10, "tile_px": TILE_PX},
        "period": "P1Y",
        "sources": [{"collection": "landsat-c2-l2"}],
        "features": [
            {"geomedian": {"bands": ["blue", "green", "red", "nir", "swir1", "swir2"]}},
            {"mads": {}},
            {"index": {"names": ["NDVI"], "reduce": ["p10", "p50", "p90"]}},
        ],
    }
)


def rows() -> list[dict[str, Any]]:
    """The rows of the table."""
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="neocube-samples-") as folder:
        storage = Storage(folder)
        cells = written_cells(storage)
        places, code = labelled(cells)
        ways = _ways(storage, cells, places, code, threads)
        names = list(cells.column_names)
        ours = ways[OURS]()
        limit = next(name for name in ways if name.startswith("decoding"))
        order = np.lexsort(places.T)
        mine = ours.sort_values(["y", "x"])[names].to_numpy()
        assert np.array_equal(mine, ways[LOADED]()[order])
        seconds = take_turns(ways, ROUNDS)
        peer = min((LOADED, LAZY), key=lambda way: statistics.median(seconds[way]))
    name = f"1,000,000 labelled pixels of a cube, {len(names)} features, to a table"
    return [row_of(name, seconds, OURS, peer, limit)]


def written_cells(storage: Storage) -> SampledCells:
    """One published cell of 2048 x 2048 pixels, its features smooth with noise, as reflectance is."""
    template, asked = features_template(RECIPE), parse_period("2020")
    area = area_from_bounds("100.9,4.9,100.95,4.95")
    grid = RECIPE.grid.pixel_grid(area.geometry)
    tile = grid.tiles(area.geometry)[0]
    random = np.random.default_rng(1)
    level = gaussian_filter(random.random((TILE_PX, TILE_PX)), 12)
    layers = [
        level * (0.2 + 0.1 * number) + random.normal(0, 0.01, level.shape)
        for number in range(template.arrays[0].shape(1)[1])
    ]
    accounts = np.zeros((1, len(ACCOUNT_NAMES), TILE_PX, TILE_PX), np.uint16)
    arrays = with_overviews(template, {"features": np.stack(layers)[None].astype(np.float32), "accounts": accounts}, 2)
    number, key = UUID(int=1), CellKey(RECIPE.name, 1, tile, asked)
    path = cell_path(storage, RECIPE.name, number)
    write_shards(storage, path, template, arrays, 2)
    write_metadata(storage, path, template, key, grid.geobox(tile), {})
    published = PublishedCell(number, RECIPE.name, 1, tile.label, asked.label, storage.url(path), {})
    return SampledCells(RECIPE, area, asked, grid, (SampledCell(tile, asked.label, asked, published),))


def labelled(cells: SampledCells) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Easting and northing (n, 2), as shapely gives points, and class code of a million different pixels in no order, anywhere in the tile."""
    random = np.random.default_rng(2)
    place = random.permutation(TILE_PX**2)[:N_PIXELS]
    affine = cells.grid.geobox(cells.tiles[0]).affine
    places = np.stack(affine * (place % TILE_PX + 0.5, place // TILE_PX + 0.5), axis=1)
    return places, random.integers(1, 4, N_PIXELS).astype(np.uint8)


def _ways(
    storage: Storage,
    cells: SampledCells,
    places: NDArray[np.float64],
    code: NDArray[np.uint8],
    threads: int,
) -> dict[str, Callable[[], Any]]:
    return {
        OURS: partial(ours, storage, cells, places, code, threads),
        LOADED: partial(pointwise, storage, cells, *places.T, is_loaded=True),
        LAZY: partial(pointwise, storage, cells, *places.T, is_loaded=False),
        f"decoding the touched chunks once, {threads} threads": partial(decode_touched, storage, cells, threads),
    }


def ours(
    storage: Storage,
    cells: SampledCells,
    places: NDArray[np.float64],
    code: NDArray[np.uint8],
    threads: int,
) -> pd.DataFrame:
    """From places to the table: pixels, features, which rows are complete, priorities."""
    row, column = pixels_of(places, cells.grid.geobox(cells.tiles[0]))
    labels = Places(row, column, code, np.ones(row.size, np.float32), np.zeros(row.size, np.uint8))
    return cell_rows(storage, cells, 0, labels, 0, threads)


def pointwise(
    storage: Storage, cells: SampledCells, x: NDArray[np.float64], y: NDArray[np.float64], *, is_loaded: bool
) -> NDArray[np.float32]:
    """(n, feature), by labels of the coordinates: all points at once, as xarray's documentation has it; of the cell in memory or lazy by dask."""
    url = cell_path(storage, RECIPE.name, cells.cells[0].cell.id)
    with xarray.open_zarr(url, consolidated=False, chunks=None if is_loaded else "auto") as cell:
        if is_loaded:
            cell["features"].load()
        places = {"x": xarray.DataArray(x, dims="point"), "y": xarray.DataArray(y, dims="point")}
        found = cell["features"].isel(period=0).sel(places, method="nearest")
        values: NDArray[np.float32] = found.transpose("point", "feature").values
    return values


def decode_touched(storage: Storage, cells: SampledCells, threads: int) -> None:
    """Every chunk that holds a pixel, decoded once; of a million pixels of four, all are."""
    array = cells.stack
    n_chunks = int(np.prod([s // c for s, c in zip(array.shape(TILE_PX), array.chunks(TILE_PX), strict=True)]))
    path = shard_path(
        cell_path(storage, RECIPE.name, cells.cells[0].cell.id), StoredArray(array.name, 0, array, TILE_PX)
    )
    chunks = stored_chunks(storage, path, n_chunks, range(n_chunks))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(Blosc().decode, chunks.values()):
            pass


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(), indent=2) + "\n")
