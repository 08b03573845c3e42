"""A plan is made once for all who ask for it, until something in the index changes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.request_page import known_plans
from flows.request_page.known_plans import KnownPlans
from flows.request_parsing import Ask
from flows.requesting import answer
from products.errors import RequestError

DEMO = Ask("mangrove_features", "demo", "2020")
NAMED_OTHERWISE = Ask("mangrove_features", "demo", "2020-01-01/2020-12-31")


def test_a_plan_is_given_again_until_a_scene_is_archived(asked_settings: Settings, asked_index: Index) -> None:
    plans, datasets = KnownPlans(), asked_index.dc.index.datasets
    first, second = (plans.answer(asked_index, asked_settings, DEMO) for _ in range(2))
    assert second.plan is first.plan
    assert second.document == answer(asked_index, asked_settings, DEMO).document
    scene = next(iter(first.plan.scenes))
    datasets.archive([scene])
    try:
        third = plans.answer(asked_index, asked_settings, DEMO)
        assert scene in second.plan.scenes and scene not in third.plan.scenes
    finally:
        datasets.restore([scene])
    assert plans.answer(asked_index, asked_settings, DEMO).plan.scenes == first.plan.scenes


def test_many_who_ask_at_once_get_one_plan_and_others_their_own(asked_settings: Settings, asked_index: Index) -> None:
    plans = KnownPlans()
    asks = [DEMO, NAMED_OTHERWISE] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda ask: plans.answer(asked_index, asked_settings, ask), asks))
    assert {id(each.plan) for each in found[::2]} == {id(found[0].plan)}
    assert {each.asked.ask for each in found[1::2]} == {NAMED_OTHERWISE}


def test_an_old_plan_is_made_again(
    asked_settings: Settings, asked_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = KnownPlans()
    first = plans.answer(asked_index, asked_settings, DEMO)
    monkeypatch.setattr(known_plans, "MOST_S", 0.0)
    assert plans.answer(asked_index, asked_settings, DEMO).plan is not first.plan


def test_what_is_refused_is_refused_again_and_the_least_asked_for_is_forgotten(
    asked_settings: Settings, asked_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans, first = KnownPlans(), KnownPlans().answer(asked_index, asked_settings, DEMO)
    for _ in range(2):
        with pytest.raises(RequestError, match="nowhere"):
            plans.answer(asked_index, asked_settings, Ask(DEMO.recipe, "nowhere", "2020"))
    monkeypatch.setattr(known_plans, "MOST_PLANS", 1)
    had = plans.answer(asked_index, asked_settings, DEMO)
    assert had.plan is not first.plan
    plans.answer(asked_index, asked_settings, NAMED_OTHERWISE)
    assert plans.answer(asked_index, asked_settings, DEMO).plan is not had.plan
