"""The plan of a build: what the index knows, handed to the pure planning."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings, get_settings
from flows.arguments import AnyArea, AnyPeriod, area_text, period_text
from flows.planning import Plan, make_plan
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes, published_cells, published_passes
from flows.steps.index.cell_product import check_cells
from flows.steps.index.product_binding import check_binding
from flows.steps.loading.cloud_model import require_models
from flows.steps.loading.model_keys import model_keys
from flows.steps.loading.rasters import find_rasters
from flows.steps.loading.tides import configured_tides, tide_model_for
from flows.tiling import cut_cells
from products.area import Area
from products.cell_content import cell_template
from products.devices import FEATURES, Backend, DeviceChoice, choose_backend
from products.errors import DeviceFull, RequestError
from products.period import parse_period
from products.pixel.gpu_strips import SHARE_OF_FREE
from products.pixel.rows import ROWS_PER_TASK
from products.registry import scene_recipe
from products.scene_recipe import SceneRecipe


def plan(
    recipe: str, area: AnyArea, period: AnyPeriod, device: DeviceChoice = "auto", provisional: bool = False
) -> Plan:
    """The exact cells to build, with scenes, bytes and memory, before anything is done; RequestError if the request is wrong."""
    settings = get_settings()
    with open_index(settings) as index:
        return plan_with(
            index, settings, scene_recipe(recipe), area_text(area), period_text(period), device, provisional
        )


def plan_with(
    index: Index, settings: Settings, recipe: SceneRecipe, area: str | Area, period: str, device: DeviceChoice, provisional: bool,
    workers: int = 1, elsewhere: bool = False,
) -> Plan:  # fmt: skip
    """The exact cells to build by an open index, for workers that share the memory of this machine, or on workers elsewhere."""
    configured_tides(settings.tide_models, settings.tide_model)
    tide_model_for(recipe, settings.tide_models, settings.tide_model)
    settle = timedelta(days=settings.settle_days)
    ground = area if isinstance(area, Area) else find_area(area)
    cut = cut_cells(recipe, ground, parse_period(period), datetime.now(UTC), settle, provisional)
    require_models(recipe, settings.mask_weights)
    check_binding(index, recipe.name, recipe.version, recipe.digest())
    check_cells(index, cell_template(recipe))
    scenes = find_scenes(index, recipe.sources, cut.searched, cut.ground, settings.mirrors)
    published = published_passes if recipe.is_by_pass else published_cells
    active = {place: cell.id for place, cell in published(index, recipe.name, recipe.version, cut.periods).items()}
    rasters = find_rasters(index, recipe.rasters, cut.span, cut.ground)
    budget = settings.memory_budget_bytes // workers
    threads = settings.decode_thread_count
    remote_threads = settings.remote_thread_count
    models = model_keys(recipe, settings.tide_model, settings.mask_weights)

    def on(backend: Backend) -> Plan:
        free = None if elsewhere else backend.free_bytes()
        usable = None if free is None else int(free * SHARE_OF_FREE) // workers
        made = make_plan(cut, scenes, active, backend.device, threads, rasters, budget, usable, remote_threads, models)
        price, currency = settings.price_per_core_hour, settings.price_currency
        return replace(made, device_reason=backend.reason, price_per_core_hour=price, currency=currency)

    backend = chosen_device(device, elsewhere)
    try:
        made = on(backend)
    except DeviceFull as error:
        made = on(choose_backend(device, lack=str(error)))
    _check_budget(made, budget, workers)
    return made


def chosen_device(device: DeviceChoice, elsewhere: bool = False) -> Backend:
    """The device that computes the cells, and why; RequestError where a GPU is demanded that is not there.

    Workers elsewhere are looked at when the build begins; for them `auto` is the CPU.
    """
    lack = ""
    if elsewhere and device == "auto":
        lack = "workers elsewhere compute on a GPU where --device gpu asks for it"
    return choose_backend(device, () if elsewhere else FEATURES, lack)


def _check_budget(made: Plan, budget: int, workers: int) -> None:
    largest = max((cell.host_bytes for cell in made.to_build), default=0)
    if largest > budget:
        raise RequestError(
            f"a cell needs {largest / 1e9:.1f} GB even in strips of {ROWS_PER_TASK} rows, {budget / 1e9:.1f} GB may be used"
            f"{f' by each of {workers} workers' if workers > 1 else ''}: "
            f"take a smaller tile_px than {made.recipe.grid.tile_px}, or raise NEOCUBE_MEMORY_LIMIT_BYTES"
        )
