"""What a request is given: the cells that it asked for and no others, however long they are and whatever joins the cube."""

import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from datacube_config.accounts import Account, hashed_token
from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.from_python import Requested
from flows.request_page.app import create_app
from flows.request_product import _kept, _summary
from flows.requesting import finish
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.pictures.cube import quicklook_picture
from flows.steps.pictures.tiles import Layers, tile_picture
from flows.steps.service.page_client import Page
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.request_rows import ledger
from flows.steps.storage import path_of

AREA = "demo"
# cells of a year that start every half: neither has its middle in the half that is asked for
EARLY, LATE = "2019-07-01/2019-12-31", "2020-01-01/2020-06-30"
LABELS = {EARLY: "2019-07-01--2020-07-01", LATE: "2020"}
ANA, BEN = {"Authorization": "Bearer ana"}, {"Authorization": "Bearer ben"}


@pytest.fixture(scope="module")
def recipe(small_recipe: Path) -> str:
    """The small recipe, its cells longer than their step and not centred on it."""
    text = small_recipe.read_text().replace("name: mangrove_features", "name: long_cells")
    return text.replace("period: P1Y", "period: {length: P1Y, step: P6M}")


@pytest.fixture
def client(asked_settings: Settings, asked_index: Index, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The page for two who ask."""
    monkeypatch.setenv("NEOCUBE_HOME", str(asked_settings.home))
    accounts = tuple(
        Account(name=name, role="researcher", projects=("coast",), token_hash=hashed_token(name))
        for name in ("ana", "ben")
    )
    with TestClient(create_app(asked_settings.model_copy(update={"accounts": accounts}))) as opened:
        yield opened


def asked(client: TestClient, recipe: str, period: str, who: dict[str, str] = ANA) -> dict[str, Any]:
    """A request for the small area."""
    body = {"recipe": recipe, "area": AREA, "period": period, "project": "coast"}
    return dict(client.post("/api/requests", json=body, headers=who).json())


def made(index: Index, request: dict[str, Any], recipe: Path) -> dict[str, Any]:
    """What the run of a request makes, told to it as the run does."""
    number = UUID(request["id"])
    with ledger(index) as requests:
        requests.start(number, "run")
    report = build(str(recipe), AREA, request["period"])
    finish(index, number, "done", None, _kept({"built": report, "trained": None, "mapped": None}))
    return report


def test_a_request_keeps_and_names_the_cube_and_the_map_that_it_asked_for() -> None:
    counts = {"built": 1, "fresh": 0, "seconds": 2.0, "bytes_read": 3}
    cubes = [{"cube": f"/{what}/grown.zarr", "asked_cube": f"/{what}/asked.zarr"} for what in ("features", "map")]
    found = {"built": counts | cubes[0], "trained": None, "mapped": cubes[1]}
    kept = _kept(found)
    assert (kept["built"], kept["map"]) == (counts | {"cube": "/features/asked.zarr", "alone": True}, "/map/asked.zarr")
    assert _summary(found) == "- cube: `/features/asked.zarr`\n- map: `/map/asked.zarr`"


@pytest.mark.parametrize("order", [(EARLY, LATE), (LATE, EARLY)])
def test_a_request_shows_and_gives_what_it_asked_for(
    client: TestClient, asked_index: Index, recipe: str, tmp_path: Path, order: tuple[str, str]
) -> None:
    file = tmp_path / "long.recipe.yaml"
    file.write_text(recipe)
    rows = {period: asked(client, recipe, period) for period in order}
    reports = [made(asked_index, rows[period], file) for period in order]
    grown = open_snapshot(reports[1]["cube"])
    assert grown.sizes["period"] == 2
    for number, period in enumerate((EARLY, LATE)):
        place = f"/api/requests/{rows[period]['id']}"
        document = client.get(place, headers=ANA).json()
        opened = Requested(Page("http://127.0.0.1", SecretStr("none")), document).open()
        assert list(opened.period.values) == [grown.period.values[number]]
        np.testing.assert_array_equal(
            opened["ndvi_p50"].values, grown.features.sel(feature="ndvi_p50")[[number]].values
        )

        picture = client.get(f"{place}/quicklook.png", headers=ANA).content
        assert picture == quicklook_picture(grown.isel(period=[number]))
        assert client.get(f"{place}/coverage.png", headers=ANA).content.startswith(b"\x89PNG")
        tile = client.get(f"{place}/tiles/0/0/0.png", headers=ANA).content
        assert tile == tile_picture(Layers(document["cube"]), 0, 0, 0)

        west, south, east, north = client.get(f"{place}/tiles.json", headers=ANA).json()["bounds"]
        at = f"{place}/passport?longitude={(west + east) / 2}&latitude={(south + north) / 2}"
        assert client.get(at, headers=ANA).json()["cell"]["period"] == LABELS[period]

        cited = client.get(f"{place}/citation", headers=ANA).json()
        assert cited["datacite"]["dates"][0]["date"][:10] == str(grown.period.values[number])[:10]
        packed = ZipFile(BytesIO(client.get(f"{place}/cube.zip", headers=ANA).content))
        packed.extractall(tmp_path / str(number))
        held = open_snapshot(str(tmp_path / str(number) / "long_cells.zarr"))
        np.testing.assert_array_equal(held.features.values, grown.features[[number]].values)


def test_what_was_made_is_done_at_once_whatever_joined_the_cube_and_cited_as_before(
    client: TestClient, asked_index: Index, recipe: str, tmp_path: Path
) -> None:
    file = tmp_path / "long.recipe.yaml"
    file.write_text(recipe)
    first = asked(client, recipe, LATE)
    made(asked_index, first, file)
    cited = client.get(f"/api/requests/{first['id']}/citation", headers=ANA).json()
    made(asked_index, asked(client, recipe, EARLY), file)
    again, other = asked(client, recipe, LATE), asked(client, recipe, LATE, BEN)
    assert (again["id"], again["state"]) == (first["id"], "done")
    assert (other["state"], other["cube"], other["core_hours"]["charged"]) == ("done", again["cube"], 0.0)
    cited_now = client.get(f"/api/requests/{other['id']}/citation", headers=BEN).json()
    assert content(cited_now) == content(cited)
    shutil.rmtree(path_of(other["cube"]))
    Path(path_of(other["cube"]).removesuffix(".zarr") + ".complete").unlink()
    assert asked(client, recipe, LATE, BEN)["state"] == "approved"


def test_a_request_of_an_earlier_release_shows_its_own_period_of_a_cube_that_had_grown(
    client: TestClient, asked_index: Index, recipe: str, tmp_path: Path
) -> None:
    halves = recipe.replace("{length: P1Y, step: P6M}", "P6M").replace("long_cells", "half_cells")
    file = tmp_path / "halves.recipe.yaml"
    file.write_text(halves)
    first, second = "2020-01-01/2020-06-30", "2020-07-01/2020-12-31"
    build(str(file), AREA, second)
    row = asked(client, halves, first)
    with ledger(asked_index) as requests:
        requests.start(UUID(row["id"]), "run")
    report = build(str(file), AREA, first)
    grown = open_snapshot(report["cube"])
    assert grown.sizes["period"] == 2
    finish(asked_index, UUID(row["id"]), "done", None, {"built": {"cube": report["cube"]}, "model": None, "map": None})
    document = client.get(f"/api/requests/{row['id']}", headers=ANA).json()
    opened = Requested(Page("http://127.0.0.1", SecretStr("none")), document).open()
    assert list(opened.period.values) == [grown.period.values[0]]
    picture = client.get(f"/api/requests/{row['id']}/quicklook.png", headers=ANA).content
    assert picture == quicklook_picture(grown.isel(period=[0]))
    assert picture != quicklook_picture(grown)


def test_a_store_that_does_not_answer_is_told_and_nobody_waits_for_it(
    asked_settings: Settings, client: TestClient, asked_index: Index, recipe: str, tmp_path: Path
) -> None:
    file = tmp_path / "long.recipe.yaml"
    file.write_text(recipe)
    number = UUID(asked(client, recipe, LATE)["id"])
    with ledger(asked_index) as requests:
        requests.start(number, "run")
    build(str(file), AREA, LATE)
    finish(asked_index, number, "done", None, {"built": {"cube": "s3://silent/cubes/long.zarr"}})
    away = {
        "store_url": "s3://silent/store",
        "s3_endpoint_url": f"http://127.0.0.1:{free_port()}",
        "s3_region": "eu-west-1",
        "s3_anonymous": True,
    }
    accounts = (Account(name="ben", role="researcher", projects=("coast",), token_hash=hashed_token("ben")),)
    settings = asked_settings.model_copy(update={"accounts": accounts, **away})
    body = {"recipe": recipe, "area": AREA, "period": LATE, "project": "coast"}
    waits = []
    with TestClient(create_app(settings)) as page, ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        answer = pool.submit(page.post, "/api/requests", json=body, headers=BEN)
        while not answer.done():
            asks = time.monotonic()
            with ledger(asked_index):
                waits.append(time.monotonic() - asks)
            time.sleep(0.05)
        took = time.monotonic() - begun
    assert answer.result().status_code == 503
    assert "cannot read the cube s3://silent/cubes/long.zarr: Could not connect" in answer.result().json()["detail"]
    assert max(waits) < took / 2


def content(cited: dict[str, Any]) -> str:
    """The digest of what is cited."""
    found = re.search(r"Content ([0-9a-f]{16})$", cited["citation"])
    assert found is not None
    return found[1]
