"""Labelled pixels gathered from published cells."""

import numpy as np
import odc.geo.xr  # noqa: F401 - gives datasets `.odc`
import xarray

from flows.steps.learning.cell_windows import feature_stack, opened_cell
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.labels import Labels
from flows.steps.learning.training_input import Drawn
from flows.steps.storage import Storage
from products.devices import Backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples, join, labelled_pixels


def gather_samples(
    backend: Backend, storage: Storage, inputs: FeatureCells, labels: Labels | Drawn, recipe: ModelRecipe
) -> Samples:
    """The labelled pixels of all cells, drawn as the recipe says; RequestError if the labels lie elsewhere.

    Of the cells read so far no more than twice the pixels that can be drawn are held.
    """
    if isinstance(labels, Drawn):
        return labels.samples(backend, recipe)
    parts, most = list[Samples](), recipe.samples.max_per_class * len(recipe.class_names)
    for tile, period, cell in inputs.placed:
        geobox = inputs.grid.geobox(tile)
        if not labels.overlaps(geobox):
            continue
        parts.append(sample_cell(backend, opened_cell(storage, cell), labels, recipe, period.start.toordinal()))
        if sum(len(part.table) for part in parts) > 2 * most:
            parts = [join(backend, parts, recipe.samples.max_per_class)]
    if not parts:
        raise RequestError(
            f"the labels {labels.source.file} ({labels.source.crs}) share no ground with the area "
            f"{inputs.area.name!r}: expected labels inside it; check their CRS and coordinates"
        )
    return join(backend, parts, recipe.samples.max_per_class)


def sample_cell(backend: Backend, cell: xarray.Dataset, labels: Labels, recipe: ModelRecipe, period: int) -> Samples:
    """The labelled pixels of one cell, its features or its series; nothing is read where there is no label."""
    codes = labels.codes(cell.odc.geobox, recipe.samples)
    stack = feature_stack(cell)
    names = tuple(str(name) for name in stack["feature"].values)
    rows = np.flatnonzero(codes.any(axis=1))
    window = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)
    features = stack.isel(y=window).values
    return labelled_pixels(
        backend, features, codes[window], cell["x"].values, cell["y"].values[window], period, names, recipe.seed
    )
