"""The HTTP API: plans, requests, their pictures and files, as JSON; with a token, or the session of the page."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from datacube_config.accounts import Account
from flows.preview_here import preview_with
from flows.request_page.shown import (
    answered,
    citation,
    cube_url,
    documents_of,
    index_of,
    is_cube_alone,
    made,
    plan_summary,
    reading_cube,
    request_document,
    visible,
)
from flows.request_page.sign_in import Caller, settings_of
from flows.request_page.zipped import zipped
from flows.request_parsing import Ask, understand
from flows.requesting import cancel, check_cancel, decide, submit
from flows.steps.cubes.open_cube import as_asked, stored_snapshot
from flows.steps.pictures.cube import COVERAGE_PX, QUICKLOOK_PX, coverage_picture, quicklook_picture, sites_for_picture
from flows.steps.service.coverage import scene_boxes
from flows.steps.service.prefect_runs import cancel_run
from flows.steps.service.request_kinds import Request as Row
from flows.steps.service.request_rows import reading
from flows.steps.storage import s3_options, storage_at

router = APIRouter(prefix="/api")
NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps none
Line = Annotated[str, StringConstraints(max_length=200, pattern=NO_NUL)]
Text = Annotated[str, StringConstraints(max_length=200_000, pattern=NO_NUL)]
PICTURES: dict[str, tuple[Callable[..., bytes], int]] = {
    "coverage": (coverage_picture, COVERAGE_PX),
    "quicklook": (quicklook_picture, QUICKLOOK_PX),
}


class AskBody(BaseModel):
    """What is asked for: a recipe by name or as YAML, an area by name, bounds or as GeoJSON, a period, a model to train."""

    model_config = ConfigDict(extra="forbid")

    recipe: Text
    area: Text
    period: Line
    train: Line | None = None

    @property
    def ask(self) -> Ask:
        """The ask as `flows.requesting` takes it."""
        return Ask(self.recipe, self.area, self.period, self.train or None)


class RequestBody(AskBody):
    """What is asked for, and the project that it is for."""

    project: Line


class DecisionBody(BaseModel):
    """Whether an operator lets it run, and why."""

    model_config = ConfigDict(extra="forbid")

    approve: bool
    reason: Line = ""


@router.post("/plan")
def plan(body: AskBody, request: Request, account: Caller) -> dict[str, Any]:
    """What it would take; nothing is kept."""
    return plan_summary(answered(request, body.ask), settings_of(request))


@router.post("/preview")
def preview(body: AskBody, request: Request, account: Caller) -> Response:
    """A PNG from few clear passes; nothing is kept."""
    return looked_at(request, body.ask)


@router.post("/requests", status_code=201)
def ask(body: RequestBody, request: Request, account: Caller) -> dict[str, Any]:
    """Ask for it."""
    index = index_of(request)
    return request_document(index, submit(index, settings_of(request), account, body.project, body.ask))


@router.get("/requests")
def requests(request: Request, account: Caller) -> list[dict[str, Any]]:
    """The requests that the account may see, newest first."""
    return documents_of(index_of(request), account)


@router.get("/requests/{number}")
def one(number: UUID, request: Request, account: Caller) -> dict[str, Any]:
    """A request, with how far it is."""
    index = index_of(request)
    return request_document(index, visible(index, account, number))


@router.post("/requests/{number}/cancel")
def end(number: UUID, request: Request, account: Caller) -> dict[str, Any]:
    """Cancel it, and stop its run if nobody else waits for it."""
    return request_document(index_of(request), cancelled(request, account, number))


@router.post("/requests/{number}/decision")
def decision(number: UUID, body: DecisionBody, request: Request, account: Caller) -> dict[str, Any]:
    """Approve or refuse it, as an operator."""
    index = index_of(request)
    return request_document(index, decide(index, account, number, "approve" if body.approve else "refuse", body.reason))


@router.get("/requests/{number}/{picture}.png")
def picture(number: UUID, picture: str, request: Request, account: Caller) -> Response:
    """`coverage` or `quicklook` of its cube."""
    if picture not in PICTURES:
        raise HTTPException(404, f"expected {' or '.join(PICTURES)}, got {picture!r}")
    draw, pixels = PICTURES[picture]
    row = made(index_of(request), account, number)
    assert row.result is not None
    url = row.result["built"]["cube"]
    with reading_cube(url):
        sites = sites_for_picture(url, s3_options(settings_of(request), prompt=True), pixels)
        drawn = draw(*(as_asked(site, row.period, is_cube_alone(row)) for site in sites))
    return Response(drawn, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/requests/{number}/cube.zip")
def cube(number: UUID, request: Request, account: Caller) -> StreamingResponse:
    """Its cube as a zipped Zarr store, packed while it is sent; one on S3 is opened there."""
    index = index_of(request)
    url = cube_url(index, account, number)
    place = storage_at(url)
    if not place.is_local:
        raise HTTPException(409, f"the cube lies on S3: open {url}")
    with reading_cube(url):
        name = f"{stored_snapshot(url).attrs['neocube:product']}.zarr"
    with reading(index) as requests:
        requests.record(account.name, "downloaded", number)
    said = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return StreamingResponse(zipped(Path(place.root), name), media_type="application/zip", headers=said)


@router.get("/requests/{number}/citation")
def cited(number: UUID, request: Request, account: Caller) -> dict[str, Any]:
    """How to cite it, whom to credit, and what DataCite wants for a DOI."""
    index = index_of(request)
    return citation(index, settings_of(request), made(index, account, number))


@router.get("/coverage")
def coverage(request: Request, account: Caller) -> list[dict[str, Any]]:
    """Where there are scenes."""
    return scene_boxes(index_of(request))


def looked_at(request: Request, ask: Ask) -> Response:
    """The picture of a preview, one at a time; HTTP 503 while another is made."""
    settings = settings_of(request)
    asked = understand(ask, settings.requests)
    one: Lock = request.app.state.preview_lock
    if not one.acquire(blocking=False):
        raise HTTPException(503, "another preview is being made: try again in a minute", {"Retry-After": "30"})
    try:
        found = preview_with(index_of(request), settings, asked.recipe, asked.area, asked.period)
    finally:
        one.release()
    return Response(found.png, media_type="image/png", headers={"Cache-Control": "private, max-age=60"})


def cancelled(request: Request, account: Account, number: UUID) -> Row:
    """The request, cancelled; its run is stopped first where nobody else waits for it, so that it stays as it is where Prefect gives no answer."""
    index, api = index_of(request), request.app.state.prefect_api
    found = visible(index, account, number)
    check_cancel(account, found)
    with reading(index) as requests:
        is_shared = bool(found.same_as or requests.sharing(number))
    if api and found.run_id and not is_shared:
        cancel_run(api, found.run_id)
    return cancel(index, account, number)
