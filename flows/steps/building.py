"""Build one cell: load, compute, publish."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from datacube_config.connection import Index
from flows.steps.cell_store import Arrays
from flows.steps.cells import CellDraft, publish_cell
from flows.steps.loading import Loaded, load_observations
from flows.steps.rasters import load_rasters
from flows.steps.reading import RasterAccess
from flows.steps.storage import Storage
from products.features import compute_features
from products.grid import PixelGrid
from products.identity import CellKey, cell_id, source_keys
from products.pixel.causes import ACCOUNT_NAMES
from products.raster import RasterFile
from products.scene import Scene
from products.spec import FeaturesRecipe
from products.template import features_template
from products.window_features import without_margin


class TooMuchUnread(RuntimeError):
    """More pixels are unread than the failure budget allows; the cell is not published."""


@dataclass(frozen=True, slots=True)
class BuiltCell:
    """What became of a cell: its id by what was read, whether it was published now, what was read and the accounts in observations."""

    key: CellKey
    id: UUID
    published: bool
    decoded_bytes: int
    manifest: Mapping[str, Any]
    accounts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What building needs beside the cell: threads, how files are opened and the share of pixels that may be unread."""

    threads: int
    access: RasterAccess
    failure_budget: float


def build_cell(
    index: Index,
    storage: Storage,
    recipe: FeaturesRecipe,
    grid: PixelGrid,
    key: CellKey,
    scenes: tuple[Scene, ...],
    rasters: tuple[RasterFile, ...],
    workshop: Workshop,
) -> BuiltCell:
    """Make and publish one cell of features; TooMuchUnread if the read failures exceed the budget, UnreadBand if a raster cannot be read.

    A cell that already has what could be read is left.
    """
    geobox = grid.geobox(key.tile, recipe.margin_px)
    loaded = load_observations(recipe, scenes, geobox, workshop.threads, workshop.access)
    seen, manifest = loaded.seen, loaded.manifest
    counts = without_margin(seen.accounts, recipe.margin_px)
    accounts = {name: int(layer.sum(dtype=np.int64)) for name, layer in zip(ACCOUNT_NAMES, counts, strict=True)}
    _check_budget(key, loaded, accounts, workshop.failure_budget)
    read = tuple(scene for scene in scenes if scene.id not in manifest.unread_scenes)
    keys = [*source_keys(scenes, manifest.unread_scenes), *(raster.key for raster in rasters)]
    number = cell_id(key, keys, recipe.digest())
    published = False
    if not _is_active(index, number):
        layers = load_rasters(rasters, recipe.rasters, geobox, workshop.access)
        arrays: Arrays = {
            "features": compute_features(recipe, seen, key.period, workshop.threads, layers)[None],
            "accounts": np.ascontiguousarray(counts)[None],
        }
        del loaded, seen, layers, counts  # the integer block is the largest part, and publishing reads back
        properties = {
            "neocube:manifest": manifest.document(),
            "neocube:accounts": accounts,
            "eo:platform": _platforms(read),
        }
        lineage = {"scene": [scene.id for scene in read], "raster": sorted({raster.id for raster in rasters})}
        draft = CellDraft(number, key, features_template(recipe), grid, recipe.digest(), lineage, properties)
        published = publish_cell(index, storage, draft, arrays, workshop.threads)
    return BuiltCell(key, number, published, manifest.decoded_bytes, manifest.document(), accounts)


def _platforms(scenes: tuple[Scene, ...]) -> str:
    return ",".join(sorted({scene.platform for scene in scenes}))


def _is_active(index: Index, number: UUID) -> bool:
    row = index.dc.index.datasets.get(number)
    return row is not None and not row.is_archived


def _check_budget(key: CellKey, loaded: Loaded, accounts: Mapping[str, int], budget: float) -> None:
    expected, unread = accounts["expected"], accounts["unread"]
    if unread > budget * max(expected, 1):
        first = loaded.manifest.failed[0]
        raise TooMuchUnread(
            f"{unread / expected:.1%} of the observations of {key.label} are unread, the failure budget is {budget:.1%}; "
            f"{len(loaded.manifest.failed)} assets failed, the first: {first.cause}"
        )
