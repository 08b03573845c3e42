"""Models that the index does not know: those that a selection means, those of a retirement, and those that were never finished."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from flows.steps.storage import Storage
from flows.steps.unindexed_models import CARD, UnindexedModel, unindexed_models
from flows.steps.upkeep.retire_selection import Selection

SELECT = "insert into selected values (:id, 'unindexed', :product, 'model', :label)"
FORGET = "delete from wanted where id = :id"


def selected_models(storage: Storage, selection: Selection) -> list[UnindexedModel]:
    """The active ones of the product and version that are selected; none where an area or a period is, as they lie nowhere."""
    if selection.product is None or selection.area or selection.period:
        return []
    return [
        model
        for model in unindexed_models(storage)
        if model.name == selection.product
        and model.is_whole
        and model.retired_by is None
        and selection.version in (None, model.card()["version"])
    ]


def select_models(connection: Connection, models: Sequence[UnindexedModel]) -> None:
    """Add models to the table `selected`."""
    for model in models:
        label = f"{model.kind}/{model.name}/{model.id}"
        connection.execute(text(SELECT), {"id": model.id, "product": model.name, "label": label})


def models_of(storage: Storage, retirement: Mapping[str, Any]) -> list[UnindexedModel]:
    """Those that a retirement took out of use and that nothing made active since."""
    asked = set(retirement["dataset_ids"])
    return [model for model in unindexed_models(storage) if model.id in asked and model.retired_by == retirement["id"]]


def restore_models(
    connection: Connection, storage: Storage, retirement: Mapping[str, Any]
) -> tuple[list[Any], list[Any]]:
    """Make those of a retirement active again; they leave the table `wanted`. What was restored, and what is kept as it is and why."""
    asked = set(retirement["dataset_ids"])
    restored, kept = list[dict[str, Any]](), list[dict[str, Any]]()
    for model in [each for each in unindexed_models(storage) if each.id in asked]:
        by, said = model.retired_by, {"id": str(model.id), "label": str(model.id), "product": model.name}
        connection.execute(text(FORGET), {"id": model.id})
        if by == retirement["id"] and model.is_whole:
            model.restore()
            restored.append(said)
        elif by == retirement["id"]:
            kept.append(said | {"why": "its files were swept: learn it again"})
        else:
            kept.append(said | {"why": "it is active already" if by is None else f"retired again since: {by}"})
    return restored, kept


def unfinished_models(storage: Storage) -> Iterator[dict[str, Any]]:
    """Folders without a card: of a training that was killed while it was published, or of a sweep that was."""
    for model in unindexed_models(storage):
        if not model.is_whole:
            said = {"kind": "model without card", "product": model.name, "id": model.id, "path": model.folder}
            yield said | {"why": f"{model.path(CARD)} is not there: the same training writes it, or the sweep goes on"}
