"""The pages: sign in, ask with the plan in sight, my requests, one request, the audit log. They work without scripts too."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from datacube_config.accounts import Account
from flows.request_page.api import cancelled, looked_at
from flows.request_page.recipe_form import recipe_fields, recipe_text, scene_recipes, trainable_models
from flows.request_page.shown import answered, documents_of, index_of, plan_summary, request_document, visible
from flows.request_page.sign_in import (
    Form,
    SignedIn,
    SignInRequired,
    begin_session,
    csrf_of,
    session_account,
    settings_of,
)
from flows.request_parsing import Ask, area_in
from flows.requesting import NotAllowed, decide, submit
from flows.steps.areas import named_areas
from flows.steps.service.coverage import scene_boxes
from flows.steps.service.prefect_runs import PrefectDidNotAnswer
from flows.steps.service.request_rows import reading
from products.errors import RequestError

OWN, WRITTEN = "own", "written"
router = APIRouter(default_response_class=HTMLResponse)
templates = Jinja2Templates(Path(__file__).with_name("templates"))
templates.env.globals["moment"] = lambda text: text[:16].replace("T", " ")


@router.get("/sign-in")
def sign_in_form(request: Request) -> Response:
    """The form to sign in."""
    return show(request, "sign_in.html", None)


@router.post("/sign-in")
def sign_in(request: Request, form: Form) -> Response:
    """Begin a session; the same words for an unknown name and a wrong password."""
    name = one(form, "name")
    account = request.app.state.attempts.account(settings_of(request), name, one(form, "password"))
    with reading(index_of(request)) as requests:
        requests.record(account.name if account else name[:64], "signed in" if account else "was refused to sign in")
    if account is None:
        return show(request, "sign_in.html", None, status=401, problem="Name or password is wrong.", name=name)
    begin_session(request, account)
    return RedirectResponse("/", 303)


@router.post("/sign-out")
def sign_out(request: Request, form: Form) -> Response:
    """End the session."""
    request.session.clear()
    return RedirectResponse("/sign-in", 303)


@router.get("/")
def new(request: Request, account: SignedIn) -> Response:
    """The form to ask for a product."""
    return form_page(request, account, {})


@router.post("/requests")
def ask(request: Request, form: Form, account: SignedIn) -> Response:
    """Show the plan of what is filled in, or ask for it."""
    index, settings = index_of(request), settings_of(request)
    try:
        asked = ask_of(form)
        if one(form, "do") != "ask":
            return form_page(request, account, form, plan=plan_summary(answered(request, asked), settings))
        made = submit(index, settings, account, one(form, "project"), asked)
    except (RequestError, NotAllowed) as error:
        return form_page(request, account, form, problem=str(error), status=422)
    return RedirectResponse(f"/requests/{made.id}", 303)


@router.post("/plan")
def plan(request: Request, form: Form, account: SignedIn) -> Response:
    """The plan of what is filled in, or what is wrong, as the part of the page that scripts put in its place."""
    try:
        found = plan_summary(answered(request, ask_of(form)), settings_of(request))
    except RequestError as error:
        return show(request, "plan.html", account, problem=str(error))
    return show(request, "plan.html", account, plan=found)


@router.post("/preview")
def preview(request: Request, form: Form, account: SignedIn) -> Response:
    """The picture of what is filled in, from few clear passes, in a window of its own."""
    return looked_at(request, ask_of(form))


@router.get("/requests")
def mine(request: Request, account: SignedIn) -> Response:
    """The requests that the account may see."""
    return show(request, "requests.html", account, rows=documents_of(index_of(request), account))


@router.get("/requests/{number}")
def one_request(request: Request, number: UUID, account: SignedIn) -> Response:
    """A request: its progress, pictures, files, and what was decided about it."""
    return request_page(request, number, account)


@router.post("/requests/{number}/cancel")
def cancel(request: Request, number: UUID, form: Form, account: SignedIn) -> Response:
    """Cancel it."""
    try:
        cancelled(request, account, number)
    except (RequestError, NotAllowed, PrefectDidNotAnswer) as error:
        return request_page(request, number, account, str(error))
    return RedirectResponse(f"/requests/{number}", 303)


@router.post("/requests/{number}/decision")
def decision(request: Request, number: UUID, form: Form, account: SignedIn) -> Response:
    """Approve or refuse it, as an operator."""
    try:
        made = "approve" if one(form, "decision") == "approve" else "refuse"
        decide(index_of(request), account, number, made, one(form, "reason")[:500])  # type: ignore[arg-type]
    except (RequestError, NotAllowed) as error:
        return request_page(request, number, account, str(error))
    return RedirectResponse(f"/requests/{number}", 303)


@router.get("/log")
def log(request: Request, account: SignedIn) -> Response:
    """The audit log, for operators."""
    if account.role != "operator":
        raise HTTPException(403, "only operators read the log")
    with reading(index_of(request)) as requests:
        return show(request, "log.html", account, rows=requests.log())


def ask_of(form: dict[str, list[str]]) -> Ask:
    """What the form asks for: a recipe by name, of the fields, or as it was written; an area by name, bounds or GeoJSON."""
    choice = one(form, "recipe")
    recipe = recipe_text(form) if choice == OWN else one(form, "recipe_text") if choice == WRITTEN else choice
    bounds = [one(form, edge) for edge in ("west", "south", "east", "north")]
    area = one(form, "geojson") or one(form, "area") or ",".join(bounds)
    return Ask(recipe, area, one(form, "period"), one(form, "train") or None)


def one(form: dict[str, list[str]], name: str) -> str:
    """The first value of a field, without spaces around; empty where it is missing."""
    return next(iter(form.get(name, [""])), "").strip()


def form_page(
    request: Request, account: Account, form: dict[str, list[str]], *, plan: dict[str, Any] | None = None,
    problem: str = "", status: int = 200,
) -> Response:  # fmt: skip
    """The form as it was filled in, with the plan or what is wrong."""
    areas = {name: list(area_in(name).geometry.boundingbox.bbox) for name in named_areas()}
    filled = {name: one(form, name) for name in form} or {"recipe": "mangrove_features", "period": "2020"}
    map_data = json.dumps({"areas": areas, "coverage": scene_boxes(index_of(request))}, default=str)
    return show(
        request, "ask.html", account, status=status, plan=plan, problem=problem, filled=filled, areas=areas,
        map_data=map_data, recipes=scene_recipes(), fields=recipe_fields(form), written=WRITTEN, own=OWN,
        models=trainable_models(),
    )  # fmt: skip


def request_page(request: Request, number: UUID, account: Account, problem: str = "") -> Response:
    """The page of a request; HTTP 422 with what is wrong."""
    index = index_of(request)
    row = visible(index, account, number)
    with reading(index) as requests:
        entries = requests.log(number)
    document = request_document(index, row)
    return show(
        request, "request.html", account, status=422 if problem else 200, problem=problem, it=document, log=entries,
        recipe=row.recipe, area=row.area, address=str(request.base_url).rstrip("/"),
    )  # fmt: skip


def problem_page(request: Request, status: int, said: str, headers: Mapping[str, str] | None) -> Response:
    """A page that says what is wrong."""
    try:
        account = session_account(request)
    except SignInRequired:
        account = None
    made = show(request, "problem.html", account, status=status, problem=said)
    made.headers.update(headers or {})
    return made


def show(request: Request, template: str, account: Account | None, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """A page; everything in it is escaped by Jinja2."""
    context = {"account": account, "csrf": csrf_of(request), "problem": "", "plan": None, **values}
    return templates.TemplateResponse(request, template, context, status_code=status)
