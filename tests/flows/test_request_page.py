"""The request page and its API over HTTP: who gets in, what is shown, what is refused, and what Prefect is asked for."""

import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import psutil
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from datacube_config.accounts import Account, RequestLimits, by_password, hashed_password, hashed_token
from datacube_config.connection import Index
from datacube_config.embedded import revive
from datacube_config.settings import Settings
from flows.build_here import build
from flows.request_page.app import create_app
from flows.request_page.dispatch import dispatch, settle
from flows.request_page.recipe_form import recipe_fields, recipe_text
from flows.request_page.sign_in import MOST_WAITING, Attempts
from flows.request_page.zipped import zipped
from flows.requesting import finish
from flows.steps.cubes.credits import SIMULATED
from flows.steps.service.prefect_processes import private_environment
from flows.steps.service.prefect_runs import PrefectDidNotAnswer, cancel_run, run_state
from flows.steps.service.request_rows import dispatcher, ledger, reading
from products.errors import RequestError
from products.registry import parse_recipe
from tests.flows.new_requests import new
from tests.flows.prefect_stand_in import StandIn, prefect_stand_in
from tests.flows.serve_process import Watched

PASSWORD = "correct horse"
HASH = hashed_password(PASSWORD, b"0123456789abcdef")
DEMO = {"recipe": "mangrove_features", "area": "demo", "period": "2020"}


def account(name: str, role: str, *projects: str) -> Account:
    return Account.model_validate(
        {
            "name": name,
            "role": role,
            "projects": projects,
            "password_hash": HASH,
            "token_hash": hashed_token(f"{name}-token"),
        }
    )


ACCOUNTS = (
    account("ana", "researcher", "coast"),
    account("ben", "researcher", "ice"),
    account("eye", "viewer", "coast"),
    account("ops", "operator"),
)


@dataclass
class Browser:
    """A client that fills in forms as a browser does."""

    client: TestClient

    def word(self, path: str) -> str:
        """The CSRF word of the form on a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.client.get(path).text)
        assert found is not None
        return found[1]

    def send(self, path: str, **fields: str):  # type: ignore[no-untyped-def] # noqa: ANN201, httpx has two names here
        """The answer to a form."""
        return self.client.post(path, data={"csrf": self.word("/sign-in"), **fields})

    def sign_in(self, name: str) -> None:
        """Be somebody."""
        assert "New request" in self.send("/sign-in", name=name, password=PASSWORD).text


@pytest.fixture(scope="module")
def settings(asked_settings: Settings) -> Settings:
    """A home with the small archive, and four accounts."""
    return asked_settings.model_copy(update={"accounts": ACCOUNTS})


@pytest.fixture(scope="module")
def application(settings: Settings) -> Iterator[FastAPI]:
    """The application, running."""
    made = create_app(settings)
    with TestClient(made):
        yield made


@pytest.fixture
def client(application: FastAPI, asked_index: Index) -> TestClient:
    """Somebody who has not signed in, where nothing was asked for and no wrong password was given."""
    application.state.attempts, application.state.prefect_api = Attempts(), None
    return TestClient(application, raise_server_exceptions=True)


@pytest.fixture
def browser(client: TestClient) -> Browser:
    return Browser(client)


@pytest.fixture
def prefect() -> Iterator[StandIn]:
    with prefect_stand_in() as stand_in:
        yield stand_in


def token(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-token"}


def test_a_password_is_known_by_its_hash_only() -> None:
    assert by_password(ACCOUNTS, "ana", PASSWORD) == ACCOUNTS[0]
    assert by_password(ACCOUNTS, "ana", "wrong") is by_password(ACCOUNTS, "nobody", PASSWORD) is None
    assert PASSWORD not in HASH and HASH not in repr(ACCOUNTS)


def test_an_application_without_accounts_is_refused(settings: Settings) -> None:
    with pytest.raises(RequestError, match="nobody can sign in: expected accounts"):
        create_app(settings.model_copy(update={"accounts": ()}))


@pytest.mark.parametrize("path", ["/", "/requests", "/log", f"/requests/{UUID(int=1)}"])
def test_pages_lead_to_the_sign_in_and_the_api_says_401(path: str, client: TestClient) -> None:
    answer = client.get(path, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert client.get("/api/requests").status_code == 401
    assert client.post("/api/plan", json=DEMO, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_wrong_password_and_an_unknown_name_get_the_same_words_and_are_logged(browser: Browser) -> None:
    wrong, unknown = (
        browser.send("/sign-in", name="ana", password="x"),
        browser.send("/sign-in", name="who", password="x"),
    )
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.count("Name or password is wrong.") == unknown.text.count("Name or password is wrong.") == 1
    browser.sign_in("ops")
    assert browser.client.get("/log").text.count("was refused to sign in") == 2


def test_after_five_wrong_passwords_the_right_one_waits_too(browser: Browser) -> None:
    for _ in range(5):
        assert browser.send("/sign-in", name="ana", password="x").status_code == 401
    assert browser.send("/sign-in", name="ana", password=PASSWORD).status_code == 429
    browser.sign_in("ben")


def test_signing_out_ends_the_session(browser: Browser) -> None:
    browser.sign_in("ana")
    assert browser.client.get("/requests").url.path == "/requests"
    browser.client.post("/sign-out", data={"csrf": browser.word("/")})
    assert browser.client.get("/requests").url.path == "/sign-in"


@pytest.mark.parametrize("path", ["/sign-in", "/requests", "/sign-out", f"/requests/{UUID(int=1)}/cancel"])
def test_a_form_from_elsewhere_is_refused(path: str, browser: Browser) -> None:
    browser.sign_in("ana")
    for fields in ({}, {"csrf": "guessed"}):
        answer = browser.client.post(path, data=fields)
        assert (answer.status_code, "not from this page" in answer.text) == (403, True)
    assert browser.client.post("/api/plan", json=DEMO).status_code == 403


def test_every_answer_forbids_content_from_elsewhere(client: TestClient) -> None:
    for path in ("/sign-in", "/static/page.js", "/api/requests", "/nothing"):
        assert client.get(path).headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    for path in ("/sign-in", "/static/page.js", "/static/page.css"):
        assert re.findall(r"https?://(?!www\.w3\.org/)", client.get(path).text) == []


def test_a_body_that_is_too_large_is_not_read(client: TestClient) -> None:
    assert client.post("/api/plan", content=b"x" * 600_001, headers=token("ana")).status_code == 413
    assert client.post("/api/plan", content=iter([b"x"]), headers=token("ana")).status_code == 413
    assert client.post("/sign-in", data={f"f{number}": "x" for number in range(101)}).status_code == 400


def test_a_plan_comes_with_cells_hours_and_price(client: TestClient) -> None:
    found = client.post("/api/plan", json=DEMO, headers=token("ana")).json()
    assert found["cells"]["missing"] > 0 and found["core_hours"] > 0 and found["scenes"] > 0
    assert found["price"] == {"amount": 0.0, "currency": "GBP"}
    assert (found["product"], found["area"]["name"], found["needs_approval"]) == ("mangrove_features", "demo", False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": "/etc/passwd"}, "or a whole recipe in YAML"),
        ({"recipe": "../x.recipe.yaml"}, "or a whole recipe in YAML"),
        ({"recipe": "kind: features\na: &a [1]\nb: *a\n"}, "YAML aliases"),
        ({"area": "/etc/passwd"}, "or GeoJSON, got"),
        ({"area": "-180,-90,180,90"}, "ask for less ground"),
        ({"area": '{"type":"Polygon","coordinates":[]}'}, "is empty|expected GeoJSON"),
        ({"period": "0001/2020"}, "reaches out of|expected a period"),
        ({"period": "x" * 201}, "at most 200 characters"),
        ({"train": "../x"}, "unknown model"),
        ({"device": "gpu"}, "Extra inputs are not permitted"),
        ({"period": "2020\x00"}, "String should match pattern"),
        ({"area": "demo\x00"}, "String should match pattern"),
        ({"area": 7}, "valid string"),
    ],
)
def test_hostile_calls_are_refused_in_words(change: dict[str, str], said: str, client: TestClient) -> None:
    answer = client.post("/api/plan", json={**DEMO, **change}, headers=token("ana"))
    assert (answer.status_code, bool(re.search(said, answer.text))) == (422, True), answer.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"recipe": "\\ud800", "area": "demo", "period": "2020"}',
        b'{"\\ud800": 1}',
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"NaN",
    ],
)
def test_a_body_that_is_no_json_or_no_text_is_refused(body: bytes, client: TestClient) -> None:
    said = {**token("ana"), "Content-Type": "application/json"}
    assert client.post("/api/plan", content=body, headers=said).status_code in (400, 422)


def test_a_form_with_nul_or_other_bytes_is_refused(browser: Browser) -> None:
    assert browser.send("/sign-in", name="a\0b", password="x").status_code == 400
    assert browser.client.post("/sign-in", content=b"csrf=\xff\xfe").status_code == 400


@pytest.mark.parametrize(
    "place", ["longitude=nan&latitude=0", "longitude=0&latitude=inf", "longitude=0&latitude=91", "longitude=0"]
)
def test_a_place_off_the_earth_has_no_passport(place: str, client: TestClient) -> None:
    assert client.get(f"/api/requests/{UUID(int=1)}/passport?{place}", headers=token("ana")).status_code == 422


def test_people_get_pages_that_say_what_is_wrong_and_programs_get_json(browser: Browser) -> None:
    browser.sign_in("ana")
    for path, status in ((f"/requests/{UUID(int=1)}", 404), ("/requests/7", 422), ("/log", 403), ("/nothing", 404)):
        answer = browser.client.get(path)
        assert (answer.status_code, "<h1>This did not work</h1>" in answer.text) == (status, True), path
    assert browser.client.get("/api/nothing").json() == {"detail": "Not Found"}


def test_when_many_sign_in_at_once_the_next_is_told_to_wait(settings: Settings) -> None:
    attempts = Attempts()
    with ThreadPoolExecutor(MOST_WAITING) as others, attempts._one:
        for number in range(MOST_WAITING):
            others.submit(attempts.account, settings, f"x{number}", "x")
        while attempts._waiting.acquire(blocking=False):
            attempts._waiting.release()
            time.sleep(0.01)
        with pytest.raises(HTTPException, match="many are signing in"):
            attempts.account(settings, "ana", PASSWORD)
        attempts._failed = defaultdict(
            deque, {f"x{number}": deque([time.monotonic()] * 5) for number in range(MOST_WAITING)}
        )
    assert attempts.account(settings, "ana", PASSWORD) == ACCOUNTS[0]


def test_a_zip_file_is_sent_piece_by_piece(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "0").write_bytes(content)
    (tmp_path / "a" / "empty").write_bytes(b"")
    pieces = list(zipped(tmp_path / "a", "cube"))
    assert max(len(piece) for piece in pieces) < 1_100_000
    packed = ZipFile(BytesIO(b"".join(pieces)))
    assert packed.namelist() == ["cube/b/0", "cube/empty"]
    assert packed.testzip() is None and packed.read("cube/b/0") == content


def test_ten_million_cells_are_refused_before_they_are_cut(client: TestClient) -> None:
    grid = {"name": "fine", "grid.resolution_m": "0.1", "grid.tile_px": "16", "period.length": "P1D", "period": "2020"}
    fields = {name: [text] for name, text in grid.items()}
    example = {field.name: list(field.value) for field in recipe_fields({}) if field.kind == "checks"}
    text = recipe_text(
        {**example, **fields, "grid.crs": ["utm"], "brdf": ["none"], "grid.anchor": ["edge"], "indices": ["NDVI"]}
    )
    answer = client.post("/api/plan", json={**DEMO, "recipe": text, "area": "0,0,1,1"}, headers=token("ana"))
    assert answer.status_code == 422
    assert re.search(r"at least \d{9,} cells, a request has at most 10000", answer.text), answer.text


def test_markup_in_what_is_asked_for_is_text(browser: Browser) -> None:
    browser.sign_in("ana")
    evil = "<script>alert(1)</script>"
    answer = browser.send("/requests", recipe=evil, area=evil, period=evil, project="coast", do="ask")
    assert answer.status_code == 422
    assert evil not in answer.text and "&lt;script&gt;" in answer.text


def test_the_fields_of_the_form_make_a_recipe() -> None:
    fields = recipe_fields({})
    filled = {field.name: list(field.value) if field.kind == "checks" else [str(field.value)] for field in fields}
    recipe = parse_recipe(recipe_text(filled), "form")
    assert recipe.name == "my_features"
    assert recipe.feature_names[:2] == ("blue", "green")  # type: ignore[union-attr]
    limits = {field.name: (field.least, field.most, field.step) for field in fields if field.kind == "number"}
    assert limits["grid.tile_px"] == (16, 8192, 8)
    assert {field.name: field.choices for field in fields}["grid.anchor"] == ["edge", "landsat"]
    with pytest.raises(RequestError, match="grid.resolution_m.*got 'wide'"):
        parse_recipe(recipe_text({**filled, "grid.resolution_m": ["wide"]}), "form")


def test_a_form_shows_its_plan_then_asks_and_leads_to_the_request(browser: Browser) -> None:
    browser.sign_in("ana")
    fields = {**DEMO, "project": "coast"}
    planned = browser.send("/requests", **fields, do="plan")
    assert planned.status_code == 200 and "to build" in planned.text
    part = browser.send("/plan", **fields).text
    assert "to build" in part and "too few past runs for an interval" in part and "<html" not in part
    assert '<p class="problem">expected a period' in browser.send("/plan", **{**fields, "period": "x"}).text
    asked = browser.send("/requests", **fields, do="ask")
    assert re.fullmatch(r"/requests/[0-9a-f-]{36}", asked.url.path)
    assert ">approved</span>" in asked.text and "ana asked" in asked.text
    assert f'href="{asked.url.path}"' in browser.client.get("/requests").text
    ended = browser.send(f"{asked.url.path}/cancel")
    assert ">cancelled</span>" in ended.text
    assert "the request is cancelled already" in browser.send(f"{asked.url.path}/cancel").text


def test_requests_are_seen_by_who_asked_their_project_and_operators(client: TestClient) -> None:
    made = client.post("/api/requests", json={**DEMO, "project": "coast"}, headers=token("ana"))
    assert made.status_code == 201
    place = f"/api/requests/{made.json()['id']}"
    seen = {name: client.get(place, headers=token(name)).status_code for name in ("ana", "ben", "eye", "ops")}
    assert seen == {"ana": 200, "ben": 404, "eye": 200, "ops": 200}
    assert [len(client.get("/api/requests", headers=token(name)).json()) for name in ("ana", "ben")] == [1, 0]
    assert client.post(f"{place}/cancel", headers=token("eye")).status_code == 403
    assert client.post(f"{place}/cancel", headers=token("ben")).status_code == 404
    refused = client.post("/api/requests", json={**DEMO, "project": "coast"}, headers=token("eye"))
    assert (refused.status_code, "viewers look" in refused.text) == (403, True)
    assert client.get(f"{place}/quicklook.png", headers=token("ana")).status_code == 404
    assert client.get(f"{place}/secret.png", headers=token("ana")).status_code == 404


@pytest.mark.usefixtures("asked_index")
def test_an_operator_approves_with_a_reason(settings: Settings) -> None:
    limits = RequestLimits(approval_above_core_hours=0)
    with TestClient(create_app(settings.model_copy(update={"requests": limits}))) as client:
        made = client.post("/api/requests", json={**DEMO, "project": "coast"}, headers=token("ana")).json()
        assert made["state"] == "asked"
        body = {"approve": True, "reason": "fine"}
        assert client.post(f"/api/requests/{made['id']}/decision", json=body, headers=token("ana")).status_code == 403
        browser = Browser(client)
        browser.sign_in("ops")
        done = browser.send(f"/requests/{made['id']}/decision", decision="approve", reason="<b>fine</b>")
        assert ">approved</span>" in done.text and "ops approved: &lt;b&gt;fine&lt;/b&gt;" in done.text


@pytest.mark.usefixtures("asked_index")
def test_a_session_ends_when_the_role_of_its_account_changes(settings: Settings) -> None:
    key = {"session_key": Settings(session_key="k" * 32).session_key}
    with TestClient(create_app(settings.model_copy(update=key))) as client:
        Browser(client).sign_in("ops")
        cookies = dict(client.cookies)
    fewer = (*ACCOUNTS[:3], account("ops", "viewer"))
    with TestClient(create_app(settings.model_copy(update={**key, "accounts": fewer})), cookies=cookies) as client:
        assert client.get("/").url.path == "/sign-in"


def test_the_map_shows_where_scenes_are(client: TestClient) -> None:
    boxes = client.get("/api/coverage", headers=token("eye")).json()
    assert sum(box["scenes"] for box in boxes) > 1
    for box in boxes:
        west, south, east, north = box["bounds"]
        assert box["first"].startswith("2020")
        assert west < 100.83 < east
        assert south < 4.95 < north


def asked(client: TestClient, name: str, project: str) -> dict[str, Any]:
    """The request for the demo area that somebody makes."""
    made: dict[str, Any] = client.post("/api/requests", json={**DEMO, "project": project}, headers=token(name)).json()
    return made


def state_of(client: TestClient, made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/requests/{made['id']}", headers=token("ops")).json()
    return found


def test_a_request_is_handed_to_prefect_once_and_started_again_twice_where_its_run_dies(
    client: TestClient, asked_index: Index, settings: Settings, prefect: StandIn
) -> None:
    made = asked(client, "ana", "coast")
    prefect.is_broken = True
    with pytest.raises(PrefectDidNotAnswer, match="answers .* with 500"):
        dispatch(asked_index, settings, prefect.url)
    prefect.is_broken = False
    assert (dispatch(asked_index, settings, prefect.url), dispatch(asked_index, settings, prefect.url)) == (0, 0)
    assert prefect.runs == {made["id"]: {**DEMO, "train": None, "request": made["id"]}}
    assert state_of(client, made)["state"] == "running"
    for again in (1, 2):
        prefect.states[f"run-{again - 1}"] = "CRASHED"
        dispatch(asked_index, settings, prefect.url)
        assert state_of(client, made)["state"] == "running"
        dispatch(asked_index, settings, prefect.url)
        assert list(prefect.runs) == [made["id"], *(f"{made['id']}-{n}" for n in range(1, again + 1))]
    assert {json.dumps(asked) for asked in prefect.runs.values()} == {json.dumps(prefect.runs[made["id"]])}
    prefect.states["run-2"] = "CRASHED"
    dispatch(asked_index, settings, prefect.url)
    found = state_of(client, made)
    assert (found["state"], found["cause"], found["core_hours"]["charged"]) == ("failed", "it is CRASHED", 0.0)


def test_a_request_that_ended_as_its_run_died_is_not_started_again(
    client: TestClient, asked_index: Index, settings: Settings, prefect: StandIn
) -> None:
    made = asked(client, "ana", "coast")
    dispatch(asked_index, settings, prefect.url)
    with reading(asked_index) as requests:
        row = requests.get(UUID(made["id"]))
    finish(asked_index, row.id, "done")
    prefect.states["run-0"] = "CRASHED"
    settle(asked_index, prefect.url, row)
    assert (state_of(client, made)["state"], len(prefect.runs)) == ("done", 1)


def test_the_page_says_that_its_index_gave_out_and_answers_when_that_is_back(embedded_settings: Settings) -> None:
    settings = embedded_settings.model_copy(update={"accounts": ACCOUNTS})
    with TestClient(create_app(settings), follow_redirects=False) as page:
        assert page.get("/api/requests", headers=token("ops")).json() == []
        postmaster = Watched(settings.home).postmaster()
        servers = (
            postmaster.children()
        )  # they see that it is gone when they next wait, and may have answered once more until then
        postmaster.kill()
        assert not psutil.wait_procs(servers, timeout=60)[1]
        answers = [page.get("/api/requests", headers=token("ops")) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {503}
        assert answers[0].json() == {"detail": "the index does not answer now: try again in a minute"}
        assert answers[0].headers["x-content-type-options"] == "nosniff"
        assert revive(settings.home)
        assert page.get("/api/requests", headers=token("ops")).json() == []


def test_what_prefect_refuses_fails_and_does_not_hold_up_the_next(
    client: TestClient, asked_index: Index, settings: Settings, prefect: StandIn
) -> None:
    made, other = asked(client, "ana", "coast"), new("ben", project="ice")
    with ledger(asked_index) as requests:
        second = requests.enter(other, "approved")
    prefect.refused = made["id"]
    assert dispatch(asked_index, settings, prefect.url) == 2
    found = state_of(client, made)
    assert (found["state"], "refuses /deployments/d1/create_flow_run" in found["cause"]) == ("failed", True)
    assert list(prefect.runs) == [str(second)]


def test_two_pages_on_one_index_do_not_hand_over_at_once(
    client: TestClient, asked_index: Index, settings: Settings, prefect: StandIn
) -> None:
    asked(client, "ana", "coast")
    with dispatcher(asked_index) as is_alone:
        assert is_alone and dispatch(asked_index, settings, prefect.url) == 0
    assert dispatch(asked_index, settings, prefect.url) == 1


def test_a_run_that_ends_before_its_name_is_known_ends_its_request_and_one_that_nobody_wants_is_stopped(
    client: TestClient, asked_index: Index, settings: Settings, prefect: StandIn
) -> None:
    made = asked(client, "ana", "coast")
    prefect.when_started = lambda: finish(asked_index, UUID(made["id"]), "failed", "at once")
    assert dispatch(asked_index, settings, prefect.url) == 1
    assert state_of(client, made)["cause"] == "at once"
    assert prefect.states == {"run-0": "CANCELLING"}


def test_cancelling_a_running_request_stops_its_run_unless_others_wait_for_it(
    client: TestClient, asked_index: Index, settings: Settings, prefect: StandIn
) -> None:
    client.app.state.prefect_api = prefect.url  # type: ignore[attr-defined]
    first, second = asked(client, "ana", "coast"), asked(client, "ben", "ice")
    assert second["same_as"] == first["id"]
    dispatch(asked_index, settings, prefect.url)
    client.post(f"/api/requests/{first['id']}/cancel", headers=token("ana"))
    assert prefect.states == {"run-0": "SCHEDULED"}
    prefect.is_broken = True
    assert client.post(f"/api/requests/{second['id']}/cancel", headers=token("ops")).status_code == 503
    assert state_of(client, second)["state"] == "running"
    prefect.is_broken = False
    client.post(f"/api/requests/{second['id']}/cancel", headers=token("ops"))
    assert prefect.states == {"run-0": "CANCELLING"}
    assert state_of(client, second)["state"] == "cancelled"


def test_a_prefect_that_is_not_there_is_said() -> None:
    with pytest.raises(PrefectDidNotAnswer, match="cannot be reached"):
        run_state("http://127.0.0.1:9", "run")


def test_a_prefect_with_a_login_is_told_it(prefect: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    prefect.login = "Basic b3BzOnNlY3JldA=="  # ops:secret
    with pytest.raises(PrefectDidNotAnswer, match="with 401"):
        run_state(prefect.url, "run-9")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ops:secret")
    assert run_state(prefect.url, "run-9") is None
    assert private_environment(Path("home"))["PREFECT_SERVER_API_AUTH_STRING"] == "ops:secret"


def test_a_run_that_prefect_forgot_has_no_state_and_cannot_be_cancelled(prefect: StandIn) -> None:
    assert run_state(prefect.url, "run-9") is None
    with pytest.raises(PrefectDidNotAnswer, match="with 404"):
        cancel_run(prefect.url, "run-9")


def test_a_cube_that_is_done_is_shown_taken_away_and_served_again_from_what_exists(
    client: TestClient, asked_index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = asked_index
    monkeypatch.setenv("NEOCUBE_HOME", str(settings.home))
    made = client.post("/api/requests", json={**DEMO, "project": "coast"}, headers=token("ana")).json()
    with ledger(index) as requests:
        requests.start(UUID(made["id"]), "run")
    place = f"/api/requests/{made['id']}"
    report = build("mangrove_features", "demo", "2020", workers=1)
    assert client.get(place, headers=token("ana")).json()["cells"]["built"] == made["cells"]["to_build"] > 0
    finish(index, UUID(made["id"]), "done", None, {"built": {"cube": report["asked_cube"]}})
    for picture in ("quicklook", "coverage"):
        assert client.get(f"{place}/{picture}.png", headers=token("eye")).content.startswith(b"\x89PNG")
    tiles = client.get(f"{place}/tiles.json", headers=token("eye")).json()
    longitude, latitude = (sum(tiles["bounds"][number::2]) / 2 for number in (0, 1))
    assert client.get(f"{place}/tiles/0/0/0.png", headers=token("eye")).content.startswith(b"\x89PNG")
    assert client.get(f"{place}/tiles/1/2/0.png", headers=token("eye")).status_code == 422
    at = f"{place}/passport?longitude={longitude}&latitude={latitude}"
    found = client.get(at, headers=token("eye")).json()
    assert (found["cell"]["product"], found["recipe"]["name"]) == ("mangrove_features", "mangrove_features")
    assert client.get(at, headers=token("ben")).status_code == 404
    cited = client.get(f"{place}/citation", headers=token("eye")).json()
    assert re.match(
        r"ana \(20\d\d\): .*mangrove_features version 1\) over demo. neocube. Content [0-9a-f]{16}$", cited["citation"]
    )
    assert cited["credits"] == [SIMULATED]
    said = cited["datacite"]
    assert (said["publisher"], said["creators"][0]["affiliation"]) == ({"name": "neocube"}, [{"name": "coast"}])
    assert said["dates"][0] == {"date": "2020-01-01/2020-12-31", "dateType": "Collected"}
    west = said["geoLocations"][0]["geoLocationBox"]["westBoundLongitude"]
    assert west < tiles["bounds"][0] < west + 0.05  # whole tiles, of which scenes cover a part
    packed = ZipFile(BytesIO(client.get(f"{place}/cube.zip", headers=token("eye")).content))
    assert json.loads(packed.read("mangrove_features.zarr/zarr.json"))["zarr_format"] == 3
    again = client.post("/api/requests", json={**DEMO, "project": "ice"}, headers=token("ben")).json()
    assert (again["state"], again["cube"], again["core_hours"]) == (
        "done",
        report["asked_cube"],
        {"planned": 0.0, "charged": 0.0},
    )
    browser = Browser(client)
    browser.sign_in("ops")
    shown = browser.client.get(f"/requests/{made['id']}").text
    assert f'xarray.open_zarr("{report["asked_cube"]}")' in shown
    assert "eye downloaded" in shown
