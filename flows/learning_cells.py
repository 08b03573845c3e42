"""The cells that models learn from and map and that training sets are drawn from, and how many of them are out of date."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.planning import make_plan
from flows.steps.index.catalogue import find_scenes
from flows.steps.learning.feature_cells import FeatureCells, feature_cells
from flows.steps.loading.model_keys import model_keys
from flows.steps.loading.rasters import find_rasters
from flows.steps.sampling.sampled_cells import SampledCells, sampled_cells
from flows.tiling import cut_cells
from products.area import Area
from products.errors import RequestError
from products.learning.recipe import LearnedRecipe
from products.learning.samples_recipe import SamplesRecipe
from products.period import Period
from products.scene_recipe import SceneRecipe


def cells_with_state(index: Index, settings: Settings, recipe: SceneRecipe, area: Area, period: Period) -> FeatureCells:
    """The published cells of a recipe of features or series, which know how many of them a build would make anew or retire; RequestError if there are none."""
    cells = feature_cells(index, recipe, area, period)
    active = {place: cell.id for place, cell in cells.cells.items()}
    return replace(cells, n_stale=_n_stale(index, settings, recipe, area, period, active))


def sampled_with_state(
    index: Index, settings: Settings, recipe: SceneRecipe, area: Area, period: Period
) -> SampledCells:
    """The published cells, of any recipe, that a training set is drawn from, which know how many of them a build would make anew or retire."""
    cells = sampled_cells(index, recipe, area, period)
    active = {(each.tile.label, each.label): each.cell.id for each in cells.cells}
    return replace(cells, n_stale=_n_stale(index, settings, recipe, area, period, active))


def given_or_named(recipe: LearnedRecipe | SamplesRecipe, what: str, value: str | None) -> str:
    """What was given or stands in the recipe; RequestError where neither says it."""
    if value is None:
        raise RequestError(f"the recipe {recipe.name} names no {what}: give --{what}")
    return value


def _n_stale(
    index: Index, settings: Settings, recipe: SceneRecipe, area: Area, period: Period, active: dict[tuple[str, str], UUID]
) -> int:  # fmt: skip
    cut = cut_cells(recipe, area, period, datetime.now(UTC), timedelta(), provisional=True)
    scenes = find_scenes(index, recipe.sources, cut.searched, cut.ground)
    rasters = find_rasters(index, recipe.rasters, cut.span, cut.ground)
    models = model_keys(recipe, settings.tide_model, settings.mask_weights)
    made = make_plan(cut, scenes, active, "cpu", settings.decode_thread_count, rasters, models=models)
    return sum(cell.state == "stale" for cell in made.cells) + len(made.orphans)
