"""Rapid response: a new scene over a subscribed area gives a dated map and an alert, once, also after a kill, and its latency is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from pydantic import SecretStr

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.answer_subscriptions import checked
from flows.build_here import build
from flows.cli import main
from flows.steps.areas import find_area
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.follow_ups import MAP, FollowUp, Order, finish, is_done, keep_standing, note, outstanding
from flows.steps.index.subscriptions import ANSWER, Subscription, end, keep, kept, latencies, notice
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.service.index_figures import index_readings
from flows.steps.service.webhook import NotDelivered, deliver
from flows.tend_here import tend_here
from flows.train_here import train
from products.condition import NO, UNSEEN, YES
from products.errors import RequestError
from products.period import parse_period
from products.pixel.causes import Cause
from products.registry import DEFINITIONS, scene_recipe
from tests.flows.loopback_server import Silent, answering

WHEN = "NDVI > 0.2"
ALWAYS = 100_000  # days: the archive was sensed long ago
AREA = '{"type": "Polygon", "coordinates": [[[100.84, 4.94], [100.85, 4.94], [100.85, 4.95], [100.84, 4.94]]]}'
PLAIN = Subscription("watch", "coastal_observations", None, "{}", WHEN)


@dataclass
class Receiver:
    """An address on loopback that takes alerts: each body with its key; it answers `status`, and may kill the sender."""

    url: str = ""
    status: int = 204
    kills: int | None = None
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if found.status < 400:
                found.taken.append((self.headers["Idempotency-Key"], body))
            if found.kills:
                os.kill(found.kills, signal.SIGKILL)
            self.answer(found.status)

    with answering(HTTPServer(("127.0.0.1", 0), Handler)) as url:
        found.url = f"{url}/hook?key=secret"
        yield found


@pytest.fixture(scope="module")
def days(small_archive: Path) -> list[str]:
    """The days on which Landsat 7 and 8 passed, in their order."""
    items = [json.loads(path.read_text()) for path in small_archive.rglob("*.json")]
    facts = [item["properties"] for item in items if isinstance(item, dict) and item.get("type") == "Feature"]
    found = sorted({each["datetime"][:10] for each in facts if each["platform"] in ("landsat-7", "landsat-8")})
    assert len(found) == 4
    return found


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Passes of Landsat 7 and 8 in red and near infrared, in tiles of 96 pixels."""
    text = (DEFINITIONS / "coastal_observations.recipe.yaml").read_text()
    text = text.replace("tile_px: 256", "tile_px: 96").replace("blue, green, red, nir, swir1, swir2", "red, nir")
    text = text.replace("landsat-c2-l2, ", "landsat-c2-l2, platforms: [landsat-7, landsat-8], ")
    path = tmp_path_factory.mktemp("recipe") / "passes.recipe.yaml"
    path.write_text("\n".join(line for line in text.splitlines() if "sentinel-2" not in line) + "\n")
    return str(path)


def command(*arguments: str, exit_code: int = 0) -> Any:
    """What a command tells in JSON, or on stderr where it is refused (2)."""
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == exit_code, done.output
    return json.loads(done.stdout) if exit_code < 2 else done.stderr


def subscribed(recipe: str, name: str = "green", **more: str) -> Any:
    asked = {"--area": "demo", "--when": WHEN, "--max-age-days": str(ALWAYS), **more}
    return command("subscribe", name, recipe, *(word for pair in asked.items() for word in pair))


def ingested(settings: Settings, archive: Path, day: str) -> int:
    """The scenes of a day into the index; how many were new."""
    with open_index(settings) as index:
        return ingest_archive(index, str(archive), period=parse_period(day)).added


@contextmanager
def alerts_to(receiver: Receiver) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NEOCUBE_ALERT_WEBHOOK", receiver.url)
        yield


def test_a_new_scene_gives_a_dated_map_and_one_alert_and_the_latency_is_told(
    embedded_settings: Settings, small_archive: Path, recipe: str, days: list[str], receiver: Receiver
) -> None:
    assert ingested(embedded_settings, small_archive, days[0]) > 0
    assert subscribed(recipe) == {"subscription": "green", "new": True}
    assert subscribed(recipe) == {"subscription": "green", "new": False}
    assert tend_here(["answer"])["done"] == []  # what was there before is no news
    begun = datetime.now(UTC)
    assert ingested(embedded_settings, small_archive, days[1]) > 0
    with alerts_to(receiver):
        report = command("tend")
        assert (len(report["done"]), report["failed"]) == (1, [])
        assert tend_here(["answer"])["done"] == []  # a scene is answered once
        assert ingested(embedded_settings, small_archive, days[1]) == 0
        assert tend_here(["answer"])["done"] == []
    path = Path(report["done"][0]["result"])
    document = json.loads((path.parent / "answer.json").read_text())
    assert [key for key, _ in receiver.taken] == [document["id"]]
    assert receiver.taken[0][1] == document
    assert document["alert"] and document["sensed_at"].startswith(days[1]) and path.parent.name.startswith(days[1])
    assert (path.parent / "map.png").read_bytes().startswith(b"\x89PNG")
    check_map(path, document, embedded_settings)
    arrived, answered = (datetime.fromisoformat(document[name]) for name in ("arrived_at", "answered_at"))
    assert begun < arrived < answered
    latency = (answered - arrived).total_seconds()
    (row,) = command("subscriptions")
    assert (row["done"], row["due"], row["when"]) == (1, 0, WHEN)
    assert row["p50_s"] == row["p95_s"] == pytest.approx(latency, abs=2)
    with open_index(embedded_settings) as index:
        told = {(each.metric, each.labels.get("statistic")): each.value for each in index_readings(index)}
    assert told["neocube_subscription_answer_seconds", "p95"] == pytest.approx(latency, abs=2)
    assert told["neocube_subscription_answers_last_month", None] == 1
    assert "subscription green" in CliRunner().invoke(main, ["status"]).stdout
    assert command("unsubscribe", "green") == {"subscription": "green", "dropped": 0}
    assert ingested(embedded_settings, small_archive, days[2]) > 0
    assert tend_here(["answer"])["done"] == []


def check_map(path: Path, document: dict[str, Any], settings: Settings) -> None:
    """The map is the condition on the clear pixels of the pass, and the shares are those of the map inside the area."""
    with rasterio.open(path) as file:
        codes, bounds, crs = file.read(1), file.bounds, file.crs
        assert file.tags()["condition"] == WHEN and file.nodata == UNSEEN
    snapshots = sorted(Path(settings.store_url).rglob("coastal_observations*/**/zarr.json"))
    cube = open_snapshot(str(next(p.parent for p in snapshots if p.parent.suffix == ".zarr")))
    assert crs == cube.odc.crs
    here = cube.sel(y=slice(bounds.top, bounds.bottom), x=slice(bounds.left, bounds.right)).isel(time=0)
    red, nir = (here["reflectance"].sel(band=band).values for band in ("red", "nir"))
    is_clear = here["cause"].values == Cause.USED
    with np.errstate(all="ignore"):
        expected = np.where(is_clear, np.where((nir - red) / (nir + red) > 0.2, YES, NO), UNSEEN)
    np.testing.assert_array_equal(codes, expected)
    assert {NO, YES} <= set(np.unique(codes))
    assert 0 < document["share"] < 1 and 0 < document["clear_share"] <= 1
    assert document["hectares"] == pytest.approx(np.sum(codes == YES) * 0.09, rel=0.2)


@pytest.mark.full
def test_an_alert_that_was_not_taken_or_whose_run_was_killed_is_delivered_again_under_the_same_key(
    embedded_settings: Settings, small_archive: Path, recipe: str, days: list[str], receiver: Receiver
) -> None:
    subscribed(recipe)
    ingested(embedded_settings, small_archive, days[0])
    with alerts_to(receiver):
        receiver.status = 500
        report = tend_here(["answer"])
        assert report["done"] == []
        assert [each["cause"] for each in report["failed"]] == ["NEOCUBE_ALERT_WEBHOOK answers 500"]
        assert "secret" not in json.dumps(report)
        receiver.status = 204

        teller = subprocess.Popen([sys.executable, "-m", "flows.cli", "tend"], stderr=subprocess.DEVNULL)
        receiver.kills = teller.pid
        assert teller.wait(100) == -signal.SIGKILL
        receiver.kills = None
        with open_index(embedded_settings) as index:
            assert len(outstanding(index, ANSWER)) == 1
        assert len(tend_here(["answer"])["done"]) == 1
        assert tend_here(["answer"])["done"] == []
    assert len(receiver.taken) == 2 and len({key for key, _ in receiver.taken}) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"--least-share": "0.99"}, False),
        ({"--least-clear": "1"}, False),
        ({"--least-share": "0.001"}, True),
    ],
)
@pytest.mark.full
def test_without_enough_there_is_a_map_and_no_alert(
    more: dict[str, str], words: bool, embedded_settings: Settings, small_archive: Path, recipe: str, days: list[str], receiver: Receiver
) -> None:  # fmt: skip
    subscribed(recipe, **more)
    ingested(embedded_settings, small_archive, days[0])
    with alerts_to(receiver):
        (done,) = tend_here(["answer"])["done"]
    document = json.loads((Path(done["result"]).parent / "answer.json").read_text())
    assert document["alert"] is bool(receiver.taken) is words


@pytest.mark.full
def test_a_model_answers_with_its_map_of_the_period_of_the_scene(
    embedded_settings: Settings, small_archive: Path, days: list[str], receiver: Receiver
) -> None:
    ingested(embedded_settings, small_archive, f"2020-01-01/{date.fromisoformat(days[-1]) - timedelta(days=1)}")
    build("mangrove_features", "demo", "2020")
    train("mangrove_extent", "demo", "2020", str(small_archive / "truth" / "labels.geojson"))
    command(
        "subscribe", "trees", "mangrove_extent", "--area", "demo", "--when", "mangrove", "--max-age-days", str(ALWAYS)
    )
    refused = command("subscribe", "other", "mangrove_extent", "--area", "demo", "--when", "trees", exit_code=2)
    assert "expected --when as one of the classes mangrove, water, other, got 'trees'" in refused
    assert ingested(embedded_settings, small_archive, days[-1]) > 0
    with alerts_to(receiver):
        done = tend_here(["answer"])["done"]
    assert done and all(each["result"].endswith("map_class.tif") for each in done)
    assert {body["share"] is not None for _, body in receiver.taken} == {True}


def test_what_cannot_be_answered_is_refused(index: Index, embedded_settings: Settings, recipe: str) -> None:
    area = ["--area", "demo"]
    for asked, words in (
        (
            ["watch", "mangrove_features", *area, "--when", WHEN],
            "mangrove_features is of kind features: expected one of kind observations",
        ),
        (["watch", recipe, *area], "expected --when with a recipe, such as --when 'red < 0.1'"),
        (["watch", recipe, *area, "--when", "MNDWI > 0"], "swir1"),
        (["watch", "no_model", *area], "unknown model 'no_model'"),
        (["a", recipe, *area, "--when", WHEN], "2 to 63 of them"),
        (["Watch it", recipe, *area, "--when", WHEN], "expected a name of lower-case letters"),
        (["watch", recipe, "--area", "nowhere", "--when", WHEN], "unknown area 'nowhere'"),
    ):
        assert words in command("subscribe", *asked, exit_code=2)
    assert "no subscription 'watch': there is none" in command("unsubscribe", "watch", exit_code=2)
    assert checked(index, embedded_settings, PLAIN) == PLAIN


def test_a_name_is_kept_for_one_subscription_until_it_ends(index: Index) -> None:
    assert keep(index, PLAIN)
    other = Subscription("watch", "coastal_observations", None, "{}", "NDVI < 0")
    with pytest.raises(
        RequestError, match="there is another subscription watch: take another name, or `neocube unsubscribe watch`"
    ):
        keep(index, other)
    (before,) = kept(index)
    assert end(index, "watch") == 0 and kept(index) == []
    assert keep(index, other)
    (after,) = kept(index)
    assert after[0] == other and after[1] > before[1]
    with pytest.raises(RequestError, match="no subscription 'gone': there is watch"):
        end(index, "gone")


def test_two_that_look_at_once_note_each_scene_in_one_answer(ingested_settings: Settings) -> None:
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    with open_index(ingested_settings) as index:
        sources = scene_recipe("coastal_observations").sources
        scenes = find_scenes(index, sources, parse_period("2020"), find_area("demo").geometry)
        threads = [
            threading.Thread(target=notice, args=(index, PLAIN, long_ago, some))
            for some in (scenes, scenes[::2], scenes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        noted = [acquisition for work in outstanding(index, ANSWER) for acquisition in work.parameters["acquisitions"]]
        assert sorted(noted) == sorted({scene.acquisition for scene in scenes})
        assert notice(index, PLAIN, datetime.now(UTC), scenes) == 0


def test_a_subscription_whose_recipe_is_gone_fails_by_name_and_stops_no_other(index: Index) -> None:
    keep(index, replace(PLAIN, name="broken", recipe="no_recipe", area=AREA))
    keep(index, replace(PLAIN, name="sound", area=AREA))
    report = tend_here(["answer"])
    assert [each["what"] for each in report["failed"]] == ["broken"]
    assert "no_recipe" in report["failed"][0]["cause"] and report["done"] == []


def test_an_order_whose_area_or_recipe_is_gone_fails_by_name_stops_no_other_and_can_be_ended(
    index: Index, tmp_path: Path
) -> None:
    area, recipe = str(tmp_path / "drawn.geojson"), str(tmp_path / "own.recipe.yaml")
    keep_standing(index, Order("mangrove_extent", area, "2020", "labels.geojson"))
    keep_standing(index, Order(recipe, "demo", "2020", "labels.geojson"))
    mapping = FollowUp(MAP, "a model over a cube", {"model": "no_model", "area": area, "period": "2020"})
    note(index, mapping)
    report = command("tend", exit_code=1)
    first, second, third = report["failed"]
    assert (first["what"], second["what"]) == (f"mangrove_extent over {area}, 2020", f"{recipe} over demo, 2020")
    assert f"no area file {area}" in first["cause"] and f"no recipe file at {recipe}" in second["cause"]
    assert third["what"] == "a model over a cube"
    assert tend_here(["answer"]) == {"done": [], "failed": [], "elsewhere": []}

    rows = command("orders")
    assert [(row["kind"], row["what"]) for row in rows] == [
        ("standing", first["what"]), ("standing", second["what"]), ("map", "a model over a cube"),
    ]  # fmt: skip
    assert f"neocube orders --end {rows[0]['id']}" in first["cause"]
    due = Order("mangrove_extent", area, "2020", "labels.geojson").training("a cube")
    note(index, due)
    assert command("orders", "--end", rows[0]["id"]) == {"ended": first["what"], "dropped": 1}
    for row in rows[1:]:
        assert command("orders", "--end", row["id"]) == {"ended": row["what"], "dropped": 0}
    assert command("orders") == [] and is_done(index, mapping)
    assert tend_here() == {"done": [], "failed": [], "elsewhere": []}
    keep_standing(index, Order("mangrove_extent", "demo", "2020"))
    assert [row["what"] for row in command("orders")] == ["mangrove_extent over demo, 2020"]
    for wrong in ("x", rows[0]["id"]):
        said = command("orders", "--end", wrong, exit_code=2)
        assert f"no order {wrong!r}: expected an id that `neocube orders` shows" in said


@pytest.mark.usefixtures("index")
def test_an_order_of_a_recipe_ends_with_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEFINITIONS / "mangrove_extent.recipe.yaml").read_text()
    ordered = text.replace("samples:\n", 'area: demo\nperiod: "2020"\nsamples:\n  labels: labels.geojson\n')
    (tmp_path / "mangrove_extent.recipe.yaml").write_text(ordered)
    shutil.copy(DEFINITIONS / "mangrove_features.recipe.yaml", tmp_path)
    monkeypatch.setattr("products.registry.DEFINITIONS", tmp_path)
    (row,) = command("orders")
    assert row["what"] == "mangrove_extent over demo, 2020"
    said = command("orders", "--end", row["id"], exit_code=2)
    assert "is that of the recipe mangrove_extent itself: take area, period or labels out of it" in said
    assert command("orders") == [row]


def test_an_answer_whose_scenes_are_gone_is_told_once(index: Index) -> None:
    keep(index, replace(PLAIN, area=AREA))
    asked = {
        "subscription": PLAIN.name, "pass": "landsat-8 2020-01-16", "acquisitions": ["a"], "items": ["i"],
        "sensed_at": "2020-01-16T03:30:00+00:00", "arrived_at": "2020-01-17T03:30:00+00:00",
    }  # fmt: skip
    note(index, FollowUp(ANSWER, "watch: landsat-8 2020-01-16 (a)", asked))
    (failed,) = tend_here(["answer"])["failed"]
    assert tend_here(["answer"]) == {"done": [], "failed": [], "elsewhere": []}
    assert failed["what"] == "watch: landsat-8 2020-01-16 (a)"
    assert failed["cause"] == "the scenes of landsat-8 2020-01-16 are gone from the index: its answer is given up"
    assert [(row["done"], row["due"]) for row in latencies(index)] == [(0, 0)]


def test_latencies_are_percentiles_of_what_was_answered(index: Index) -> None:
    keep(index, PLAIN)
    assert [(row["done"], row["due"], row["p50_s"]) for row in latencies(index)] == [(0, 0, None)]
    now = datetime.now(UTC)
    for seconds in (10, 20, 30):
        asked = {
            "subscription": "watch",
            "acquisitions": [str(seconds)],
            "arrived_at": (now - timedelta(seconds=seconds)).isoformat(),
        }
        finish(index, FollowUp(ANSWER, f"watch: {seconds}", asked))
    (row,) = latencies(index)
    assert (row["done"], row["p50_s"], row["p95_s"]) == (3, pytest.approx(20, abs=1), pytest.approx(29, abs=1))


def test_an_address_that_cannot_be_reached_is_told_without_its_secret() -> None:
    with pytest.raises(NotDelivered, match="^NEOCUBE_ALERT_WEBHOOK cannot be reached: ConnectError$"):
        deliver(SecretStr("http://127.0.0.1:9/secret"), {}, "key")
