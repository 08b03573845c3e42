"""Values of a cell at pixels: those of the array, whatever the order of the pixels, the chunks and the threads."""

from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.steps.cubes.cell_store import with_overviews, write_shards
from flows.steps.cubes.cells import cell_path
from flows.steps.sampling.chunk_reading import chunked_pixels, values_in_order
from flows.steps.storage import Storage
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import parse_recipe
from products.spec import FeaturesRecipe
from products.template import ArrayTemplate, features_template

TILE_PX = 1024
RECIPE = f"""
name: read_at_pixels
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 10, tile_px: {TILE_PX}}}
period: P1Y
sources: [{{collection: landsat-c2-l2}}]
features: [{{geomedian: {{bands: [red, nir]}}}}]
"""


@pytest.fixture
def cell(tmp_path: Path) -> tuple[Storage, str, ArrayTemplate, NDArray[np.float32]]:
    """A stored cell, and the features (layer, y, x) in it, of which the second misses a tenth."""
    recipe = parse_recipe(RECIPE, "a.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    template, random, storage = features_template(recipe), np.random.default_rng(1), Storage(str(tmp_path))
    array = next(each for each in template.arrays if each.name == "features")
    features = random.random(array.shape(TILE_PX)[1:]).astype(np.float32)
    features[1, random.random(features.shape[1:]) < 0.1] = np.nan
    accounts = np.zeros((1, len(ACCOUNT_NAMES), TILE_PX, TILE_PX), np.uint16)
    path = cell_path(storage, recipe.name, UUID(int=1))
    write_shards(
        storage, path, template, with_overviews(template, {"features": features[None], "accounts": accounts}, 1), 1
    )
    return storage, path, array, features


@pytest.mark.parametrize("n", [1, 7, 60_000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_values_are_those_of_the_pixels(
    cell: tuple[Storage, str, ArrayTemplate, NDArray[np.float32]], n: int, threads: int
) -> None:
    storage, path, array, features = cell
    row, column = np.random.default_rng(n).integers(0, TILE_PX, (2, n))
    pixels = chunked_pixels(row, column, array.chunks(TILE_PX)[-1], TILE_PX, threads)
    values, complete = values_in_order(storage, path, array, TILE_PX, pixels, threads)
    np.testing.assert_array_equal(np.sort(pixels.order), np.arange(n))
    there = features[:, row[pixels.order], column[pixels.order]]
    np.testing.assert_array_equal(values, there)
    np.testing.assert_array_equal(complete, np.isfinite(there).all(axis=0))
    alone = chunked_pixels(row, column, pixels.side, TILE_PX, 1)
    np.testing.assert_array_equal(pixels.order, alone.order)


@pytest.mark.parametrize("side", [16, 50, 100])
def test_pixels_are_sorted_by_chunk(side: int) -> None:
    tile_px = 400
    row, column = np.random.default_rng(side).integers(0, tile_px, (2, 5000))
    pixels = chunked_pixels(row, column, side, tile_px, 2)
    chunk = (row // side * (tile_px // side) + column // side)[pixels.order]
    assert (np.diff(chunk) >= 0).all()
    np.testing.assert_array_equal(pixels.first, np.searchsorted(chunk, np.arange((tile_px // side) ** 2 + 1)))
    np.testing.assert_array_equal(pixels.inner, ((row % side) * side + column % side)[pixels.order])


@pytest.mark.parametrize("beyond", [-1, 400, 2**40])
def test_a_pixel_beyond_the_tile_is_refused(beyond: int) -> None:
    row = np.array([3, beyond, 5])
    for at in ((row, row[::-1] * 0), (row * 0, row)):
        with pytest.raises(ValueError, match="expected rows and columns from 0 to 399 of a tile"):
            chunked_pixels(*at, 100, 400, 2)
