"""Try the recipe of a table on its files, and keep the card in the store; the index knows nothing of it, as a table lies nowhere."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid5

from flows.steps.learning.chip_training import CHIPS_VERSION
from flows.steps.learning.model_files import NETWORK
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.table_files import read_tables, table_size, tables_digest
from flows.steps.learning.table_networks import TableNetworks
from flows.steps.learning.table_pictures import pictured, trial_pictures
from flows.steps.learning.temporal_training import TEMPORAL_VERSION
from flows.steps.networks.deep_packages import require_deep
from flows.steps.storage import Storage
from flows.steps.unindexed_models import CARD_TEXT, UnindexedModel
from products.devices import Backend
from products.errors import RequestError
from products.identity import NAMESPACE
from products.learning.sample_table import sample_table
from products.learning.table_card import table_card, table_notes
from products.learning.table_recipe import TableRecipe
from products.learning.table_trial import TABLE_VERSION, answered, fitted, scored
from products.learning.training_memory import check_memory, table_memory
from products.scene_recipe import canonical_digest


def learn_table(
    storage: Storage, recipe: TableRecipe, places: Sequence[str], n_jobs: int, backend: Backend, resources: TrainingResources,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`model`, `name`, `metrics`, `notes`, `card` and `pictures` of a recipe on its tables; read from the card where the same was tried before."""
    if not places:
        raise RequestError(f"the recipe {recipe.name} is learned from a table: give its files, --table FILE")
    size, digest = table_size(places), tables_digest(places)
    names = {"model": recipe.name, "version": recipe.version, "recipe": recipe.digest()}
    learning = f"{TABLE_VERSION}{network_version(recipe)}"
    number = uuid5(NAMESPACE, canonical_digest({**names, "tables": digest, "learning": learning}))
    model = UnindexedModel(storage, "tables", recipe.name, number)
    if known := model.known():
        return known
    planned, what = table_memory(recipe, size, n_jobs), f"trying {recipe.name} on a table of {size.rows} rows"
    said = check_memory(what, planned, resources.budget_bytes, "give fewer files, or lower table.max_per_class")
    if tell and planned:
        tell(f"{what}, at most {planned.host_bytes / 1e9:.1f} GB of memory")
    frame = read_tables(places)
    table, frame = sample_table(frame, recipe), pictured(frame, recipe)
    network = TableNetworks(resources, str(number), backend, tell) if recipe.estimator.is_network else None
    answers = answered(table, recipe, n_jobs, network)
    metrics = scored(table, recipe, answers, n_jobs)
    pictures = trial_pictures(frame, table, recipe, answers, metrics)
    notes = table_notes(recipe, metrics, len(table.group_names))
    card = table_card(recipe, str(number), [Path(place).name for place in places], notes, metrics, list(pictures))
    learned = NETWORK if network else f"{recipe.estimator.kind}.npz"
    files = {learned: fitted(table, recipe, n_jobs, network).to_bytes()} if recipe.class_names else {}
    told = {"tables_digest": digest, "pictures": [model.path(name) for name in pictures]}
    made = model.publish(recipe, metrics, notes, files | pictures | {CARD_TEXT: card.encode()}, told)
    resources.forget(number)
    host_bytes = planned.host_bytes if planned else None
    return {**made, "host_bytes": host_bytes, "notes": [*made["notes"], *said]}


def network_version(recipe: TableRecipe) -> str:
    """The code that trains the network of a recipe and the weights that it begins with; RequestError without the extra `deep`."""
    if not recipe.estimator.is_network:
        return ""
    require_deep()
    if recipe.estimator.chips is None:
        return f" {TEMPORAL_VERSION}"
    from flows.steps.networks.start_weights import weights_digest

    return f" {CHIPS_VERSION} {weights_digest(recipe.estimator.chips)}"
