"""The plan of a build: what the index knows, handed to the pure planning."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings, get_settings
from flows.planning import Plan, cut_cells, make_plan
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes, published_cells
from flows.steps.index.product_binding import check_binding
from flows.steps.loading.rasters import find_rasters
from flows.steps.loading.tides import tide_model_for
from products.errors import RequestError
from products.period import parse_period
from products.pixel.rows import ROWS_PER_TASK
from products.registry import features_recipe
from products.spec import FeaturesRecipe

Device = Literal["auto", "cpu", "gpu"]


def plan(recipe: str, area: str, period: str, device: Device = "auto", provisional: bool = False) -> Plan:
    """The exact cells to build, with scenes, bytes and memory, before anything is done; RequestError if the request is wrong."""
    settings = get_settings()
    with open_index(settings) as index:
        return plan_with(index, settings, features_recipe(recipe), area, period, device, provisional)


def plan_with(
    index: Index, settings: Settings, recipe: FeaturesRecipe, area: str, period: str, device: Device, provisional: bool,
    workers: int = 1,
) -> Plan:  # fmt: skip
    """The same on an open index, for workers that share the memory of this machine."""
    tides = tide_model_for(recipe, settings.tide_models, settings.tide_model)
    settle = timedelta(days=settings.settle_days)
    cut = cut_cells(recipe, find_area(area), parse_period(period), datetime.now(UTC), settle, provisional)
    check_binding(index, recipe.name, recipe.version, recipe.digest())
    scenes = find_scenes(index, recipe.sources, cut.span, cut.ground, settings.mirrors)
    active = {
        place: cell.id for place, cell in published_cells(index, recipe.name, recipe.version, cut.periods).items()
    }
    rasters = find_rasters(index, recipe.rasters, cut.span, cut.ground)
    budget = settings.memory_budget_bytes // workers
    threads = settings.decode_thread_count
    made = make_plan(cut, scenes, active, chosen_device(device), threads, rasters, budget, tides.key if tides else None)
    largest = max((cell.host_bytes for cell in made.to_build), default=0)
    if largest > budget:
        raise RequestError(
            f"a cell needs {largest / 1e9:.1f} GB even in strips of {ROWS_PER_TASK} rows, {budget / 1e9:.1f} GB may be used"
            f"{f' by each of {workers} workers' if workers > 1 else ''}: "
            f"take a smaller tile_px than {recipe.grid.tile_px}, or raise NEOCUBE_MEMORY_LIMIT_BYTES"
        )
    return made


def chosen_device(device: Device) -> str:
    """cpu: features are computed there, whatever GPU is present; RequestError where a GPU is demanded."""
    if device == "gpu":
        raise RequestError(
            "features are built on the CPU until the GPU kernels have been held against it on a device (docs/gpu.md): use --device cpu or auto"
        )
    return "cpu"
