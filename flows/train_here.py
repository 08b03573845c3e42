"""Train a model on published feature cells: without Prefect."""

from collections.abc import Callable

from datacube_config.connection import open_index
from datacube_config.settings import Settings, get_settings
from flows.learning_cells import cells_with_state, given_or_named
from flows.run_logs import logged_run
from flows.steps.areas import find_area
from flows.steps.learning.encoder_training import learn_encoder
from flows.steps.learning.label_files import label_file
from flows.steps.learning.network_training import TRAINING, TrainingResources
from flows.steps.learning.tracking import tracker_at
from flows.steps.learning.training import TrainedModel, learn_model
from flows.steps.learning.transforming import learn_transform
from flows.steps.sampling.sample_sets import find_samples
from flows.steps.sampling.training_samples import samples_to_train_on
from flows.steps.storage import open_storage, s3_options
from products.area import Area
from products.devices import LEARNING, NETWORKS, Backend, DeviceChoice, choose_backend
from products.errors import RequestError
from products.learning.masked_recipe import MaskedRecipe
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import ModelRecipe
from products.period import Period, parse_period
from products.registry import features_at, features_recipe, input_recipe, learned_recipe

Tell = Callable[[str], None]
AnyRecipe = ModelRecipe | PcaRecipe | MaskedRecipe


@logged_run("train")
def train(
    recipe: str,
    area: str | None = None,
    period: str | None = None,
    labels: str | None = None,
    device: DeviceChoice = "auto",
    tell: Tell | None = None,
) -> TrainedModel:
    """Learn the model, transform or encoder of a recipe, or find it where it was learned already; what is not given is the recipe's."""
    settings, spec = get_settings(), learned_recipe(recipe)
    tracker = tracker_at(settings.mlflow_uri)
    backend = choose_backend(device, libraries_of(spec))
    found = _trained(spec, area, period, labels, backend, tell)
    if tracker:
        tracker.log(open_storage(settings), found.document(), found.card["recipe"])
    return found


def libraries_of(recipe: AnyRecipe) -> tuple[str, ...]:
    """What learns this recipe on a GPU."""
    is_network = isinstance(recipe, MaskedRecipe) or (isinstance(recipe, ModelRecipe) and recipe.is_network)
    return NETWORKS if is_network else LEARNING


def _trained(
    spec: AnyRecipe, area: str | None, period: str | None, labels: str | None, backend: Backend, tell: Tell | None
) -> TrainedModel:
    settings = get_settings()
    if isinstance(spec, ModelRecipe) and spec.samples.product:
        if area or period or labels:
            raise RequestError(
                f"{spec.name} learns from the training set {spec.samples.product}: leave out --area, --period and --labels"
            )
        return train_on_samples(spec, spec.samples.product, backend, tell)
    ground = find_area(given_or_named(spec, "area", area or spec.area))
    span = parse_period(given_or_named(spec, "period", period or spec.period))
    if isinstance(spec, PcaRecipe | MaskedRecipe):
        if labels:
            what = "a transform" if isinstance(spec, PcaRecipe) else "an encoder"
            raise RequestError(f"{spec.name} is {what}, which is fitted without labels: leave out --labels {labels}")
        return _train_without_labels(spec, ground, span, backend, tell)
    storage = open_storage(settings)
    place = given_or_named(spec, "labels", labels or spec.samples.labels)
    storage.check_writable()
    with open_index(settings) as index, label_file(place, s3_options(settings)) as file:
        cells = cells_with_state(index, settings, input_recipe(features_at(spec)), ground, span)
        return learn_model(
            index, storage, spec, cells, file, backend, settings.decode_thread_count, _resources(settings), tell
        )


def _train_without_labels(
    recipe: PcaRecipe | MaskedRecipe, area: Area, period: Period, backend: Backend, tell: Tell | None
) -> TrainedModel:
    settings = get_settings()
    storage = open_storage(settings)
    storage.check_writable()
    with open_index(settings) as index:
        if isinstance(recipe, PcaRecipe):
            cells = cells_with_state(index, settings, features_recipe(features_at(recipe)), area, period)
            return learn_transform(index, storage, recipe, cells, backend)
        cells = cells_with_state(index, settings, input_recipe(features_at(recipe)), area, period)
        return learn_encoder(index, storage, recipe, cells, backend, _resources(settings), tell)


def train_on_samples(recipe: ModelRecipe, name_or_id: str, backend: Backend, tell: Tell | None = None) -> TrainedModel:
    """Learn the model of a recipe from a training set that was drawn."""
    settings = get_settings()
    storage = open_storage(settings)
    storage.check_writable()
    with open_index(settings) as index:
        found = find_samples(index, storage, name_or_id)
        cells, drawn = samples_to_train_on(index, found, input_recipe(features_at(recipe)))
        return learn_model(
            index, storage, recipe, cells, drawn, backend, settings.decode_thread_count, _resources(settings), tell
        )


def _resources(settings: Settings) -> TrainingResources:
    budget = settings.memory_budget_bytes
    return TrainingResources(settings.home / TRAINING, settings.train_devices, settings.train_nodes, budget)
