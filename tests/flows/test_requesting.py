"""Requests in the database: asked, approved, shared, cancelled, ended; and what is refused before it enters."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from datacube_config.accounts import Account, RequestLimits
from datacube_config.connection import Index
from datacube_config.schema import request
from datacube_config.settings import Settings
from flows.request_parsing import Ask, area_argument, area_in, recipe_in
from flows.requesting import NotAllowed, answer, begin, cancel, decide, finish, submit, turn_of
from flows.steps.service.request_rows import ledger, published_of
from products.errors import RequestError
from products.registry import DEFINITIONS
from tests.flows.new_requests import new

ANA = Account(name="ana", role="researcher", projects=("coast",), token_hash="0" * 64)
BEN = Account(name="ben", role="researcher", projects=("coast", "ice"), token_hash="1" * 64)
EYE = Account(name="eye", role="viewer", projects=("coast",), token_hash="2" * 64)
OPS = Account(name="ops", role="operator", token_hash="3" * 64)
OFFICIAL = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
DEMO = Ask("mangrove_features", "demo", "2020")
SQUARE = '{"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]}'


@pytest.fixture
def index(asked_index: Index) -> Index:
    """An index with the small archive and no requests."""
    return asked_index


@pytest.fixture
def begun(index: Index) -> UUID:
    """A request of ana whose run has begun."""
    with ledger(index) as requests:
        number = requests.enter(new(), "approved")
        requests.start(number, "run")
    begin(index, number)
    return number


def ran_for(index: Index, number: UUID, time: timedelta) -> None:
    """Say that the run of a request began that long ago."""
    with index.engine.begin() as connection:
        earlier = request.c.began_at - time
        connection.execute(update(request).where(request.c.id == number).values(began_at=earlier))


def outline(corners: int) -> str:
    """GeoJSON of a circle of so many corners."""
    turns = [2 * math.pi * number / corners for number in range(corners)] + [0.0]
    ring = [[round(math.cos(turn), 6), round(math.sin(turn), 6)] for turn in turns]
    return json.dumps({"type": "Polygon", "coordinates": [ring]})


def test_a_request_is_entered_with_its_plan_and_the_audit_log_says_who_asked(
    index: Index, asked_settings: Settings
) -> None:
    found = submit(index, asked_settings, ANA, "coast", DEMO)
    assert (found.asked_by, found.project, found.product, found.state) == (
        "ana",
        "coast",
        "mangrove_features",
        "approved",
    )
    assert found.plan["cells"]["missing"] == found.n_to_build > 0
    assert found.core_hours > 0 and found.currency == "GBP"
    with ledger(index) as requests:
        assert requests.get(found.id) == found
        assert [(each.by, each.did, each.request_id) for each in requests.log()] == [("ana", "asked", found.id)]
        assert requests.of("ana") == requests.of("ben", ["coast"]) == requests.of() == [found]
        assert requests.of("ben", ["ice"]) == []
        assert requests.taken(found.asked_at, ("project", "coast")) == found.core_hours


def test_the_same_request_shares_the_run_and_costs_nothing(index: Index, asked_settings: Settings) -> None:
    first = submit(index, asked_settings, ANA, "coast", DEMO)
    text = OFFICIAL + "# another comment\n"
    second = submit(index, asked_settings, BEN, "ice", replace(DEMO, recipe=text))
    assert (second.same_as, second.state) == (first.id, "approved")
    with ledger(index) as requests:
        assert turn_of(requests, RequestLimits()) == first.id
        requests.start(first.id, "run")
        assert turn_of(requests, RequestLimits()) is None
    finish(index, first.id, "done", result={"built": {"cube": "file:///c"}})
    with ledger(index) as requests:
        both = [requests.get(each.id) for each in (first, second)]
    assert [each.state for each in both] == ["done", "done"]
    assert [each.charged_core_hours for each in both] == [first.core_hours, 0.0]
    assert both[1].result == {"built": {"cube": "file:///c"}}


def test_above_the_threshold_an_operator_decides_and_nobody_else(index: Index, asked_settings: Settings) -> None:
    settings = asked_settings.model_copy(update={"requests": RequestLimits(approval_above_core_hours=0)})
    found = submit(index, settings, ANA, "coast", DEMO)
    assert found.state == "asked"
    with ledger(index) as requests:
        assert turn_of(requests, settings.requests) is None
    with pytest.raises(NotAllowed, match="only operators approve or refuse"):
        decide(index, BEN, found.id, "approve", "")
    assert decide(index, OPS, found.id, "approve", "fine").state == "approved"
    with pytest.raises(RequestError, match="the request is approved: only what waits"):
        decide(index, OPS, found.id, "refuse", "")
    with ledger(index) as requests:
        assert turn_of(requests, settings.requests) == found.id
        assert [each.did for each in requests.log(found.id)] == ["approved", "asked"]


def test_a_refused_request_gives_its_quota_back(index: Index, asked_settings: Settings) -> None:
    settings = asked_settings.model_copy(update={"requests": RequestLimits(approval_above_core_hours=0)})
    found = submit(index, settings, ANA, "coast", DEMO)
    refused = decide(index, OPS, found.id, "refuse", "too much")
    assert (refused.state, refused.cause, refused.charged) == ("refused", "too much", 0.0)
    with ledger(index) as requests:
        assert requests.taken(found.asked_at, ("asked_by", "ana")) == 0.0
        assert requests.open_of("ana") == 0


def test_a_quota_counts_what_is_planned_and_what_was_charged(index: Index, asked_settings: Settings) -> None:
    planned = answer(index, asked_settings, DEMO).core_hours
    limits = RequestLimits(user_core_hours=10.0 + planned)
    settings = asked_settings.model_copy(update={"requests": limits})
    with ledger(index) as requests:
        number = requests.enter(new(core_hours=11.0), "approved")
    with pytest.raises(RequestError, match="beside 11.00 so far, your requests of this month may take"):
        submit(index, settings, ANA, "coast", DEMO)
    cancel(index, ANA, number)
    assert submit(index, settings, ANA, "coast", DEMO).state == "approved"


def test_a_failed_run_is_refunded_and_ends_once(index: Index, begun: UUID) -> None:
    ran_for(index, begun, timedelta(seconds=50))
    finish(index, begun, "failed", cause="a cell failed")
    finish(index, begun, "done", result={})
    with ledger(index) as requests:
        found = requests.get(begun)
    assert (found.state, found.cause, found.charged_core_hours, found.charged) == ("failed", "a cell failed", 0.0, 0.0)


def test_a_cancelled_run_is_charged_for_its_time(index: Index, begun: UUID) -> None:
    ran_for(index, begun, timedelta(seconds=50))
    with pytest.raises(NotAllowed, match="only who asked for it, or an operator"):
        cancel(index, BEN, begun)
    found = cancel(index, ANA, begun)
    assert found.state == "cancelled"
    assert found.charged == pytest.approx(4.0, abs=0.4)
    with pytest.raises(RequestError, match="the request is cancelled already"):
        cancel(index, OPS, begun)


def test_waiting_for_prefect_or_a_worker_is_not_charged(index: Index) -> None:
    with ledger(index) as requests:
        waiting = requests.enter(new(), "approved")
        requests.start(waiting, "run-1")
        done = requests.enter(new(), "approved")
        requests.start(done, "run-2")
    with index.engine.begin() as connection:
        connection.execute(update(request).values(started_at=request.c.started_at - timedelta(hours=9)))
    with ledger(index) as requests:
        assert requests.seconds_ahead() == 200.0
    assert cancel(index, ANA, waiting).charged_core_hours == 0.0
    begin(index, done)
    finish(index, done, "done", result={})
    with ledger(index) as requests:
        assert requests.past_ratios() == pytest.approx([0.0], abs=0.1)


def test_a_run_that_is_started_again_counts_from_when_it_begins(index: Index, begun: UUID) -> None:
    ran_for(index, begun, timedelta(hours=9))
    with ledger(index) as requests:
        requests.start(begun)
    assert cancel(index, ANA, begun).charged_core_hours == 0.0


def test_a_cancelled_request_that_others_share_is_taken_over_by_the_oldest(index: Index) -> None:
    with ledger(index) as requests:
        first = requests.enter(new(), "approved")
    with ledger(index) as requests:
        heir = requests.enter(new("ben"), "approved", same_as=first)
    with ledger(index) as requests:
        third = requests.enter(new("eve"), "approved", same_as=first)
        requests.start(first, "run-1")
        assert requests.get(third).state == "running"
    assert cancel(index, ANA, first).charged == 0.0
    with ledger(index) as requests:
        taken, follower = requests.get(heir), requests.get(third)
    assert (taken.state, taken.run_id, taken.same_as) == ("running", "run-1", None)
    assert (follower.state, follower.same_as) == ("running", heir)
    begin(index, first)
    with ledger(index) as requests:
        assert requests.get(heir).began_at is not None and requests.get(first).began_at is None
    finish(index, first, "done", result={"built": {}})
    with ledger(index) as requests:
        assert [requests.get(each).state for each in (first, heir, third)] == ["cancelled", "done", "done"]
        assert [requests.get(each).charged for each in (first, heir, third)] == [0.0, 8.0, 0.0]


def test_turns_are_taken_one_after_the_other_by_who_took_least(index: Index) -> None:
    with ledger(index) as requests:
        big = requests.enter(new("ana", 40.0), "approved")
        requests.start(big, "run-1")
        more = requests.enter(new("ana"), "approved")
        other = requests.enter(new("ben", project="ice"), "approved")
        assert turn_of(requests, RequestLimits(at_a_time=1)) is None
        assert turn_of(requests, RequestLimits()) == other
        requests.start(other, "run-2")
        assert turn_of(requests, RequestLimits(at_a_time=3)) == more


@pytest.mark.parametrize(
    ("account", "project", "said"),
    [(EYE, "coast", "viewers look and take away"), (ANA, "ice", "is not of the project 'ice': expected coast")],
)
def test_who_may_not_ask_is_told_so(
    account: Account, project: str, said: str, index: Index, asked_settings: Settings
) -> None:
    with pytest.raises(NotAllowed, match=said):
        submit(index, asked_settings, account, project, DEMO)


def test_more_scenes_than_the_limit_are_refused_before_they_are_read(index: Index, asked_settings: Settings) -> None:
    n_scenes = answer(index, asked_settings, DEMO).document["scenes"]
    enough = asked_settings.model_copy(update={"requests": RequestLimits(most_scenes=n_scenes)})
    assert answer(index, enough, DEMO).document["scenes"] == n_scenes > 1
    few = asked_settings.model_copy(update={"requests": RequestLimits(most_scenes=n_scenes - 1)})
    with pytest.raises(RequestError, match=f"^{n_scenes} scenes, a request reads at most {n_scenes - 1}"):
        answer(index, few, DEMO)


def test_an_operator_names_a_plain_project(index: Index, asked_settings: Settings) -> None:
    with pytest.raises(RequestError, match="expected a project of letters"):
        submit(index, asked_settings, OPS, "<b>x</b>", DEMO)


def test_asking_again_for_the_same_leads_to_the_same_request(index: Index, asked_settings: Settings) -> None:
    first = submit(index, asked_settings, BEN, "coast", DEMO)
    assert submit(index, asked_settings, BEN, "coast", DEMO) == first
    other = submit(index, asked_settings, BEN, "ice", DEMO)
    assert other.same_as == first.id
    cancel(index, BEN, first.id)
    cancel(index, BEN, other.id)
    assert submit(index, asked_settings, BEN, "coast", DEMO).id not in (first.id, other.id)


def test_a_shared_request_counts_as_one_that_has_not_ended(index: Index, asked_settings: Settings) -> None:
    settings = asked_settings.model_copy(update={"requests": RequestLimits(waiting_per_user=1)})
    submit(index, settings, ANA, "coast", DEMO)
    submit(index, settings, BEN, "ice", DEMO)
    with pytest.raises(RequestError, match="1 of your requests have not ended, at most 1 may"):
        submit(index, settings, BEN, "coast", DEMO)


def test_the_end_is_expected_from_past_runs_and_from_what_is_ahead(index: Index, asked_settings: Settings) -> None:
    quiet = answer(index, asked_settings, DEMO).expected
    assert (quiet.earliest, quiet.learned_from) == (None, 0)
    with ledger(index) as requests:
        for _ in range(6):
            past = requests.enter(new(), "approved")
            requests.start(past, "run")
            requests.begin(past)
            requests.end(past, "done", 1.0, result={"built": {"cube": "file:///c"}})
        requests.enter(new(), "approved")
        now = requests.enter(new(), "approved")
        requests.start(now, "run-2")
        requests.begin(now)
    with index.engine.begin() as connection:
        earlier = request.c.began_at - timedelta(seconds=40)
        connection.execute(update(request).where(request.c.began_at.is_not(None)).values(began_at=earlier))
    with ledger(index) as requests:
        assert requests.past_ratios() == pytest.approx([0.4] * 6, abs=0.01)
        assert requests.seconds_ahead() == pytest.approx(160, abs=10)
    busy = answer(index, asked_settings, DEMO)
    assert busy.expected.learned_from == 6 and busy.expected.earliest and busy.expected.latest
    assert (busy.expected.start - quiet.start).total_seconds() == pytest.approx(80, abs=5)
    took = (busy.expected.likely - busy.expected.start).total_seconds()
    assert took == pytest.approx(0.4 * busy.plan.seconds, rel=0.05)


def test_what_is_not_published_is_not_counted(index: Index) -> None:
    assert published_of(index, [uuid4(), uuid4()]) == published_of(index, []) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/etc/passwd", "expected one of .*mangrove_features.*, or a whole recipe in YAML, got '/etc/passwd'"),
        ("../secret.recipe.yaml", "or a whole recipe in YAML"),
        ("a: &a [x]\nb: [*a, *a]\n", "YAML aliases .* are not allowed"),
        ("[" * 100 + "\nx", "nested deeper than 20 levels"),
        ("kind: features\n" + "x" * 30_000, "bytes: expected at most 20000"),
        ("name: mangrove_features\nkind: model\nversion: 1\n" + "a: b\n" * 2, "the key 'a' stands twice"),
        (
            OFFICIAL.replace("dilate_px: 2", "dilate_px: 1"),
            "another recipe, which comes with neocube: take another `name:`",
        ),
        (OFFICIAL.replace("version: 1", "version: 2"), "another recipe, which comes with neocube"),
        (OFFICIAL.replace("resolution_m: 30", "resolution_m: .nan"), "resolution_m"),
        (OFFICIAL.replace("name: mangrove_features", "name: ../../evil"), "expected a name of lower-case letters"),
        ("!!python/object/apply:os.system [ls]\nkind: features\n", "not readable YAML"),
        ("mangrove_extent", "is of kind model"),
        *(
            (
                OFFICIAL.replace("version: 1", f"version: {number}"),
                "^the recipe, line 2: expected numbers of at most 100",
            )
            for number in ("1" + ":0" * 4000, "1" + ":0" * 4000 + ".5", "0x" + "f" * 5000)
        ),
        (
            OFFICIAL + '  - index: {formula: "__import__(1)", name: evil, reduce: [p50]}\n',
            "the recipe, line 16",
        ),
    ],
)
def test_hostile_recipes_are_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        recipe_in(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/etc/passwd", "or GeoJSON, got '/etc/passwd'"),
        ("../areas/demo.geojson", "or GeoJSON, got"),
        ("/a,b,c,d.json", "expected west,south,east,north in degrees, got '/a,b,c,d.json'"),
        ("1,2,3,4.gpkg", "expected west,south,east,north in degrees"),
        ("{", "expected GeoJSON with polygons in degrees"),
        ('{"type": "Point", "coordinates": [1, 1]}', "polygons in degrees, got 'Point'"),
        ('{"type": "FeatureCollection", "features": []}', "is empty"),
        ('{"type": "Polygon"}', "expected GeoJSON with polygons in degrees"),
        ('{"type": "GeometryCollection", "geometries": []}', "got 'GeometryCollection'"),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}',
            "Self-intersection.*: draw it anew",
        ),
        (outline(2500), "has 2501 corners: simplify it to at most 2000"),
        ('{"type": "Feature", "geometry": ' * 5000 + "1" + "}" * 5000, "expected GeoJSON with polygons"),
        (
            '{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 1], [1, 0], [NaN, 0]]]}',
            "expected GeoJSON with polygons",
        ),
        (
            '{"type": "Polygon", "coordinates": [[[1e999, 0], [1, 1], [1, 0], [1e999, 0]]]}',
            "expected GeoJSON with polygons",
        ),
        ('{"type": "Polygon", "coordinates": [[[1, 1], [2000, 1], [2, 2], [1, 1]]]}', "expected degrees"),
        ("{" + " " * 200_001, "bytes: expected at most 200000"),
    ],
)
def test_hostile_areas_are_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        area_in(text)


def test_a_drawn_area_becomes_a_file_called_after_its_content(tmp_path: Path) -> None:
    path = Path(area_argument(SQUARE, tmp_path))
    assert path.parent == tmp_path / "requests" and path.stem == area_in(SQUARE).name
    assert path.read_text() == SQUARE
    assert area_argument("demo", tmp_path) == "demo"
    with pytest.raises(RequestError, match="or GeoJSON, got '/etc/area.geojson'"):
        area_argument("/etc/area.geojson", tmp_path)
    collection = f'{{"type": "FeatureCollection", "features": [{{"type": "Feature", "properties": {{}}, "geometry": {SQUARE}}}]}}'
    assert area_in(collection).geometry == area_in(SQUARE).geometry


def test_a_file_whose_path_has_three_commas_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a,b,c,d.json"
    path.write_text(SQUARE)
    assert str(path).count(",") == 3
    for read in (area_in, lambda text: area_argument(text, tmp_path)):
        with pytest.raises(RequestError, match="expected west,south,east,north in degrees"):
            read(str(path))
    assert area_in("1,1,2,2").name == "bbox_1_1_2_2"


@pytest.mark.parametrize(
    ("train", "recipe", "said"),
    [
        ("../x", "mangrove_features", "unknown model '../x'"),
        ("mangrove_extent", "coastal_series", "learns from mangrove_features"),
        ("mangrove_extent", "mangrove_features", "names no labels"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(
    train: str, recipe: str, said: str, index: Index, asked_settings: Settings
) -> None:
    with pytest.raises(RequestError, match=said):
        answer(index, asked_settings, Ask(recipe, "demo", "2020", train))
