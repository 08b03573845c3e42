"""Models of tables and pictures: found by name and version, retired, restored and swept like what the index knows."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from click.testing import CliRunner

from datacube_config.settings import Settings
from flows.cli import main
from flows.retire import retire_selected, sweep_retired, undo
from flows.steps.storage import Storage, open_storage
from flows.steps.unindexed_models import CARD, RETIRED, UnindexedModel, model_of_pictures, unindexed_models
from flows.steps.upkeep.retire_selection import Selection
from flows.steps.upkeep.unindexed import unfinished_models
from products.errors import RequestError
from products.identity import NAMESPACE
from products.learning.line_recipe import LineRecipe
from products.registry import picture_recipe


def recipe(name: str, version: int = 1) -> LineRecipe:
    found = picture_recipe("ship_tracks")
    assert isinstance(found, LineRecipe)
    return found.model_copy(update={"name": name, "version": version})


def made(storage: Storage, kind: str, name: str, version: int = 1, what: str = "") -> UnindexedModel:
    model = UnindexedModel(storage, kind, name, uuid5(NAMESPACE, f"{kind} {name} {version} {what}"))
    model.publish(recipe(name, version), {}, ["a note"], {"network.safetensors": b"weights"}, {})
    return model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, initialised_home: Path) -> Iterator[Settings]:
    """One home for all, each test with products of its own."""
    folder = tmp_path_factory.mktemp("unindexed") / "home"
    subprocess.run(["cp", "-a", str(initialised_home), str(folder)], check=True)
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith("NEOCUBE_")]:
            patched.delenv(name)
        patched.setenv("NEOCUBE_HOME", str(folder))
        yield Settings(home=folder)


@pytest.fixture
def store(home: Settings) -> Storage:
    return open_storage(home)


def test_a_model_is_known_once_its_card_is_there(tmp_path: Path) -> None:
    model = UnindexedModel(Storage(str(tmp_path)), "lines", "fronts", UUID(int=1))
    assert model.known() is None and not model.is_whole
    said = model.publish(recipe("fronts"), {"all": 1}, [], {"a.bin": b"1"}, {"more": "x"})
    assert said["trained"] and said["more"] == "x" and said["card"] == model.path("card.md")
    assert model.known() == said | {"trained": False}
    assert [each.id for each in unindexed_models(model.storage)] == [model.id]


def test_a_retired_model_is_active_again_when_the_same_is_learned(tmp_path: Path) -> None:
    model = made(Storage(str(tmp_path)), "tables", "crops")
    model.retire(UUID(int=7), "old")
    assert model.retired_by == UUID(int=7) and json.loads(Path(model.path(RETIRED)).read_text())["reason"] == "old"
    assert model.known() is not None and model.retired_by is None


def test_a_model_of_pictures_is_found_by_name_in_its_highest_version_or_by_id(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    with pytest.raises(
        RequestError, match="no model 'fronts' was learned from pictures: expected one of none, nothing is trained"
    ):
        model_of_pictures(store, "fronts")
    old, new, _ = made(store, "lines", "fronts"), made(store, "lines", "fronts", 2), made(store, "tables", "crops")
    assert model_of_pictures(store, "fronts") == new and model_of_pictures(store, str(old.id)) == old
    with pytest.raises(RequestError, match="no model 'crops' was learned from pictures: expected one of fronts"):
        model_of_pictures(store, "crops")
    other = made(store, "lines", "fronts", 2, "other pictures")
    with pytest.raises(RequestError, match="2 models are named fronts, version 2: give the id of one of"):
        model_of_pictures(store, "fronts")
    other.retire(UUID(int=1), "")
    assert model_of_pictures(store, "fronts") == new


def test_models_are_retired_restored_and_swept_with_a_preview(home: Settings, store: Storage) -> None:
    one, two = made(store, "boxes", "crowns"), made(store, "boxes", "crowns", 2)
    made(store, "lines", "tracks")
    plan = retire_selected(Selection(product="crowns", version=1))["plan"]
    label = f"boxes/crowns/{one.id}"
    assert plan["retired"] == [{"product": "crowns", "kind": "model", "count": 1, "examples": [label]}]
    assert plan["counts"]["models"] == 1 and one.retired_by is None
    done = retire_selected(Selection(product="crowns", version=1, reason="blurred"), yes=True)
    assert one.retired_by == UUID(done["id"]) and two.retired_by is None
    assert [each["id"] for each in undo(done["id"])["restored"]] == [str(one.id)] and one.retired_by is None
    done = retire_selected(Selection(product="crowns"), yes=True)
    assert sweep_retired([done["id"]])["swept"][0]["unindexed"] == sorted([one.folder, two.folder]) and two.is_whole
    assert two.known() is not None  # learned again
    (swept,) = sweep_retired([done["id"]], yes=True)["swept"]
    assert swept["unindexed"] == [one.folder] and not Path(one.folder).exists() and two.is_whole
    assert [each["why"] for each in undo(done["id"])["kept"]] == [
        "it is active already",
        "its row was purged by the sweep: build it again",
    ]


def test_a_place_or_period_selects_no_model_and_an_unknown_name_lists_them(home: Settings, store: Storage) -> None:
    model = made(store, "lines", "cracks")
    assert retire_selected(Selection(product="cracks", period="2020"))["plan"]["retired"] == []
    with pytest.raises(RequestError, match="--product 'crack': expected one of .*cracks.*"):
        retire_selected(Selection(product="crack"))
    model.retire(UUID(int=3), "")
    with pytest.raises(RequestError, match="nothing active is selected: nothing was retired"):
        retire_selected(Selection(product="cracks"), yes=True)


def test_a_sweep_that_is_killed_goes_on_and_is_seen_meanwhile(
    home: Settings, store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(store, "lines", "killed")
    done = retire_selected(Selection(product="killed"), yes=True)
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "remove_folder", interrupted)
        with pytest.raises(KeyboardInterrupt, match="by the operator"):
            sweep_retired([done["id"]], yes=True)
    assert not model.is_whole and model.retired_by == UUID(done["id"])
    (found,) = [each for each in unfinished_models(store) if each["id"] == model.id]
    assert found["kind"] == "model without card" and f"{CARD} is not there" in found["why"]
    assert sweep_retired([done["id"]], yes=True)["swept"][0]["unindexed"] == [model.folder]
    assert not Path(model.folder).exists() and model.id not in [each["id"] for each in unfinished_models(store)]


def test_undoing_a_half_done_sweep_keeps_what_lost_its_card(home: Settings, store: Storage) -> None:
    model = made(store, "lines", "half")
    done = retire_selected(Selection(product="half"), yes=True)
    store.remove(model.path(CARD))
    assert [each["why"] for each in undo(done["id"])["kept"]] == ["its files were swept: learn it again"]


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt("by the operator")


def test_the_commands_name_models_of_pictures(home: Settings, store: Storage) -> None:
    made(store, "boxes", "ships")

    def run(*asked: str) -> Any:
        return CliRunner().invoke(main, ["retire", *asked])

    shown = run("--product", "ships")
    assert "retire 1 x model of ships: boxes/ships/" in shown.stdout and "nothing was changed" in shown.stdout
    done = run("--product", "ships", "--yes", "--json")
    number = json.loads(done.stdout)["id"]
    assert "0 folders of map files, 1 models of tables and pictures" in run("--sweep", number).stdout
