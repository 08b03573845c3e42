"""Tuning: better settings inside the training blocks, the hold-out never looked at, the same for the same seed, and what is not possible said early."""

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from products.devices import choose_backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples, labelled_pixels
from products.learning.splits import BlockSplit, split_blocks
from products.learning.tune_card import tune_lines
from products.learning.tune_spec import TuneSpec
from products.learning.tuning import agreement_on_folds, inner_split, tuned, with_settings

pytest.importorskip("optuna", reason="optuna, of the extra tune, is not installed")
CPU = choose_backend("cpu")


def recipe(estimator: dict[str, Any], **tune: Any) -> ModelRecipe:
    return ModelRecipe.model_validate(
        {
            "name": "coast_model",
            "version": 1,
            "kind": "model",
            "features": "coast_features",
            "samples": {"classes": ["mangrove", "other"]},
            "estimator": estimator,
            "tune": tune or None,
            "map": {"name": "coast_map"},
            "seed": 3,
        }
    )


def checkerboard() -> tuple[Samples, BlockSplit]:
    """Two classes that no threshold of one feature tells apart, so that trees of one split fail."""
    random = np.random.default_rng(0)
    features = random.uniform(-1, 1, (2, 48, 48)).astype(np.float32)
    codes = np.where(features[0] * features[1] > 0, 1, 2).astype(np.uint8)
    axis = 15 + 30.0 * np.arange(48)
    samples = labelled_pixels(CPU, features, codes, axis, axis, 0, ("one", "two"), 0)
    return samples, split_blocks(*places(samples), code_of(samples), 240, 4, 30, 0)


def places(samples: Samples) -> tuple[Any, Any]:
    return samples.column("x").astype(np.float64), samples.column("y").astype(np.float64)


def code_of(samples: Samples) -> Any:
    return samples.column("code").astype(np.int64)


def study(samples: Samples, split: BlockSplit, asked: ModelRecipe) -> tuple[ModelRecipe, dict[str, Any]]:
    assert asked.tune is not None
    inner = inner_split(split, code_of(samples), asked.tune.folds, asked.seed)
    return tuned(asked, asked.tune, agreement_on_folds(CPU, samples, inner, 1), lambda: False)


def test_settings_that_agree_better_are_found_and_the_same_again() -> None:
    samples, split = checkerboard()
    asked = recipe({"random_forest": {"trees": 5, "max_depth": 1}}, trials=6, parameters={"max_depth": [1, 8], "min_leaf": [1, 20]})  # fmt: skip
    better, told = study(samples, split, asked)
    found = told["tuning"]
    assert len(found["trials"]) == 6 and found["stopped_by"] == "trials"
    assert found["trials"][0]["settings"] == found["recipe"] == {"max_depth": 1, "min_leaf": 2}
    scores = [each["agreement"] for each in found["trials"]]
    assert found["agreement"] == max(scores) > scores[0] + 0.2
    assert found["best"] == found["trials"][scores.index(max(scores))]["settings"]
    assert better.estimator.spec.model_dump() | found["best"] == better.estimator.spec.model_dump()
    assert study(samples, split, asked)[1] == told


def test_another_seed_tries_others() -> None:
    def tried(seed: int) -> list[dict[str, Any]]:
        asked = recipe({"linear": {}}, trials=4, parameters={"l2": [0.01, 10]}).model_copy(update={"seed": seed})
        assert asked.tune is not None
        trials = tuned(asked, asked.tune, lambda trial, n: 0.5, lambda: False)[1]["tuning"]["trials"]
        return [each["settings"] for each in trials]

    assert tried(3) == tried(3) != tried(4)


def test_the_hold_out_and_its_buffer_take_no_part() -> None:
    samples, split = checkerboard()
    asked = recipe({"knn": {"neighbours": 9}}, trials=3, parameters={"neighbours": [1, 15]})
    before = study(samples, split, asked)
    apart = ~split.train_rows(split.holdout)
    spoiled = samples.table.copy()
    spoiled.loc[apart, ["one", "two"]] = 0
    spoiled.loc[apart, "code"] = 1
    assert study(replace(samples, table=spoiled), split, asked) == before
    assert apart.sum() > split.test_rows(split.holdout).sum() > 300


def test_the_inner_folds_are_whole_blocks_of_the_training_blocks_with_their_buffer() -> None:
    samples, split = checkerboard()
    inner = inner_split(split, code_of(samples), 3, 5)
    used = split.train_rows(split.holdout)
    assert (inner.fold >= 0).tolist() == used.tolist() and not inner.test_rows(inner.holdout).any()
    for fold in range(3):
        train, test = inner.train_rows(fold), inner.test_rows(fold)
        assert test.any() and train.any() and not (train & test).any() and not (train & ~used).any()
        assert not np.intersect1d(split.block[train], split.block[test]).size
        x, y = places(samples)
        gap = np.hypot(x[train][:, None] - x[test], y[train][:, None] - y[test]).min()
        assert gap > 30


def test_no_trial_begins_once_the_time_is_over_and_the_first_is_always_made() -> None:
    asked, rung = recipe({"linear": {}}, trials=5, parameters={"l2": [0.01, 10]}), count()
    assert asked.tune is not None
    better, told = tuned(asked, asked.tune, lambda trial, n: -abs(n - 1.0), lambda: next(rung) >= 1)
    assert [len(told["tuning"]["trials"]), told["tuning"]["stopped_by"]] == [2, "seconds"]
    assert better.estimator.spec.model_dump() | told["tuning"]["best"] == better.estimator.spec.model_dump()
    assert len(tuned(asked, asked.tune, lambda trial, n: 0.0, lambda: True)[1]["tuning"]["trials"]) == 1


def test_settings_outside_the_ranges_are_not_tried() -> None:
    asked = recipe({"linear": {"l2": 50}}, trials=2, parameters={"l2": [0.01, 10]})
    assert asked.tune is not None
    told = tuned(asked, asked.tune, lambda trial, n: 0.5, lambda: False)[1]["tuning"]
    assert told["recipe"] == {"l2": 50} and all(0.01 <= each["settings"]["l2"] <= 10 for each in told["trials"])
    assert "the recipe's own settings, l2 50, were not tried" in "\n".join(tune_lines(told))


@pytest.mark.parametrize(
    ("estimator", "tune", "said"),
    [
        ({"random_forest": {}}, {"leaves": [1, 2]}, "tune names 'leaves': expected a setting of random_forest, one of trees, max_depth, min_leaf"),
        ({"random_forest": {}}, {"max_depth": [8, 2]}, "max_depth goes from 8 to 2: expected the lower value first"),
        ({"random_forest": {}}, {"max_depth": [2, 200]}, "random_forest cannot have max_depth = 200"),
        ({"random_forest": {}}, {"max_depth": [2, 8.5]}, "max_depth of random_forest is a whole number"),
        ({"linear": {}}, {"l2": [0, 1]}, "linear cannot have l2 = 0"),
        ({"tempcnn": {}}, {"kernel": [3, 7]}, "tempcnn cannot have kernel = 4: .*odd number of steps"),
        ({"unet": {}}, {"learning_rate": [0.1, 0.2]}, "tune learns anew for each trial, a unet from whole cells: leave tune out"),
        ({"linear": {}}, {}, "at least 1 item"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused_with_the_recipe(estimator: dict[str, Any], tune: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe(estimator, parameters=tune)


def test_settings_that_do_not_go_together_are_named() -> None:
    with pytest.raises(RequestError, match=r"tune: ltae cannot have width = 30: .*expected width"):
        with_settings(recipe({"ltae": {"width": 64, "heads": 8}}), {"width": 30})


def test_wide_ranges_go_by_ratio() -> None:
    spec = TuneSpec(parameters={"l2": (0.01, 100), "max_depth": (4, 16)})
    assert spec.is_by_ratio("l2") and not spec.is_by_ratio("max_depth")


def test_a_recipe_that_tunes_is_another_recipe_and_one_that_does_not_is_as_it_was() -> None:
    plain = recipe({"linear": {}})
    assert recipe({"linear": {}}, parameters={"l2": [0.1, 1]}).digest() != plain.digest()
    assert plain.digest() == plain.model_copy(update={"tune": None}).digest() and "tune" not in plain.model_dump(
        exclude_defaults=True
    )
