"""What a model has learned from and what it is tested on: the rows of networks, and outliers."""

import io
from dataclasses import replace
from typing import Any

import geopandas
import numpy as np
import pytest
from numpy.typing import NDArray

from flows.steps.learning.honest_training import (
    Answers,
    HonestTraining,
    labelled,
    planned_and_audited,
    with_honest_numbers,
)
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.applicability import applicability_from_bytes
from products.learning.estimators import learn, predicted
from products.learning.honest import audit_leaks
from products.learning.outliers import outliers
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples, labelled_pixels
from products.learning.samples_recipe import OutliersSpec
from products.learning.training_ground import VALIDATION_FOLD, network_rows
from products.learning.tuning import inner_split
from products.spec import FeaturesRecipe

CPU, SIDE, NAMES = choose_backend("cpu"), 40, ("red", "ndvi_p50")
FEATURES = FeaturesRecipe.model_validate(
    {
        "name": "coast",
        "version": 1,
        "kind": "features",
        "grid": {"crs": "EPSG:32647", "resolution_m": 30, "tile_px": 64, "anchor": "landsat"},
        "period": "P1Y",
        "sources": [{"collection": "landsat-c2-l2"}],
        "features": [{"index": {"names": ["NDVI"], "reduce": ["p50"]}}],
    }
)


def recipe(estimator: dict[str, Any], folds: int = 4) -> ModelRecipe:
    return ModelRecipe.model_validate(
        {
            "name": "coast_model",
            "version": 1,
            "kind": "model",
            "features": "coast",
            "samples": {"classes": ["early", "late"]},
            "split": {"block_m": 240, "folds": folds, "buffer_m": 30},
            "estimator": estimator,
            "map": {"name": "coast_map"},
        }
    )


def samples(seed: int = 4) -> Samples:
    """Two classes in stripes, that overlap in both features."""
    random = np.random.default_rng(seed)
    codes = (np.arange(SIDE) // 4 % 2 + 1).astype(np.uint8)[:, None] * np.ones((1, SIDE), np.uint8)
    features = (codes + random.normal(0, 1, (2, SIDE, SIDE))).astype(np.float32)
    axis = 500_000 + 15 + 30.0 * np.arange(SIDE)
    return labelled_pixels(CPU, features, codes, axis, axis, 737_425, NAMES, 0)


def planned(model: ModelRecipe, of: Samples) -> HonestTraining:
    return planned_and_audited(of, model, FEATURES, (), "EPSG:32647", simulated=True)


def test_chips_that_share_ground_with_a_tested_one_are_found_by_the_audit() -> None:
    model, of = recipe({"random_forest": {"trees": 5}}), samples()
    made = planned(model, of)
    assert audit_leaks(labelled(of, model), made.plan, model.split, True, chip_side_m=30) == made.leaks
    with pytest.raises(
        RequestError, match="tested chips share pixels with training chips: set buffer_m to 170 or more"
    ):
        audit_leaks(labelled(of, model), made.plan, model.split, True, chip_side_m=120)
    wide = model.model_copy(update={"split": model.split.model_copy(update={"block_m": 480.0, "folds": 3})})
    assert planned_and_audited(of, wide, FEATURES, (), "EPSG:32647", True, chip_side_m=120).plan.split.buffer_m > 169


def answers(made: HonestTraining) -> Answers:
    n = int(made.plan.split.test_rows(made.plan.split.holdout).sum())
    return Answers(NAMES, np.ones(n, np.int64), np.tile([0.9, 0.1], (n, 1)))


@pytest.mark.parametrize("estimator", ["tempcnn", "chips", "unet"])
@pytest.mark.parametrize("folds", [3, 4])
def test_a_network_is_applicable_where_it_learned_and_not_where_it_was_told_to_stop(estimator: str, folds: int) -> None:
    model, found = recipe({estimator: {}}, folds), samples()
    split = planned(model, found).plan.split
    validation = split.test_rows(VALIDATION_FOLD)
    found.table.loc[validation, "red"] += 50
    _, files = with_honest_numbers(planned(model, found), model, answers(planned(model, found)), {})
    area = applicability_from_bytes(files["applicability.npz"], "here")
    assert len(area.points) == network_rows(split).sum() > 50
    assert not area.is_inside(area.dissimilarity(found.features[validation].T)).any()
    blocks = layer(files["split.parquet"])
    assert blocks["trained_on"].sum() == len(area.points)
    assert blocks["trained_on"][blocks["fold"] == VALIDATION_FOLD].sum() == 0


def overlapping(shift: int = 0) -> Samples:
    """The same with the outliers that a self-organizing map tells, or of other ground."""
    found = samples(4 + shift)
    spec = OutliersSpec(method="som")
    code = found.column("code").astype(np.uint8)
    return replace(found, table=found.table.assign(is_outlier=outliers(found.features, code, spec, 1)))


def test_the_hold_out_says_of_overlapping_classes_what_other_ground_says() -> None:
    model, found = recipe({"random_forest": {"trees": 40, "min_leaf": 5}}), overlapping()
    made = planned(model, found)
    split, is_outlier = made.plan.split, found.column("is_outlier").astype(bool)
    learned, metrics = learn(CPU, found, split, model, 1)
    elsewhere = overlapping(1)
    right = predicted(learned, elsewhere, np.ones(SIDE**2, np.bool_)) == elsewhere.column("code")
    assert is_outlier.mean() > 0.1
    assert metrics["holdout"]["pixels"] == split.test_rows(split.holdout).sum()
    assert metrics["holdout"]["overall"] == pytest.approx(right.mean(), abs=0.06)
    assert metrics["folds_mean"] == pytest.approx(right.mean(), abs=0.06)
    assert not any((split.train_rows(fold) & is_outlier).any() for fold in range(split.folds))
    assert not (network_rows(split) & is_outlier).any()
    assert sum(metrics["trained_on"].values()) == (split.train_rows(split.holdout)).sum()
    inner = inner_split(split, found.column("code").astype(np.int64), 3, 1)
    assert not (inner.train_rows(0) & is_outlier).any() and (inner.test_rows(0) & is_outlier).any()


def test_no_model_of_other_sites_has_learned_from_an_outlier() -> None:
    found = overlapping()
    found.table["y"] += np.where(found.table["y"] > 500_600, 50_000, 0)
    model = recipe({"random_forest": {"trees": 5}})
    made, seen = planned(model, found), list[int]()

    def fit_predict(train: NDArray[np.bool_], asked: NDArray[np.bool_]) -> NDArray[np.int64]:
        seen.append(int((train & found.column("is_outlier").astype(bool)).sum()))
        return np.ones(asked.sum(), np.int64)

    with_honest_numbers(made, model, replace(answers(made), fit_predict=fit_predict), {})
    assert seen == [0, 0]


def test_a_model_of_single_pixels_is_applicable_in_all_blocks_but_the_hold_out() -> None:
    model, found = recipe({"random_forest": {}}), samples()
    made = planned(model, found)
    _, files = with_honest_numbers(made, model, answers(made), {})
    n_trained = made.plan.split.train_rows(made.plan.split.holdout).sum()
    assert len(applicability_from_bytes(files["applicability.npz"], "here").points) == n_trained
    assert layer(files["split.parquet"])["trained_on"].sum() == n_trained


def layer(content: bytes) -> geopandas.GeoDataFrame:
    return geopandas.read_parquet(io.BytesIO(content))
