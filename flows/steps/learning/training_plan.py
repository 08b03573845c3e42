"""The memory that a training takes, stated before it begins, and refused where there is not so much."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flows.steps.learning.drawn_samples import DrawnSamples
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.labels import Labels
from flows.steps.learning.training_input import Drawn
from products.cell_content import cell_template, stack_names
from products.learning.recipe import ModelRecipe
from products.learning.training_memory import TrainingMemory, TrainingRows, check_memory, training_memory

LESS = "lower samples.max_per_class, learn from fewer features or a smaller area"
GATHERED = 2  # times the pixels that can be drawn are held before they are drawn


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training takes at most, in bytes, None where that is not planned, and what is to be said of it."""

    host_bytes: int | None
    notes: tuple[str, ...]


def planned_training(
    recipe: ModelRecipe, inputs: FeatureCells, labels: Labels | Drawn, n_jobs: int, budget_bytes: int | None,
    tell: Callable[[str], None] | None = None,
) -> TrainingPlan:  # fmt: skip
    """The plan of a training, told; RequestError where it is beyond the budget.

    Of labels first as many pixels are assumed as can be drawn, or lie in the cells; only where these are too many for the budget are the labelled ones counted.
    """
    n_features = len(stack_names(cell_template(inputs.recipe)))

    def memory(rows: TrainingRows) -> TrainingMemory | None:
        return training_memory(recipe, rows, n_features, n_jobs)

    rows = _at_most(recipe, inputs, labels)
    planned = memory(rows)
    if planned and budget_bytes and planned.rows_bytes > budget_bytes and not isinstance(labels, Drawn):
        rows = _counted(recipe, inputs, labels)
        planned = memory(rows)
    what = f"training on {rows.used} pixels of {n_features} features"
    notes = check_memory(what, planned, budget_bytes, LESS)
    if tell and planned:
        tell(f"{what}, at most {planned.host_bytes / 1e9:.1f} GB of memory")
    return TrainingPlan(planned.host_bytes if planned else None, notes)


def _at_most(recipe: ModelRecipe, inputs: FeatureCells, labels: Labels | Drawn) -> TrainingRows:
    most = recipe.samples.max_per_class * len(recipe.class_names)
    if isinstance(labels, Drawn):
        held = labels.n_rows if isinstance(labels, DrawnSamples) else most
        return TrainingRows(min(held, most), held)
    of_cell = inputs.grid.tile_px**2
    pixels = len(inputs.cells) * of_cell
    return TrainingRows(min(pixels, most), min(pixels, GATHERED * most + of_cell), of_cell)


def _counted(recipe: ModelRecipe, inputs: FeatureCells, labels: Labels) -> TrainingRows:
    counts, largest = np.zeros(len(recipe.class_names) + 1, np.int64), 0
    n_cells = Counter(label for label, _ in inputs.cells)
    for tile in inputs.tiles:
        geobox = inputs.grid.geobox(tile)
        if labels.overlaps(geobox):
            of_tile = np.bincount(labels.codes(geobox, recipe.samples).ravel(), minlength=counts.size)
            counts += n_cells[tile.label] * of_tile
            largest = max(largest, int(of_tile[1:].sum()))
    used = int(np.minimum(counts[1:], recipe.samples.max_per_class).sum())
    most = recipe.samples.max_per_class * len(recipe.class_names)
    return TrainingRows(used, min(int(counts[1:].sum()), GATHERED * most + largest), inputs.grid.tile_px**2)
