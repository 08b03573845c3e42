"""A network tuned inside the training blocks: one training for each trial, in a folder of its own, and the hold-out never looked at."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import numpy as np
import pytest

from flows.steps.learning.honest_training import HonestTraining, planned_and_audited
from flows.steps.learning.network_training import TrainingResources, training_name
from flows.steps.learning.temporal_training import learn_temporal
from flows.steps.learning.tuning import tuned_recipe
from products.devices import choose_backend
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples, labelled_pixels
from products.learning.tuning import with_settings
from products.series_spec import SeriesRecipe
from tests.flows.broken_off import Broken, breaking_off

pytest.importorskip("lightning", reason="the packages of the extra deep are not installed")
pytest.importorskip("optuna", reason="optuna, of the extra tune, is not installed")
CPU, SIDE, N_STEPS = choose_backend("cpu"), 40, 4
NUMBER = UUID(int=7)
SERIES = SeriesRecipe.model_validate(
    {
        "name": "coast_series",
        "version": 1,
        "kind": "series",
        "grid": {"crs": "EPSG:32647", "resolution_m": 30, "tile_px": 64, "anchor": "landsat"},
        "period": "P1Y",
        "step": "P3M",
        "sources": [{"collection": "landsat-c2-l2"}],
        "bands": ["red"],
        "indices": ["NDVI"],
        "fill": "linear",
    }
)
MODEL = ModelRecipe.model_validate(
    {
        "name": "coast_courses",
        "version": 1,
        "kind": "model",
        "features": "coast_series",
        "samples": {"classes": ["early", "late"]},
        "split": {"block_m": 240, "folds": 4, "buffer_m": 30},
        "estimator": {
            "tempcnn": {"filters": 4, "kernel": 3, "dense": 8, "batch": 32, "epochs": 3, "learning_rate": 0.0005}
        },
        "tune": {"parameters": {"learning_rate": [0.0005, 0.04]}, "trials": 3},
        "map": {"name": "coast_courses_map"},
        "seed": 1,
    }
)


def training() -> HonestTraining:
    """Pixels whose NDVI peaks in the second or the third step, in stripes."""
    random = np.random.default_rng(4)
    codes = (np.arange(SIDE) // 4 % 2 + 1).astype(np.uint8)[:, None] * np.ones((1, SIDE), np.uint8)
    course = np.array([[0.2, 0.7, 0.3, 0.2], [0.2, 0.3, 0.7, 0.2]])[codes - 1].transpose(2, 0, 1)
    features = np.stack([0.3 - 0.2 * course, course], axis=1).reshape(2 * N_STEPS, SIDE, SIDE)
    features = (features + random.normal(0, 0.05, features.shape)).astype(np.float32)
    names = tuple(f"{layer}_{step}" for step in range(1, N_STEPS + 1) for layer in ("red", "ndvi"))
    axis = 500_000 + 15 + 30.0 * np.arange(SIDE)
    samples = labelled_pixels(CPU, features, codes, axis, axis, 737_425, names, 0)
    return planned_and_audited(samples, MODEL, SERIES, (), "EPSG:32647", simulated=True)


def study(made: HonestTraining, folder: Path, tell: Any = None) -> tuple[ModelRecipe, dict[str, Any]]:
    return tuned_recipe(made, MODEL, SERIES, cast(Any, None), CPU, 1, TrainingResources(folder), NUMBER, tell)


def test_a_network_learns_with_the_settings_that_agree_best_without_the_hold_out(tmp_path: Path) -> None:
    made, said = training(), list[str]()
    better, told = study(made, tmp_path / "one", said.append)
    trials = told["tuning"]["trials"]
    assert trials[0]["settings"] == {"learning_rate": 0.0005} and told["tuning"]["agreement"] > trials[0]["agreement"]
    assert better.estimator.tempcnn is not None
    assert better.estimator.tempcnn.learning_rate == told["tuning"]["best"]["learning_rate"] > 0.0005
    assert said[-1] == f"trial 3 of 3, agreement {trials[2]['agreement']:.4f}"
    assert len(list((tmp_path / "one" / str(NUMBER)).iterdir())) == 3
    spoiled = made.samples.table.copy()
    spoiled.loc[~made.plan.split.train_rows(made.plan.split.holdout), list(made.samples.feature_names)] = 99
    other = replace(made, samples=Samples(spoiled, made.samples.feature_names, made.samples.n_labelled, 0))
    assert study(other, tmp_path / "two") == (better, told)


def test_a_killed_final_training_goes_on_with_the_settings_that_it_began_with_and_no_others(tmp_path: Path) -> None:
    made, chosen = training(), [with_settings(MODEL, {"learning_rate": rate}) for rate in (0.001, 0.04)]

    def learned(recipe: ModelRecipe, folder: str, tell: Any = None) -> Any:
        return learn_temporal(made, recipe, SERIES, CPU, TrainingResources(tmp_path / folder), NUMBER, tell)

    with pytest.raises(Broken, match=r"^$"):
        learned(chosen[0], "shared", breaking_off(2))
    said = list[str]()
    other, undisturbed = learned(chosen[1], "shared", said.append)[0], learned(chosen[1], "alone")[0]
    assert [each.split(",")[0] for each in said] == ["epoch 1", "epoch 2", "epoch 3"]
    assert other.digest() == undisturbed.digest()
    said.clear()
    learned(chosen[0], "shared", said.append)
    assert [each.split(",")[0] for each in said] == ["epoch 3"]


def test_where_the_first_weights_lie_is_no_part_of_the_name_of_a_trial() -> None:
    """They are written anew into a temporary folder by each run, and their content is part of the id of the model."""
    said = {**MODEL.model_dump(), "samples": {"classes": ["early", "late"], "product": "chips"}}
    names = [
        training_name(NUMBER, ModelRecipe.model_validate({**said, "estimator": {"chips": {"weights": path} | rate}}), 1)
        for path, rate in (
            ("/tmp/one/encoder.safetensors", {"learning_rate": 0.001}),
            ("/tmp/two/encoder.safetensors", {"learning_rate": 0.001}),
            ("/tmp/two/encoder.safetensors", {"learning_rate": 0.002}),
        )
    ]
    assert names[0] == names[1] != names[2] and names[0].startswith(f"{NUMBER}/trial-1-")


def test_a_recipe_that_does_not_tune_is_learned_as_it_is(tmp_path: Path) -> None:
    plain = MODEL.model_copy(update={"tune": None})
    found = tuned_recipe(training(), plain, SERIES, cast(Any, None), CPU, 1, TrainingResources(tmp_path), NUMBER)
    assert found == (plain, {}) and not any(tmp_path.iterdir())
