"""The flow `sample-area`: draw a training set from published cells."""

from typing import Any

from prefect import flow

from datacube_config.settings import get_settings
from flows.index_retry import outlasting
from flows.run_artifacts import leave_markdown, leave_picture, logged_flow
from flows.sample_here import sample
from flows.steps.storage import open_storage


@flow(name="sample-area", flow_run_name="sample-{recipe}-{area}-{period}")
@logged_flow
@outlasting
def sample_area(
    recipe: str, area: str | None = None, period: str | None = None, labels: str | None = None
) -> dict[str, Any]:
    """Draw the training set of a recipe; returns `samples`, `rows`, `path`, `dropped`."""
    document = sample(recipe, area, period, labels).document()
    leave_markdown("samples", _artifact(document), f"Training set {document['name']} {document['samples']}")
    picture = open_storage(get_settings()).read_bytes(document["picture"])
    leave_picture("samples-map", picture, f"Where the samples of {document['name']} lie", document["picture"])
    return document


def _artifact(document: dict[str, Any]) -> str:
    rows = [f"| {name} | {count} |" for name, count in document["rows"].items()]
    dropped = [f"| {cause} | {count} |" for cause, count in document["dropped"].items()]
    notes = [f"- {note}" for note in document["notes"]]
    head = [
        f"## {document['name']}",
        "",
        "| class | samples |",
        "|---|---|",
        *rows,
        "",
        "| dropped | how many |",
        "|---|---|",
    ]
    return "\n".join([*head, *dropped, "", *notes, "", document["path"]])
