"""Score the masks of a recipe over an area and a period against the truth of a simulated archive."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from datacube_config.connection import open_index
from datacube_config.settings import Settings, get_settings
from flows.planning import Plan, make_plan
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes
from flows.steps.loading.cloud_model import require_models
from flows.steps.loading.raster_access import raster_access
from flows.steps.simulation.mask_truth import MaskTruth, StratumFates, read_truth, tile_fates
from flows.tiling import cut_cells
from products.errors import RequestError
from products.period import parse_period
from products.pixel.mask_scores import Fates, mask_scores
from products.registry import scene_recipe
from products.scene_recipe import SceneRecipe

Progress = Callable[[str], None]


def score_masks(recipe: str, truth: str, area: str, period: str, progress: Progress | None = None) -> dict[str, Any]:
    """Omission and commission of cloud and shadow by collection and ground, on the pixels of the recipe; nothing is written.

    RequestError if the request is wrong, or if the truth knows none of the scenes.
    """
    started, settings, asked, known = time.monotonic(), get_settings(), scene_recipe(recipe), read_truth(truth)
    require_models(asked, raster_access(settings).mask_weights)
    plan = _plan(settings, asked, area, period)
    scenes = {scene.id: scene for cell in plan.cells for scene in cell.scenes}
    unknown = sorted(scene.item_id for scene in scenes.values() if not known.knows(scene))
    if len(unknown) == len(scenes):
        raise RequestError(
            f"the truth in {truth} knows none of the {len(scenes)} scenes: expected that of the archive they were ingested from"
        )
    fates = _fates(settings, plan, known, progress or (lambda words: None))
    return {
        "recipe": asked.name,
        "clear": {source.collection: source.clear.model_dump(mode="json") for source in asked.sources},
        "scores": {
            source.collection: {
                stratum: mask_scores(counted)
                for (collection, stratum), counted in fates.items()
                if collection == source.collection
            }
            for source in asked.sources
        },
        "scenes": len(scenes),
        "without_truth": unknown,
        "seconds": round(time.monotonic() - started, 1),
    }


def _plan(settings: Settings, recipe: SceneRecipe, area: str, period: str) -> Plan:
    cut = cut_cells(recipe, find_area(area), parse_period(period), datetime.now(UTC), timedelta(), provisional=True)
    with open_index(settings) as index:
        scenes = find_scenes(index, recipe.sources, cut.span, cut.ground, settings.mirrors)
    return make_plan(cut, scenes, {}, "cpu", settings.decode_thread_count)


def _fates(settings: Settings, plan: Plan, known: MaskTruth, tell: Progress) -> StratumFates:
    fates: dict[tuple[str, str], Fates] = {}
    access = raster_access(settings)
    for number, cell in enumerate(plan.cells, 1):
        geobox = plan.grid.geobox(cell.key.tile)
        for place, counted in tile_fates(known, plan.recipe, cell.scenes, geobox, plan.threads, access).items():
            fates[place] = fates[place] + counted if place in fates else counted
        tell(f"{number} of {len(plan.cells)} cells")
    return fates
