"""The events that wake what follows: a cube or a model was published, scenes arrived. Outside a run nothing is sent."""

from typing import Any

from prefect.events import emit_event

from flows.run_artifacts import in_flow_run

CUBE_PUBLISHED = "neocube.cube.published"
MODEL_PUBLISHED = "neocube.model.published"
SCENES_ARRIVED = "neocube.scenes.arrived"


def announce_cube(report: dict[str, Any], recipe: str, area: str, period: str) -> None:
    """One event for a build that published something; a lost one is made good by the next `tend`."""
    if in_flow_run() and (report["built"] or report["retired"]) and report["cube"]:
        payload = {"cube": report["cube"], "recipe": recipe, "area": area, "period": period, "built": report["built"]}
        emit_event(
            CUBE_PUBLISHED, {"prefect.resource.id": "neocube.cube", "neocube.cube": report["cube"]}, payload=payload
        )


def announce_model(document: dict[str, Any]) -> None:
    """One event for a training that published a model."""
    if in_flow_run() and document["trained"]:
        payload = {"model": document["model"], "name": document["name"]}
        emit_event(
            MODEL_PUBLISHED,
            {"prefect.resource.id": "neocube.model", "neocube.model": document["model"]},
            payload=payload,
        )


def announce_scenes(archive: str, n_new: int) -> None:
    """One event for an ingest that brought scenes."""
    if in_flow_run() and n_new:
        payload = {"archive": archive, "scenes": n_new}
        emit_event(SCENES_ARRIVED, {"prefect.resource.id": "neocube.scenes"}, payload=payload)
