"""Train a model on published feature cells."""

from pathlib import Path
from typing import Any, Literal

from prefect import flow

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.run_artifacts import in_subflow_run, leave_markdown
from flows.run_events import announce_model
from flows.steps.areas import find_area
from flows.steps.storage import open_storage
from flows.steps.training import TrainedModel, feature_cells, learn_model
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.period import parse_period
from products.registry import features_recipe, model_recipe

Device = Literal["auto", "cpu", "gpu"]


def train(
    recipe: str,
    area: str | None = None,
    period: str | None = None,
    labels: str | None = None,
    device: Device = "auto",
) -> TrainedModel:
    """Learn the model of a recipe, or find it where it was learned already; what is not given is the recipe's."""
    settings, spec = get_settings(), model_recipe(recipe)
    backend = choose_backend(device)
    ground = find_area(_asked(spec, "area", area or spec.area))
    span = parse_period(_asked(spec, "period", period or spec.period))
    path = Path(_asked(spec, "labels", labels or spec.samples.labels))
    storage = open_storage(settings)
    storage.check_writable()
    with open_index(settings) as index:
        cells = feature_cells(index, features_recipe(spec.features), ground, span)
        return learn_model(index, storage, spec, cells, path, backend, settings.decode_thread_count)


@flow(name="train-model", flow_run_name="train-{recipe}-{area}-{period}")
def train_model(
    recipe: str,
    area: str | None = None,
    period: str | None = None,
    labels: str | None = None,
    device: Device = "auto",
) -> dict[str, Any]:
    """Learn the model of a recipe; returns `model`, `metrics`, `card`."""
    found = train(recipe, area, period, labels, device)
    leave_markdown("model-card", _artifact(found), f"Model {found.name} {found.id}")
    document = found.document()
    if not in_subflow_run():
        announce_model(document)
    return document


def _asked(recipe: ModelRecipe, what: str, value: str | None) -> str:
    if value is None:
        raise RequestError(f"the recipe {recipe.name} names no {what}: give --{what}")
    return value


def _artifact(found: TrainedModel) -> str:
    holdout = found.card["metrics"]["holdout"]
    rows = [f"| {name} | {entry['f1']} | {entry['pixels']} |" for name, entry in holdout["per_class"].items()]
    head = [f"## {found.name}: {found.card['score']} {holdout['overall']} on the hold-out", ""]
    notes = [f"- {note}" for note in found.card["notes"]]
    return "\n".join([*head, "| class | F1 | pixels |", "|---|---|---|", *rows, "", *notes, "", found.card_path])
