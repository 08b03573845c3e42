"""Map an area: one map cell for each feature cell, then the cube, the files and the areas."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import xarray

from datacube_config.connection import Index
from datacube_config.errors import StorageLost, StorageUnavailable
from flows.steps.cubes.cell_store import Arrays, DigestMismatch
from flows.steps.cubes.cells import CellDraft, Spent, publish_cell
from flows.steps.cubes.cube_plan import MODELS, CubePlan
from flows.steps.cubes.snapshot import publish_cube, snapshot_alone
from flows.steps.index.catalogue import PublishedCell, published_cells
from flows.steps.index.cell_product import declare_cells
from flows.steps.index.product_binding import bind_product
from flows.steps.learning.applicability_file import trust_layers
from flows.steps.learning.cell_windows import Cells, neighbour_ids, opened_cell
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.map_files import NO_FILES, MapFiles, write_map_files
from flows.steps.learning.models import Model, Transform
from flows.steps.learning.network_mapping import cells_to_read, network_cell
from flows.steps.learning.transforming import component_cell, features_in_order
from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.network import Network
from flows.steps.storage import Storage
from products.identity import CellKey, SourceKey, cell_id
from products.learning.learned import PixelModel
from products.learning.maps import MAP_CLASS, PROBABILITY, components_template, map_template
from products.scene_recipe import canonical_digest
from products.template import CellTemplate

STRIP_PX = 128
NETWORK_LAYERS_VERSION = 2  # raised whenever networks give other layers from the same features
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MapStep:
    """A cell that is done, and the share of all cells that are."""

    key: CellKey
    share: float


Progress = Callable[[MapStep], None]


@dataclass(frozen=True, slots=True)
class MapResult:
    """What mapping gave: cells mapped now, cells that were there already, cells that failed with the cause."""

    model: Model | Transform
    mapped: tuple[UUID, ...]
    fresh: tuple[UUID, ...]
    failed: tuple[tuple[str, str], ...]
    cube: str
    asked_cube: str
    files: MapFiles
    n_stale: int
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As the contract shows it."""
        return {
            "model": str(self.model.id),
            "product": self.model.recipe.map.name,
            "device": self.model.device,
            "simulated": self.model.simulated if isinstance(self.model, Model) else None,
            "mapped": len(self.mapped),
            "fresh": len(self.fresh),
            "stale_cells": self.n_stale,
            "failed": [{"cell": cell, "cause": cause} for cell, cause in self.failed],
            "cube": self.cube,
            "asked_cube": self.asked_cube,
            "cogs": list(self.files.cogs),
            "stac": self.files.collection,
            "quicklooks": list(self.files.quicklooks),
            "pixel_area": list(self.files.pixel_area),
            "applicability": list(self.files.applicability),
            "notes": list(self.notes),
        }


def map_cells(
    index: Index,
    storage: Storage,
    model: Model | Transform,
    inputs: FeatureCells,
    threads: int,
    progress: Progress | None = None,
) -> MapResult:
    """Map every feature cell that has no map cell of this model yet, then assemble cube and files. StorageLost if no cell could be mapped.

    The cube keeps the other periods that it has; `asked_cube` and the files are of what is mapped here, periods without a cell left out. Components have no
    files.
    """
    template = _template(model)
    declare_cells(index, template)
    bind_product(index, template.product, template.version, model.recipe.digest())
    around = cells_to_read(index, inputs) if _network_of(model) else {}
    mapped: list[UUID] = []
    fresh: list[UUID] = []
    failed: list[tuple[str, str]] = []
    for tile, period, cell in inputs.placed:
        key = CellKey(template.product, template.version, tile, period)
        try:
            number, is_new = map_cell(index, storage, model, inputs, key, cell, threads, around)
        except (OSError, StorageUnavailable, DigestMismatch) as error:
            failed.append((key.label, str(error)))
            _log.error("cell failed", extra={"label": key.label, "product": key.product, "cause": str(error)})
            continue
        (mapped if is_new else fresh).append(number)
        if progress:
            progress(MapStep(key, (len(mapped) + len(fresh) + len(failed)) / len(inputs.cells)))
    cells = _of_model(index, template.product, template.version, inputs, {*mapped, *fresh})
    if not cells:
        raise StorageLost(f"no cell of {inputs.area.name} could be mapped; the first, {failed[0][0]}: {failed[0][1]}")
    there = {label for _, label in cells}
    periods = tuple(period for period in inputs.periods if period.label in there)
    plan = CubePlan(template, inputs.area.name, inputs.grid, inputs.tiles, periods, cells)
    cube, asked = publish_cube(index, storage, plan), snapshot_alone(index, storage, plan)
    files = write_map_files(storage, model, plan, cube, inputs.area) if isinstance(model, Model) else NO_FILES
    notes = (*inputs.notes, *_of_other_models(storage, cube, model))
    return MapResult(model, tuple(mapped), tuple(fresh), tuple(failed), cube, asked, files, inputs.n_stale, notes)


def _of_other_models(storage: Storage, cube: str, model: Model | Transform) -> tuple[str, ...]:
    """What is said of the periods of a map that other models made."""
    made_by: Any = storage.open_group(cube).attrs.get(MODELS, {})
    others = [label for label, models in made_by.items() if models != [str(model.id)]]
    if not others:
        return ()
    return (
        f"the cube holds {', '.join(others)} as another model mapped it: map it again with {model.recipe.name} to compare",
    )


def map_cell(
    index: Index,
    storage: Storage,
    model: Model | Transform,
    inputs: FeatureCells,
    key: CellKey,
    cell: PublishedCell,
    threads: int,
    around: Cells,
) -> tuple[UUID, bool]:
    """The id of one map cell, made of the feature cell, those `around` that the model looks at too, and the model; and whether it was mapped now."""
    recipe_digest = model.recipe.digest()
    network = _network_of(model)
    margin_px = network.margin_px if network else 0
    read = [cell.id, *neighbour_ids(around, key.tile, key.period, inputs.grid.tile_px, margin_px)]
    number = cell_id(key, [SourceKey("cell", str(each)) for each in read], recipe_digest, mapping_digest(model))
    row = index.dc.index.datasets.get(number)
    if row is not None and not row.is_archived:
        return number, False
    spent = Spent(time.monotonic(), threads)
    opened = opened_cell(storage, cell)
    lineage = {"features": read, "model": [model.id]}
    properties: dict[str, Any] = {
        "neocube:model": str(model.id),
        "neocube:model_digest": model.digest,
        "neocube:device": model.device,
    }
    if isinstance(model, Model):
        arrays: Arrays = (
            network_cell(storage, model, network, around, inputs.grid, key, threads)
            if network
            else classify_cell(model, opened, threads)
        )
        properties |= {"odc:product_family": "map", "neocube:simulated": model.simulated}
    else:
        arrays = component_cell(model, opened, threads)
    draft = CellDraft(number, key, _template(model), inputs.grid, recipe_digest, lineage, properties, spent)
    return number, publish_cell(index, storage, draft, arrays)


def mapping_digest(model: Model | Transform) -> str:
    """What of a model decides the pixels of its maps: what it learned, and where it is applicable."""
    if not isinstance(model, Model):
        return model.digest
    layers = [NETWORK_LAYERS_VERSION] if _network_of(model) else []
    return canonical_digest([model.digest, model.applicability.digest(), *layers])


def _network_of(model: Model | Transform) -> Network | ChipNetwork | None:
    return model.learned if isinstance(model, Model) and isinstance(model.learned, Network | ChipNetwork) else None


def _template(model: Model | Transform) -> CellTemplate:
    return map_template(model.recipe) if isinstance(model, Model) else components_template(model.recipe)


def classify_cell(model: Model, cell: xarray.Dataset, threads: int) -> Arrays:
    """`map_class` (1, y, x), `probability` (1, class, y, x) and how far to trust them, of a cell, strip by strip on some threads."""
    learned = model.learned
    if not isinstance(learned, PixelModel):
        raise TypeError(f"{model.recipe.name} is {learned.describe()}: expected a model of single pixels")
    values = features_in_order(cell, learned.feature_names, model.recipe.name)
    n_features, rows, columns = values.shape
    codes = np.empty((1, rows, columns), np.uint8)
    percent = np.empty((1, len(learned.class_names), rows, columns), np.uint8)

    def classify(start: int) -> None:
        strip = slice(start, start + STRIP_PX)
        found, share = learned.classify(values[:, strip].reshape(n_features, -1))
        codes[0, strip] = found.reshape(-1, columns)
        percent[0, :, strip] = share.reshape(share.shape[0], -1, columns)

    with ThreadPoolExecutor(1 if learned.USES_ALL_CORES else threads) as pool:
        list(pool.map(classify, range(0, rows, STRIP_PX)))
    return {MAP_CLASS: codes, PROBABILITY: percent} | trust_layers(model.applicability, values, percent, threads)


def _of_model(
    index: Index, product: str, version: int, inputs: FeatureCells, ids: set[UUID]
) -> dict[tuple[str, str], PublishedCell]:
    """The map cells that were just made or found."""
    found = published_cells(index, product, version, inputs.periods)
    return {place: cell for place, cell in found.items() if cell.id in ids}
