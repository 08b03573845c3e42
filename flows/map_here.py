"""Map an area with a trained model: without Prefect."""

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.learning_cells import cells_with_state
from flows.run_logs import logged_run
from flows.steps.areas import find_area
from flows.steps.learning.learned_version import require_version
from flows.steps.learning.mapping import MapResult, Progress, map_cells
from flows.steps.learning.models import find_model
from flows.steps.storage import open_storage
from products.devices import DeviceChoice
from products.period import parse_period
from products.registry import features_at, input_recipe


@logged_run("map")
def make_map(
    model: str, area: str, period: str, progress: Progress | None = None, device: DeviceChoice = "auto"
) -> MapResult:
    """Map the feature cells of an area and period with a model, by name or id; what is mapped already is left.

    `device` is where a network is asked; everything else works on the CPU.
    """
    settings = get_settings()
    ground, span = find_area(area), parse_period(period)
    storage = open_storage(settings)
    storage.check_writable()
    with open_index(settings) as index:
        found = find_model(index, storage, model).on(device)
        features = input_recipe(features_at(found.recipe))
        learned = f"the model {found.recipe.name} has learned"
        require_version(learned, found.features_version, features, f"train it again on version {features.version}")
        cells = cells_with_state(index, settings, features, ground, span)
        return map_cells(index, storage, found, cells, settings.decode_thread_count, progress)
