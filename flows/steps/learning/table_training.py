"""Try the recipe of a table on its files, and keep the card in the store; the index knows nothing of it, as a table lies nowhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid5

from flows.steps.learning.table_files import read_tables, tables_digest
from flows.steps.storage import Storage
from flows.steps.unindexed_models import CARD_TEXT, UnindexedModel
from products.errors import RequestError
from products.identity import NAMESPACE
from products.learning.sample_table import sample_table
from products.learning.table_card import table_card, table_notes
from products.learning.table_recipe import TableRecipe
from products.learning.table_trial import TABLE_VERSION, fitted, tried
from products.scene_recipe import canonical_digest


def learn_table(storage: Storage, recipe: TableRecipe, places: Sequence[str], n_jobs: int) -> dict[str, Any]:
    """`model`, `name`, `metrics`, `notes` and `card` of a recipe on its tables; read from the card where the same was tried before."""
    if not places:
        raise RequestError(f"the recipe {recipe.name} is learned from a table: give its files, --table FILE")
    frame, digest = read_tables(places), tables_digest(places)
    names = {"model": recipe.name, "version": recipe.version, "recipe": recipe.digest()}
    number = uuid5(NAMESPACE, canonical_digest({**names, "tables": digest, "learning": TABLE_VERSION}))
    model = UnindexedModel(storage, "tables", recipe.name, number)
    if known := model.known():
        return known
    table = sample_table(frame, recipe)
    metrics = tried(table, recipe, n_jobs)
    notes = table_notes(recipe, metrics, len(table.group_names))
    card = table_card(recipe, str(number), [Path(place).name for place in places], notes, metrics)
    learned = {f"{recipe.estimator}.npz": fitted(table, recipe, n_jobs).to_bytes()} if recipe.class_names else {}
    return model.publish(recipe, metrics, notes, learned | {CARD_TEXT: card.encode()}, {"tables_digest": digest})
