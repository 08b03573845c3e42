"""The split as a layer: its blocks as polygons, for any GIS; and sites from a file of named areas."""

import hashlib
import io
from pathlib import Path

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray

from flows.steps.vector_files import read_vector_file
from products.errors import RequestError
from products.learning.splits import BlockSplit

Int64 = NDArray[np.int64]


def split_layer(split: BlockSplit, learned: NDArray[np.bool_], crs: str) -> bytes:
    """GeoParquet: each block with its fold (the last is held out, -1 is not used), samples, and samples that the model has learned from, of rows (n,)."""
    blocks, first, position = np.unique(split.block, return_index=True, return_inverse=True)
    left = np.floor(split.x[first] / split.block_m) * split.block_m
    bottom = np.floor(split.y[first] / split.block_m) * split.block_m
    fold = np.full(blocks.size, -1, np.int64)
    np.maximum.at(fold, position, split.fold)
    columns = {
        "fold": fold,
        "is_holdout": fold == split.holdout,
        "samples": np.bincount(position),
        "trained_on": np.bincount(position, weights=learned).astype(np.int64),
    }
    shapes = shapely.box(left, bottom, left + split.block_m, bottom + split.block_m)
    buffer = io.BytesIO()
    geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs).to_parquet(buffer)
    return buffer.getvalue()


def sites_digest(path: str) -> str:
    """SHA-256 of a file of sites; RequestError if there is none."""
    if not Path(path).is_file():
        raise RequestError(f"no file of sites at {path}: expected polygons with a column `name`")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def named_sites(path: str, x: NDArray[np.float64], y: NDArray[np.float64], crs: str) -> tuple[Int64, tuple[str, ...]]:
    """The site of each place by a file of polygons with a column `name`; RequestError if one has none, or a sample lies in no site or in two."""
    try:
        table = read_vector_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise RequestError(f"the sites {path} cannot be read: {error}") from error
    if "name" not in table.columns or table.crs is None or table.empty:
        raise RequestError(
            f"expected polygons with a column `name` and a CRS in {path}, got columns {', '.join(table.columns)}"
        )
    nameless = table["name"].isna() | (table["name"].astype(str).str.strip() == "")
    if nameless.any():
        raise RequestError(
            f"{nameless.sum()} of {len(table)} polygons of {path} have no `name`, the first is feature {nameless.argmax() + 1}: name each site"
        )
    here = table.to_crs(crs)
    names = tuple(dict.fromkeys(str(name) for name in here["name"]))
    site = np.full(x.shape, -1, np.int64)
    for name, shape in zip(here["name"], here.geometry, strict=True):
        within, number = shapely.contains_xy(shape, x, y), names.index(str(name))
        taken = site[within & (site >= 0) & (site != number)]
        if taken.size:
            raise RequestError(
                f"{taken.size} of {x.size} samples lie in both {names[taken[0]]} and {name} of {path}: expected all inside one; cut the polygons apart"
            )
        site[within] = number
    outside = int((site < 0).sum())
    if outside:
        raise RequestError(
            f"{outside} of {x.size} samples lie in no site of {path}: expected all inside one; widen the polygons"
        )
    return site, names
