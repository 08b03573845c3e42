"""From Python: what is asked of a request page over HTTP, what shows itself, and what is refused."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import flows
from datacube_config.accounts import Account, hashed_token
from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.from_python import progress
from flows.requesting import finish
from flows.steps.service.page_client import PageDidNotAnswer
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.request_rows import ledger
from products.errors import RequestError
from tests.flows.served_page import served_page

ASKED = {"recipe": "mangrove_features", "area": "demo", "period": "2020"}


@pytest.fixture(scope="module")
def address(asked_settings: Settings) -> Iterator[str]:
    """The request page of a home with the small archive, on loopback."""
    accounts = tuple(
        Account.model_validate({"name": n, "role": role, "projects": ["coast"], "token_hash": hashed_token(n)})
        for n, role in (("ana", "researcher"), ("eye", "viewer"))
    )
    with served_page(asked_settings.model_copy(update={"accounts": accounts})) as url:
        yield url


@pytest.fixture(autouse=True)
def place(address: str, asked_settings: Settings, neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a researcher who asks that page."""
    monkeypatch.setenv("NEOCUBE_HOME", str(asked_settings.home))
    monkeypatch.setenv("NEOCUBE_PAGE_URL", address)
    monkeypatch.setenv("NEOCUBE_TOKEN", "ana")


def test_a_plan_shows_itself_with_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOCUBE_PRICE_PER_CORE_HOUR", "36")
    made = flows.plan(**ASKED)
    shown = made._repr_html_()
    price = made.document(36.0, "GBP")["price"]["amount"]
    assert price > 0 and f"{price} GBP" in shown
    assert "mangrove features" in shown and "over demo" in shown
    n_cells, n_to_build = len(made.cells), len(made.to_build)
    assert repr(made) == f"Plan of mangrove_features over demo: {n_cells} cells, {n_to_build} to build"


def test_a_year_as_a_number_and_an_area_as_four_numbers_are_what_the_command_takes_as_text() -> None:
    west, south, east, north = 100.83, 4.93, 100.86, 4.96
    made = flows.plan("mangrove_features", area=(west, south, east, north), period=2020)
    written = flows.plan("mangrove_features", area=f"{west},{south},{east},{north}", period="2020")
    assert made.area.name == written.area.name
    assert [cell.id for cell in made.cells] == [cell.id for cell in written.cells]
    with pytest.raises(RequestError, match=r"there is no cube of .*mangrove_features|no cube"):
        flows.open_cube("mangrove_features", area=[west, south, east, north], period=2020)
    with pytest.raises(RequestError, match="expected an area as a name, .*, got a int"):
        flows.plan("mangrove_features", area=5, period=2020)  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [(4.95, 100.845), "4.95,100.845", (100.845,), (None, 4.95)])
def test_a_place_is_longitude_and_latitude(at: Any) -> None:
    with pytest.raises(RequestError, match=r"expected at as LON,LAT in degrees, such as 100\.845,4\.95, got .*"):
        flows.passport("mangrove_features", at=at, period=2020)


def test_a_request_is_followed_until_it_ends_and_can_be_cancelled(asked_index: Index) -> None:
    made = flows.request(**ASKED, project="coast")
    assert (made.state, made.document["cells"]["built"]) == ("approved", 0)
    assert made.wait(timeout_s=0).state == "approved"
    with pytest.raises(RequestError, match=r"the request is approved and has no cube: wait\(\) for it"):
        made.open()
    number = UUID(made.document["id"])
    with ledger(asked_index) as requests:
        requests.start(number, "run")
    ended = threading.Timer(0.3, finish, (asked_index, number, "failed", "no <room> left"))
    ended.start()
    assert made.wait(timeout_s=30).state == "failed"
    ended.join()
    assert "failed: no &lt;room&gt; left" in made._repr_html_()
    assert repr(made) == "Request of mangrove_features over demo: failed"
    again = flows.request(**ASKED, project="coast")
    assert again.document["id"] != made.document["id"]
    assert again.cancel().state == again.refresh().state == "cancelled"


def test_files_are_sent_as_their_texts(asked_index: Index, small_recipe: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(small_recipe.read_text().replace("name: mangrove_features", "name: my_features"))
    area = tmp_path / "area.geojson"
    ring = [[100.84, 4.94], [100.85, 4.94], [100.85, 4.95], [100.84, 4.94]]
    area.write_text(f'{{"type": "Polygon", "coordinates": [{ring}]}}')
    made = flows.request(str(own), str(area), "2020", project="coast")
    assert (made.document["product"], made.document["area"]) == ("my_features", "a drawn area")
    with pytest.raises(RequestError, match=r"no file .*gone.yaml: expected a name, a text, or the path of a file"):
        flows.request(str(tmp_path / "gone.yaml"), "demo", "2020", project="coast")


@pytest.mark.usefixtures("asked_index")
def test_what_the_page_refuses_is_told_in_its_words(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="refuses /requests: unknown token"):
        flows.request(**ASKED, project="coast", token="wrong")
    with pytest.raises(RequestError, match="viewers look and take away"):
        flows.request(**ASKED, project="coast", token="eye")
    with pytest.raises(RequestError, match="the account ana is not of the project 'ice'"):
        flows.request(**ASKED, project="ice")
    with pytest.raises(PageDidNotAnswer, match=r"the request page at http://127.0.0.1:\d+ cannot be reached"):
        flows.request(**ASKED, project="coast", page=f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NEOCUBE_TOKEN")
    with pytest.raises(RequestError, match="expected a token of the request page: set NEOCUBE_TOKEN"):
        flows.request(**ASKED, project="coast", page=address)


def test_a_progress_bar_is_drawn_on_a_terminal_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress("building") as move:
        move(0.5, "3 of 6 cells")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress("building") as move:
        move(0.5, "3 of 6 cells")
    out, err = capsys.readouterr()
    assert out == "" and "building: 3 of 6 cells" in err and "100%" in err


@pytest.mark.parametrize("name", flows.__all__)
def test_what_flows_offers_is_there(name: str) -> None:
    assert getattr(flows, name) is not None


def test_what_flows_does_not_have_is_named() -> None:
    with pytest.raises(
        AttributeError, match="no attribute 'bild': expected one of BY_PASS, at_steps, build, clear_series"
    ):
        _ = flows.bild
