"""Trainings as runs of MLflow in a folder: settings, numbers, losses, trials, card and pictures; once for each model; and nothing without the setting."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from datacube_config.errors import SettingsError, StorageLost, StorageUnavailable
from datacube_config.settings import get_settings
from flows.cli import main
from flows.steps.learning.tracking import DATABASE, MODEL_TAG, Tracker, flattened, tracker_at
from flows.steps.storage import Storage

pytest.importorskip("mlflow", reason="mlflow, of the extra track, is not installed")
RECIPE = """
name: crops
version: 2
kind: model
table: {target: Class, classes: {bare: [0], crop: [1]}, features: [red, nir], group: site}
estimator: linear
seed: 1
"""


def runs_of(place: Path, name: str, below: bool = False) -> list[Any]:
    """The runs of an experiment, or the runs below them."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place / DATABASE}")
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id])
    return [each for each in found if ("mlflow.parentRunId" in each.data.tags) == below]


def test_a_training_is_a_run_with_settings_numbers_and_card_and_only_one(
    neocube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tracked"
    monkeypatch.setenv("NEOCUBE_MLFLOW_URI", str(place))
    recipe, table = tmp_path / "crops.recipe.yaml", tmp_path / "crops.csv"
    recipe.write_text(RECIPE)
    rows = [f"{site},{n % 2},{0.1 + 0.1 * (n % 2)},{0.5 - 0.3 * (n % 2) + 0.01 * n}" for site in "ab" for n in range(8)]
    table.write_text("\n".join(["site,Class,red,nir", *rows]) + "\n")
    asked = ["train", str(recipe), "--table", str(table), "--json"]
    answers = [json.loads(CliRunner().invoke(main, asked, catch_exceptions=False).stdout) for _ in range(2)]
    assert [each["trained"] for each in answers] == [True, False]
    (run,) = runs_of(place, "crops")
    assert run.info.status == "FINISHED" and run.data.tags[MODEL_TAG] == answers[0]["model"]
    assert run.data.params["table.features"] == "['red', 'nir']" and run.data.params["version"] == "2"
    balanced = answers[0]["metrics"]["all"]["balanced_accuracy"]["value"]
    assert run.data.metrics["all.balanced_accuracy.value"] == balanced
    artifacts = place / "artifacts" / "crops" / run.info.run_id / "artifacts"
    assert {each.name for each in artifacts.iterdir()} == {"card.json", "card.md", "trial.png"}
    assert (artifacts / "card.md").read_bytes() == Path(answers[0]["card"]).read_bytes()


def a_model(storage: Storage) -> dict[str, Any]:
    """What training tells of a network that was tuned."""
    folder = storage.path("models", "coast", "some-id")
    for name in ("card.md", "card.json", "gradcam.png", "network.safetensors"):
        storage.write_bytes(f"{folder}/{name}", name.encode())
    training = {"losses": [{"train": 0.9, "validation": 0.8}, {"train": 0.5, "validation": 0.6}]}
    trials = [{"settings": {"l2": 0.1}, "agreement": 0.7}, {"settings": {"l2": 1.0}, "agreement": 0.9}]
    metrics = {"holdout": {"overall": 0.91}, "training": training, "tuning": {"trials": trials}}
    return {"model": "some-id", "name": "coast", "metrics": metrics, "card": f"{folder}/card.md"}


def test_losses_are_told_by_epoch_trials_are_runs_below_and_weights_stay_where_they_are(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    storage, place = Storage(str(tmp_path / "store")), tmp_path / "tracked"
    document, recipe = a_model(storage), {"name": "coast", "version": 1, "seed": 3}
    number = Tracker(str(place)).log(storage, document, recipe)
    client = MlflowClient(tracking_uri=f"sqlite:///{place / DATABASE}")
    told = client.get_metric_history(number, "loss.validation")
    assert [(each.step, each.value) for each in told] == [(1, 0.8), (2, 0.6)]
    assert {each.path for each in client.list_artifacts(number)} == {"card.json", "card.md", "gradcam.png"}
    below = runs_of(place, "coast", below=True)
    assert sorted((each.data.params["l2"], each.data.metrics["agreement"]) for each in below) == [
        ("0.1", 0.7),
        ("1.0", 0.9),
    ]
    assert Tracker(str(place)).log(storage, document, recipe) == number and len(runs_of(place, "coast")) == 1


def test_a_run_that_cannot_be_written_says_that_the_model_is_there(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "store"))
    document = a_model(storage)
    (tmp_path / "tracked").mkdir()
    (tmp_path / "tracked" / "artifacts").write_text("no folder")
    with pytest.raises(StorageLost, match="the model some-id is trained and published, but MLflow at .* did not take"):
        Tracker(str(tmp_path / "tracked")).log(storage, document, {"version": 1})
    assert [run.info.status for run in runs_of(tmp_path / "tracked", "coast")] == ["FAILED"]


def test_names_that_mlflow_does_not_take_are_told_with_others_and_none_is_lost(tmp_path: Path) -> None:
    storage, place = Storage(str(tmp_path / "store")), tmp_path / "tracked"
    document = a_model(storage)
    pictures = {"MLBS_61, strip 1": {"ap50": 0.5}, "Lake (north)": {"ap50": 0.4}, "a//b": {"ap50": 0.1}}
    document["metrics"]["by_picture"] = pictures | {"a+b": {"ap50": 0.2}, "a,b": {"ap50": 0.3}, "long" * 80: {"n": 1}}
    recipe = {"version": 1, "boxes": {"classes": {"Tree (dead)": ["d"], "Tree [dead]": ["e"]}}}
    Tracker(str(place)).log(storage, document, recipe)
    (run,) = runs_of(place, "coast")
    told = {name: value for name, value in run.data.metrics.items() if name.startswith("by_picture.")}
    assert told.pop(f"by_picture.{'long' * 80}"[:240]) == 1
    assert told == {
        "by_picture.MLBS_61_ strip 1.ap50": 0.5, "by_picture.Lake _north_.ap50": 0.4, "by_picture.a__b.ap50": 0.1,
        "by_picture.a_b.ap50": 0.2, "by_picture.a_b.ap50_2": 0.3,
    }  # fmt: skip
    assert run.info.status == "FINISHED" and run.data.params["boxes.classes.Tree _dead_"] == "['d']"
    assert run.data.params["boxes.classes.Tree _dead__2"] == "['e']"


def test_a_place_that_cannot_be_used_is_told_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "tracked").mkdir()
    (tmp_path / "tracked" / DATABASE).write_text("this is no database, and long enough to be seen as none")
    with pytest.raises(StorageUnavailable, match="NEOCUBE_MLFLOW_URI: MLflow at .* cannot be used"):
        tracker_at(str(tmp_path / "tracked"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("https://me:secret@mlflow.example.org", "expected no user in the URL: give MLFLOW_TRACKING_USERNAME"),
        ("postgresql://db/mlflow", "expected a folder, or the http"),
    ],
)
def test_a_wrong_place_is_refused_without_showing_it(
    uri: str, said: str, neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_MLFLOW_URI", uri)
    with pytest.raises(SettingsError, match=said) as raised:
        get_settings()
    assert "secret" not in str(raised.value)


def test_a_folder_is_absolute_and_a_server_is_as_it_is(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, meant in (
        ("runs", str(Path("runs").absolute())),
        ("https://mlflow.example.org/", "https://mlflow.example.org"),
    ):
        monkeypatch.setenv("NEOCUBE_MLFLOW_URI", given)
        assert get_settings().mlflow_uri == meant


def test_without_a_place_there_is_no_tracker() -> None:
    assert tracker_at(None) is None


def test_nested_settings_have_their_path_and_tables_are_left_out() -> None:
    document = {"split": {"folds": 5}, "classes": ["a", "b"], "losses": [{"train": 1}], "name": None}
    assert flattened(document) == {"split.folds": 5, "classes": ["a", "b"], "name": None}


@pytest.mark.full
def test_without_the_setting_nothing_of_mlflow_is_imported() -> None:
    code = "import sys, flows.train_here as t; assert t.tracker_at(None) is None and 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
