"""The flow `train-model`: train a model on published feature cells."""

from typing import Any

from prefect import flow

from flows.index_retry import outlasting
from flows.run_artifacts import in_subflow_run, leave_markdown, logged_flow
from flows.run_events import announce_model
from flows.steps.learning.training import TrainedModel
from flows.train_here import train
from products.devices import DeviceChoice


@flow(name="train-model", flow_run_name="train-{recipe}-{area}-{period}")
@logged_flow
@outlasting
def train_model(
    recipe: str,
    area: str | None = None,
    period: str | None = None,
    labels: str | None = None,
    device: DeviceChoice = "auto",
) -> dict[str, Any]:
    """Learn the model of a recipe; returns `model`, `metrics`, `card`."""
    found = train(recipe, area, period, labels, device)
    leave_markdown("model-card", model_artifact(found), f"Model {found.name} {found.id}")
    document = found.document()
    if not in_subflow_run():
        announce_model(document)
    return document


def model_artifact(found: TrainedModel) -> str:
    """The scores and notes of what was learned, as Markdown."""
    metrics, notes = found.card["metrics"], [f"- {note}" for note in found.document()["notes"]]
    if "holdout" in metrics:
        score, head = f"{metrics['holdout']['overall']} on the hold-out", ["| class | F1 | pixels |", "|---|---|---|"]
        of_classes = metrics["holdout"]["per_class"].items()
        rows = [f"| {name} | {entry['f1']} | {entry['pixels']} |" for name, entry in of_classes]
    elif "masked_error" in metrics:
        score, head = (
            f"{metrics['masked_error']} standard deviations",
            ["| epoch | error | validation |", "|---|---|---|"],
        )
        rows = [
            f"| {n} | {each['train']} | {each['validation']} |"
            for n, each in enumerate(metrics["training"]["losses"], 1)
        ]
    else:
        score, head = metrics["explained_in_all"], ["| component | explains |", "|---|---|"]
        rows = [f"| {name} | {share} |" for name, share in metrics["explained_variance"].items()]
    title = f"## {found.name}: {found.card['score']} {score}"
    return "\n".join([title, "", *head, *rows, "", *notes, "", found.card_path])
