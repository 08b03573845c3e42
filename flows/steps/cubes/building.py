"""Build one cell: load, compute, publish."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
from datacube.model import Dataset
from numpy.typing import NDArray

from datacube_config.connection import Index
from flows.steps.cubes.cell_quality import quality_of
from flows.steps.cubes.cells import QUALITY, TIDES, CellDraft, Spent, publish_cell, restore_cell
from flows.steps.cubes.strips import CellWork, make_content
from flows.steps.loading.coregistration import measure_shifts
from flows.steps.loading.manifest import ReadManifest
from flows.steps.loading.model_keys import model_keys
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tides import TideModel, with_tides
from flows.steps.storage import Storage
from products.cell_content import cell_arrays, cell_template
from products.devices import Device
from products.grid import PixelGrid
from products.identity import CellKey, scenes_cell_id
from products.pixel.causes import ACCOUNT_NAMES
from products.raster import RasterFile
from products.scene import Scene
from products.scene_recipe import SceneRecipe


class TooMuchUnread(RuntimeError):
    """More pixels are unread than the failure budget allows; the cell is not published."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuiltCell:
    """What became of a cell: its id by what was read, whether it was published now, what was read, the accounts in observations, what was unplanned.

    One that is `restored` was made before, and is published again as it is.
    """

    key: CellKey
    id: UUID
    published: bool
    decoded_bytes: int
    manifest: Mapping[str, Any]
    accounts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    restored: bool = False


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What building needs beside the cell: threads, how files are opened, the share of pixels that may be unread, the device that computes, the tide
    model if one is needed, and one whose tides are told where none is.
    """

    threads: int
    access: RasterAccess
    failure_budget: float
    device: Device = "cpu"
    tides: TideModel | None = None
    described_tides: TideModel | None = None


def build_cell(
    index: Index,
    storage: Storage,
    recipe: SceneRecipe,
    grid: PixelGrid,
    key: CellKey,
    scenes: tuple[Scene, ...],
    rasters: tuple[RasterFile, ...],
    context: BuildContext,
    strip_px: int | None = None,
) -> BuiltCell:
    """Make and publish one cell; TooMuchUnread if the read failures exceed the budget, UnreadBand if a raster cannot be read.

    A cell that already has what could be read is left. It is made in strips of `strip_px` rows; MemoryError where not even 16 rows fit.
    """
    begun, tides, told = time.monotonic(), context.tides, None
    if tides:
        scenes, told = with_tides(tides, scenes, grid.geobox(key.tile), key.period)
    models = model_keys(recipe, tides.name if tides else None, context.access.mask_weights)
    others = [*(raster.key for raster in rasters), *models]
    recipe_digest = recipe.digest()

    def number_of(manifest: ReadManifest) -> UUID:
        return scenes_cell_id(recipe, recipe_digest, key, scenes, others, manifest.unread_scenes)

    def is_wanted(manifest: ReadManifest, counts: NDArray[np.uint16]) -> bool:
        _check_budget(key, manifest, counts, context.failure_budget)
        return not _is_active(index, number_of(manifest))

    registered = measure_shifts(recipe, scenes, grid.geobox(key.tile), key.period, context.threads, context.access)
    work = CellWork(
        recipe, grid, key, scenes, rasters, context.threads, context.access, strip_px or recipe.grid.tile_px,
        context.device, registered,
    )  # fmt: skip
    content = make_content(work, is_wanted)
    _tell_unread(content.manifest)
    manifest, accounts = content.manifest, _in_observations(content.accounts)
    number, published = number_of(manifest), False
    if is_wanted(manifest, content.accounts) and content.layers is not None:
        if context.described_tides and not tides:
            _, told = with_tides(context.described_tides, scenes, grid.geobox(key.tile), recipe.seen_in(key.period))
        read = tuple(scene for scene in scenes if scene.id not in manifest.unread_scenes)
        properties = {
            "neocube:manifest": manifest.document() | ({"building": list(content.notes)} if content.notes else {}),
            "neocube:accounts": accounts,
            QUALITY: quality_of(recipe, scenes, content, registered),
            "eo:platform": _platforms(read),
            "neocube:device": context.device,
            "neocube:decoded_bytes": manifest.decoded_bytes,
            **({TIDES: told} if tides or context.described_tides else {}),
        }
        lineage = {"scene": [scene.id for scene in read], "raster": sorted({raster.id for raster in rasters})}
        spent = Spent(begun, context.threads, {"loading": content.loading_s, "computing": content.computing_s})
        draft = CellDraft(number, key, cell_template(recipe), grid, recipe_digest, lineage, properties, spent)
        arrays = cell_arrays(recipe, content.layers, content.accounts)
        published = publish_cell(index, storage, draft, arrays, context.threads)
    return BuiltCell(key, number, published, manifest.decoded_bytes, manifest.document(), accounts, content.notes)


def _tell_unread(manifest: ReadManifest) -> None:
    for asset in manifest.failed:
        facts = {"scene": str(asset.scene), "item": asset.item_id, "band": asset.band, "cause": asset.cause}
        _log.warning("asset not read", extra=facts)


def found_cell(index: Index, key: CellKey, number: UUID) -> BuiltCell | None:
    """The cell, if it is active already: another worker made it since the plan, maybe one that died afterwards."""
    row = index.dc.index.datasets.get(number)
    if row is None or row.is_archived:
        return None
    return _as_it_was(row, key, number)


def restored_cell(
    index: Index, storage: Storage, recipe: SceneRecipe, grid: PixelGrid, key: CellKey, number: UUID, threads: int
) -> BuiltCell | None:
    """The cell, if it was made before and archived, and could be published again: of scenes that were replaced or retired meanwhile."""
    row = index.dc.index.datasets.get(number)
    if row is None:
        return None
    draft = CellDraft(number, key, cell_template(recipe), grid, recipe.digest(), {})
    if not restore_cell(index, storage, draft, threads):
        return None
    return replace(_as_it_was(row, key, number), published=True, restored=True)


def _as_it_was(row: Dataset, key: CellKey, number: UUID) -> BuiltCell:
    said = row.metadata_doc["properties"]
    return BuiltCell(key, number, False, 0, said["neocube:manifest"], said["neocube:accounts"])


def _in_observations(counts: NDArray[np.uint16]) -> dict[str, int]:
    return {name: _observations(layer) for name, layer in zip(ACCOUNT_NAMES, counts, strict=True)}


def _observations(layer: NDArray[np.uint16]) -> int:
    return int(layer.sum(dtype=np.int64))


def _platforms(scenes: tuple[Scene, ...]) -> str:
    return ",".join(sorted({scene.platform for scene in scenes}))


def _is_active(index: Index, number: UUID) -> bool:
    row = index.dc.index.datasets.get(number)
    return row is not None and not row.is_archived


def _check_budget(key: CellKey, manifest: ReadManifest, counts: NDArray[np.uint16], budget: float) -> None:
    expected, unread = (_observations(counts[ACCOUNT_NAMES.index(name)]) for name in ("expected", "unread"))
    if unread > budget * max(expected, 1):
        first = manifest.failed[0]
        raise TooMuchUnread(
            f"{unread / expected:.1%} of the observations of {key.label} are unread, the failure budget is {budget:.1%}; "
            f"{len(manifest.failed)} assets failed, the first: {first.cause}"
        )
