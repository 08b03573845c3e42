"""What a Prefect run leaves to look at: tables, progress, pictures. Outside a run nothing is left."""

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from datacube_config.logs import logged
from datacube_config.settings import Settings
from flows.steps.pictures.cube import (
    COVERAGE_PX,
    QUICKLOOK_PX,
    coverage_picture,
    quicklook_picture,
    sites_for_picture,
)
from flows.steps.service.patient_asking import asked_again
from flows.steps.storage import open_storage, path_of, s3_options

MOST_IMAGE_BYTES = 200_000
_log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


def in_flow_run() -> bool:
    """Whether this code runs inside a Prefect flow run."""
    return FlowRunContext.get() is not None


def in_subflow_run() -> bool:
    """Whether the flow run was started by another flow run, which then says what follows."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id is not None


def logged_flow(run: Callable[P, R]) -> Callable[P, R]:
    """The function of a flow, whose log records have the id of its flow run."""

    @wraps(run)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        with logged(run=str(flow_run.id)):
            return run(*args, **kwargs)

    return told


def leave_table(key: str, rows: Sequence[dict[str, Any]], description: str) -> None:
    """A table; values are shown as text."""
    if in_flow_run():
        shown = [{name: str(value) for name, value in row.items()} for row in rows]
        asked_again(create_table_artifact)(key=key, table=shown, description=description)


def leave_markdown(key: str, markdown: str, description: str) -> None:
    """A page of markdown."""
    if in_flow_run():
        asked_again(create_markdown_artifact)(key=key, markdown=markdown, description=description)


def leave_picture(key: str, png: bytes, description: str, url: str | None = None) -> None:
    """A picture, inside the artifact where it is small, otherwise as a link to `url`."""
    if not in_flow_run():
        return
    if len(png) <= MOST_IMAGE_BYTES:
        inline = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        asked_again(create_image_artifact)(image_url=inline, key=key, description=description)
    elif url:
        asked_again(create_link_artifact)(link=url, key=key, description=description)


class MoveBar(Protocol):
    """Moves a progress bar to a share between 0 and 1, with other words if given."""

    def __call__(self, share: float, words: str | None = None) -> None:
        """Move it."""


def progress_bar(key: str, description: str) -> MoveBar:
    """A progress bar at 0 %, and what moves it."""
    if not in_flow_run():
        return lambda share, words=None: None
    artifact = asked_again(create_progress_artifact)(progress=0.0, key=key, description=description)
    assert isinstance(artifact, UUID)

    def move(share: float, words: str | None = None) -> None:
        percent = round(100 * min(max(share, 0.0), 1.0), 1)
        asked_again(update_progress_artifact)(artifact, progress=percent, description=words or description)

    return move


def leave_build(report: Mapping[str, Any], settings: Settings) -> None:
    """The table of cells with their observations, the coverage and the quicklook of what was asked for."""
    if not in_flow_run():
        return
    failed = [{"cell": each["cell"], "id": "", "published": f"failed: {each['cause']}"} for each in report["failed"]]
    rows = [*report["cells"], *failed] or [{"cell": f"{report['fresh']} cells are fresh", "id": "", "published": "no"}]
    leave_table("build-cells", rows, f"{report['built']} built, {report['fresh']} fresh: {report['cube']}")
    if report["unread"]:
        leave_table("build-unread", report["unread"], "Assets that could not be read: their cells stay stale")
    if report["asked_cube"]:
        _leave_pictures(report["asked_cube"], s3_options(settings))


def _leave_pictures(cube: str, options: Mapping[str, Any]) -> None:
    """The coverage and the quicklook; where they cannot be drawn the log says why, and the build is none the worse."""
    try:
        coverage = coverage_picture(*sites_for_picture(cube, options, COVERAGE_PX))
        leave_picture("build-coverage", coverage, "Clear observations used, per pixel")
        quicklook = quicklook_picture(*sites_for_picture(cube, options, QUICKLOOK_PX))
        leave_picture("build-quicklook", quicklook, "The last period that was built, or its clearest pass or step")
    except Exception as error:  # noqa: BLE001 - the boundary of what only shows: the cube is published
        _log.warning("no pictures of %s: %s", cube, " ".join(str(error).split()) or type(error).__name__)


def leave_map(document: Mapping[str, Any], settings: Settings) -> None:
    """The pixel areas and the picture of each period of a map."""
    if not in_flow_run():
        return
    leave_table("map-areas", document["pixel_area"], f"Pixel areas of {document['product']}: {document['cube']}")
    storage = open_storage(settings)
    for url in document["quicklooks"]:
        leave_picture("map", storage.read_bytes(path_of(url)), f"{document['product']}: {url}", url)
