"""The content of a cell, loaded and computed whole or in horizontal strips of rows: the same bytes, in less memory."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from flows.steps.loading.coregistration import Coregistration
from flows.steps.loading.manifest import ReadManifest, merged
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.rasters import load_rasters
from flows.steps.loading.read_attempts import Failures
from flows.steps.loading.tile_block import load_observations
from products.cell_content import compute_layers
from products.devices import Device
from products.errors import DeviceFull
from products.grid import PixelGrid
from products.identity import CellKey
from products.kept_memory import give_back, kept_empty
from products.pixel.agreement import ClearSums, clear_sums
from products.pixel.causes import ACCOUNT_NAMES
from products.pixel.rows import ROWS_PER_TASK
from products.raster import RasterFile
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.window_features import without_margin

NO_STACK = "can't start new thread"  # what Python says where there is no memory for the stack of one

Counts = NDArray[np.uint16]
IsWanted = Callable[[ReadManifest, Counts], bool]


@dataclass(frozen=True, slots=True)
class CellWork:
    """What one cell is made of, the threads and the device that make it, and the rows that are loaded and computed at a time."""

    recipe: SceneRecipe
    grid: PixelGrid
    key: CellKey
    scenes: tuple[Scene, ...]
    rasters: tuple[RasterFile, ...]
    threads: int
    access: RasterAccess
    strip_px: int
    device: Device = "cpu"
    registered: Coregistration = Coregistration()  # noqa: RUF009, it is frozen


@dataclass(frozen=True, slots=True)
class CellContent:
    """float32 (layer, y, x), None where it is not wanted; uint16 accounts (fate, y, x); the read; what went otherwise than planned.

    `sums` of what is clear, of the scenes in written order, beside the layers; `loading_s` and `computing_s`, of all strips.
    """

    layers: NDArray[np.float32] | None
    accounts: Counts
    manifest: ReadManifest
    notes: tuple[str, ...] = ()
    sums: ClearSums | None = None
    loading_s: float = 0.0
    computing_s: float = 0.0


def make_content(work: CellWork, is_wanted: IsWanted) -> CellContent:
    """The content of a cell; MemoryError where a strip of 16 rows does not fit. Of a whole cell layers are computed only if `is_wanted` says so.

    An asset that fails in one strip counts as failed in all, as in a whole cell: the cell is made again without it.
    """
    failed: Failures = dict(work.registered.failed)
    notes: list[str] = []
    while True:
        content, work = _make_once(work, failed, is_wanted, notes)
        found = {(asset.scene, asset.band): asset for asset in content.manifest.failed}
        if work.strip_px >= work.grid.tile_px or found.keys() <= failed.keys():
            return content
        del content
        failed = {**failed, **found}


def _make_once(work: CellWork, failed: Failures, is_wanted: IsWanted, notes: list[str]) -> tuple[CellContent, CellWork]:
    side, first, parts, sums = work.grid.tile_px, 0, list[ReadManifest](), list[ClearSums]()
    loading_s = computing_s = 0.0
    layers, accounts = _empty(work.recipe) if work.strip_px < side else (None, None)
    while first < side:
        last = min(first + work.strip_px, side)
        part = _attempt(work, first, last, failed, is_wanted, notes)
        if isinstance(part, str):
            gc.collect()  # futures and the error that they hold keep each other, and the block
            give_back()
            work = _halved(work, part)
            notes.append(f"{part}: {work.key.label} went on in strips of {work.strip_px} rows")
            continue
        if last - first == side:
            return replace(part, notes=tuple(notes)), work
        if layers is None or accounts is None:
            layers, accounts = _empty(work.recipe)
        layers[:, first:last], accounts[:, first:last] = part.layers, part.accounts
        parts.append(part.manifest)
        sums += [part.sums] if part.sums else []
        loading_s, computing_s = loading_s + part.loading_s, computing_s + part.computing_s
        del part
        first = last
    assert accounts is not None
    total = reduce(add, sums)
    return CellContent(layers, accounts, merged(parts), tuple(notes), total, loading_s, computing_s), work


def _attempt(
    work: CellWork, first: int, last: int, failed: Failures, is_wanted: IsWanted, notes: list[str]
) -> CellContent | str:
    """Rows first to last of the content; where memory does not suffice, which memory."""
    is_whole = last - first == work.grid.tile_px
    try:
        return _strip(work, first, last, failed, is_wanted if is_whole else lambda *_: True, notes)
    except DeviceFull as error:
        return f"out of device memory ({error})"
    except MemoryError:
        return "out of memory"
    except RuntimeError as error:
        if str(error) != NO_STACK:
            raise
        return "out of memory"


def _strip(
    work: CellWork, first: int, last: int, failed: Failures, is_wanted: IsWanted, notes: list[str]
) -> CellContent:
    """Rows first to last of the content."""
    margin = work.recipe.margin_px
    geobox = work.grid.geobox(work.key.tile, margin)[first : last + 2 * margin, :]
    begun = time.perf_counter()
    loaded = load_observations(
        work.recipe, work.scenes, geobox, work.threads, work.access, failed, work.registered.applied
    )
    loaded_at = time.perf_counter()
    counts = without_margin(loaded.seen.accounts, margin)
    layers = sums = None
    if is_wanted(loaded.manifest, counts):
        seen = loaded.seen
        sums = clear_sums(seen.scenes, seen.block, seen.causes, margin, work.threads)
        rasters = load_rasters(work.rasters, work.recipe.rasters, geobox, work.access)
        layers = compute_layers(
            work.recipe, seen, work.key.period, work.threads, rasters, work.device,
            lambda said: notes.append(f"{work.key.label}: {said}"),
        )  # fmt: skip
    spent = loaded_at - begun, time.perf_counter() - loaded_at
    return CellContent(layers, np.ascontiguousarray(counts), loaded.manifest, (), sums, *spent)


def _empty(recipe: SceneRecipe) -> tuple[NDArray[np.float32], Counts]:
    side = recipe.grid.tile_px
    layers = kept_empty((recipe.n_layers, side, side), np.float32)
    return layers, kept_empty((len(ACCOUNT_NAMES), side, side), np.uint16)


def _halved(work: CellWork, lacking: str) -> CellWork:
    """The work in strips of half the rows, a multiple of 16; MemoryError where they have no more than that."""
    rows = min(work.strip_px, work.grid.tile_px)
    if rows <= ROWS_PER_TASK:
        raise MemoryError(
            f"{lacking}: {work.key.label} does not fit even in strips of {ROWS_PER_TASK} rows: "
            "take a smaller tile_px, or fewer workers"
        )
    return replace(work, strip_px=max(rows // 2 // ROWS_PER_TASK * ROWS_PER_TASK, ROWS_PER_TASK))
