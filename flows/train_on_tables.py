"""The flow `train-on-tables`: try the recipe of a model on the files of its table."""

from pathlib import Path
from typing import Any

from prefect import flow

from datacube_config.settings import get_settings
from flows.run_artifacts import leave_markdown, leave_picture, logged_flow
from flows.steps.storage import open_storage
from flows.train_table import train_table
from products.devices import DeviceChoice


@flow(name="train-on-tables", flow_run_name="train-{recipe}-on-tables")
@logged_flow
def train_on_tables(recipe: str, tables: list[str], device: DeviceChoice = "auto") -> dict[str, Any]:
    """Try a recipe on its tables; returns `model`, `metrics`, `notes`, `card` and `pictures`."""
    document = train_table(recipe, tables, device)
    storage = open_storage(get_settings())
    title = f"Model {document['name']} {document['model']}"
    leave_markdown("table-card", storage.read_bytes(document["card"]).decode(), title)
    for path in document.get("pictures", ()):
        leave_picture(f"table-{Path(path).stem}", storage.read_bytes(path), title, path)
    return document
