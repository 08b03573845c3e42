"""Try the recipe of a table on its files, and keep the card in the store; the index knows nothing of it, as a table lies nowhere."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid5

from flows.steps.learning.table_files import read_tables, tables_digest
from flows.steps.storage import Storage
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
    number = str(uuid5(NAMESPACE, canonical_digest({**names, "tables": digest, "learning": TABLE_VERSION})))
    folder = storage.path("tables", recipe.name, number)
    if storage.exists(f"{folder}/card.json"):
        known: dict[str, Any] = json.loads(storage.read_bytes(f"{folder}/card.json"))
        return {**known, "trained": False}
    table = sample_table(frame, recipe)
    metrics = tried(table, recipe, n_jobs)
    notes = table_notes(recipe, metrics, len(table.group_names))
    document = {"model": number, "name": recipe.name, "version": recipe.version, "metrics": metrics, "notes": notes}
    document |= {"recipe": recipe.model_dump(mode="json"), "tables_digest": digest, "card": f"{folder}/card.md"}
    files = [Path(place).name for place in places]
    if recipe.class_names:
        storage.write_bytes(f"{folder}/{recipe.estimator}.npz", fitted(table, recipe, n_jobs).to_bytes())
    storage.write_bytes(f"{folder}/card.md", table_card(recipe, number, files, notes, metrics).encode())
    storage.write_bytes(f"{folder}/card.json", json.dumps(document, indent=1).encode())
    return {**document, "trained": True}
