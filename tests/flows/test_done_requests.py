"""A request for what was made already is done at once, as long as its cube, its map and its model are still those in use."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from datacube_config.accounts import Account
from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.map_here import make_map
from flows.request_parsing import Ask, recipe_in
from flows.requesting import finish, submit
from flows.retire import retire_selected
from flows.steps.index.index_rows import source_ids
from flows.steps.service.request_kinds import Request
from flows.steps.service.request_rows import has_learned_from, ledger
from flows.steps.upkeep.retire_selection import Selection
from flows.train_here import train
from products.registry import DEFINITIONS

ANA, BEN = (
    Account(name=name, role="researcher", projects=("coast",), token_hash=digit * 64)
    for name, digit in (("ana", "0"), ("ben", "1"))
)
MODEL = "mangrove_extent"
ASKED = Ask("mangrove_features", "demo", "2020", MODEL)


@pytest.fixture
def settings(
    asked_settings: Settings, small_recipe: Path, small_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of the home, beside which the recipes name labels and have small tiles."""
    labels = small_archive / "truth" / "labels.geojson"
    text = (DEFINITIONS / f"{MODEL}.recipe.yaml").read_text().replace("samples:\n", f"samples:\n  labels: {labels}\n")
    (tmp_path / f"{MODEL}.recipe.yaml").write_text(text.replace("trees: 100", "trees: 5"))
    shutil.copy(small_recipe, tmp_path / "mangrove_features.recipe.yaml")
    monkeypatch.setattr("products.registry.DEFINITIONS", tmp_path)
    monkeypatch.setenv("NEOCUBE_HOME", str(asked_settings.home))
    recipe_in.cache_clear()
    yield asked_settings
    recipe_in.cache_clear()


def made(index: Index, row: Request) -> dict[str, Any]:
    """What its run makes, kept as its result."""
    with ledger(index) as requests:
        requests.start(row.id, "run")
    built = build("mangrove_features", "demo", "2020")
    trained = train(MODEL, "demo", "2020").document()
    mapped = make_map(trained["model"], "demo", "2020").document()
    result = {"built": {"cube": built["asked_cube"]}, "model": trained["model"], "map": mapped["asked_cube"]}
    finish(index, row.id, "done", result=result)
    return result


def test_a_request_whose_model_or_map_was_retired_is_work_again(settings: Settings, asked_index: Index) -> None:
    def asked(by: Account = ANA) -> Request:
        return submit(asked_index, settings, by, "coast", ASKED)

    first = asked()
    result = made(asked_index, first)
    assert (asked().id, asked(BEN).state, asked(BEN).same_as) == (first.id, "done", first.id)
    for product in (MODEL, "mangrove_map"):
        retire_selected(Selection(product=product), yes=True)
        again, shared = asked(), asked(BEN)
        assert (again.state, again.same_as, again.result, shared.same_as) == ("approved", None, None, again.id)
        assert made(asked_index, again) == result
        assert (asked().id, asked(BEN).state, asked(BEN).result) == (again.id, "done", result)


def test_a_model_that_would_be_learned_from_other_cells_now_is_work_again(
    settings: Settings, asked_index: Index
) -> None:
    result = made(asked_index, submit(asked_index, settings, ANA, "coast", ASKED))
    model, cells = UUID(result["model"]), source_ids(asked_index, UUID(result["model"]))
    assert len(cells) > 1
    assert has_learned_from(asked_index, model, cells)
    assert not has_learned_from(asked_index, model, [*cells, uuid4()])
    assert not has_learned_from(asked_index, uuid4(), cells)
    asked_index.dc.index.datasets.archive(cells[:1])
    assert not has_learned_from(asked_index, model, cells[1:])
    asked_index.dc.index.datasets.restore(cells[:1])
    assert submit(asked_index, settings, BEN, "coast", ASKED).state == "done"
