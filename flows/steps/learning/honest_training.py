"""What training adds to keep its numbers honest: the planned split, the audit, the scores beside the scores, and the area of applicability."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.steps.learning.model_files import APPLICABILITY
from flows.steps.learning.split_layer import named_sites, split_layer
from flows.steps.pictures.calibration import calibration_picture
from products.devices import Backend
from products.errors import RequestError
from products.learning.estimators import classified, fit_rows, predicted
from products.learning.honest import Labelled, audit_leaks, honest_numbers, model_applicability
from products.learning.learned import PixelModel
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.split_plan import HeldRows, SplitPlan, plan_split
from products.learning.split_spec import SplitSpec
from products.learning.spread import FitPredict
from products.learning.training_ground import network_rows
from products.period import Period, parse_period
from products.scene_recipe import SceneRecipe


@dataclass(frozen=True, slots=True)
class HonestTraining:
    """Samples with their planned split, audited."""

    samples: Samples
    plan: SplitPlan
    leaks: list[dict[str, Any]]
    crs: str
    resolution_m: float


def planned_and_audited(
    samples: Samples, recipe: ModelRecipe, features: SceneRecipe, cells: Sequence[Period], crs: str, simulated: bool,
    chip_side_m: float = 0.0,
) -> HonestTraining:  # fmt: skip
    """The split that recipe, receptive field and autocorrelation ask for; RequestError if the test would know its answers.

    `cells` are the times of the cells that the samples are of. A row may stand for a chip of `chip_side_m`: two of them share no ground where their
    centres are a diagonal apart.
    """
    spec, known = recipe.split, labelled(samples, recipe)
    x, y = samples.column("x").astype(np.float64), samples.column("y").astype(np.float64)
    held = _held_rows(known.period, cells, features, spec) if spec.holdout_periods else None
    sites = named_sites(spec.sites, x, y, crs) if spec.sites else None
    resolution_m = features.grid.resolution_m
    receptive_m = features.margin_px * resolution_m + chip_side_m * math.sqrt(2)
    plan = plan_split(x, y, known.code, known.features, held, spec, receptive_m, recipe.seed, sites, samples.is_outlier)
    leaks = audit_leaks(known, plan, spec, simulated, chip_side_m)
    return HonestTraining(samples, plan, leaks, crs, resolution_m)


def _held_rows(started: NDArray[np.int64], cells: Sequence[Period], features: SceneRecipe, spec: SplitSpec) -> HeldRows:
    """Which rows, known by the day on which their cell starts, are of held-out periods, or show them; RequestError if none is of one."""
    held = [parse_period(text) for text in spec.holdout_periods]
    late = [cell for cell in cells if any(span.contains(features.step_of(cell).start) for span in held)]
    shown = [cell for cell in cells if any(span.overlaps(features.seen_in(cell)) for span in held)]
    is_late, is_shown = (np.isin(started, [cell.start.toordinal() for cell in of]) for of in (late, shown))
    if not is_late.any():
        raise RequestError(
            f"no sample lies in the holdout_periods {', '.join(spec.holdout_periods)}: train on a period that holds them"
        )
    return HeldRows(is_late, is_shown)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model of some features says of the hold-out: codes (n,), probabilities (n, class); `fit_predict` learns another like it, where cheap."""

    feature_names: tuple[str, ...]
    codes: NDArray[np.int64]
    probability: NDArray[np.float64]
    fit_predict: FitPredict | None = None


def answers_of(model: PixelModel, made: HonestTraining, recipe: ModelRecipe, backend: Backend, n_jobs: int) -> Answers:
    """Those of a model of single pixels."""
    used, split = replace(made.samples, feature_names=model.feature_names), made.plan.split

    def fit_predict(train: NDArray[np.bool_], asked: NDArray[np.bool_]) -> NDArray[np.int64]:
        return predicted(fit_rows(backend, used, train, recipe, n_jobs), used, asked)

    codes, percent = classified(model, used.features, split.test_rows(split.holdout))
    probability = percent.T / np.maximum(percent.sum(axis=0, dtype=np.float64), 1.0)[:, None]
    return Answers(model.feature_names, codes.astype(np.int64), probability, fit_predict)


def with_honest_numbers(
    made: HonestTraining, recipe: ModelRecipe, answers: Answers, metrics: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The metrics with what keeps them honest; and the files beside the model: split, calibration, applicability."""
    split, known = made.plan.split, labelled(replace(made.samples, feature_names=answers.feature_names), recipe)
    test = split.test_rows(split.holdout)
    numbers = honest_numbers(
        known, made.plan, answers.codes, answers.probability, made.resolution_m, recipe.seed, answers.fit_predict
    )
    learned = network_rows(split) if recipe.is_network else split.train_rows(split.holdout)
    area = model_applicability(known, split, learned, _importance(metrics, answers.feature_names), recipe.seed)
    inside = area.is_inside(area.dissimilarity(known.features[test].T))
    said = {
        "threshold": float(area.threshold[0]),
        "points": len(area.points),
        "holdout_inside": round(float(inside.mean()), 6),
        "digest": area.digest(),
    }
    files = {
        APPLICABILITY: area.to_bytes(),
        "split.parquet": split_layer(split, learned, made.crs),
        "calibration.png": calibration_picture(numbers["calibration"]),
    }
    return {**metrics, **numbers, "leaks": made.leaks, "applicability": said}, files


def _importance(metrics: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """What each feature counts in the area of applicability: its importance to a forest, else what shuffling it costs, else the same for each."""
    if "importance" in metrics:
        return dict(metrics["importance"])
    lost = {name: float(each["mean"]) for name, each in metrics.get("permutation", {}).get("lost", {}).items()}
    return lost if any(value > 0 for value in lost.values()) else dict.fromkeys(names, 1.0)


def labelled(samples: Samples, recipe: ModelRecipe) -> Labelled:
    """The samples on the host."""
    return Labelled(
        samples.column("code").astype(np.int64),
        samples.column("period").astype(np.int64),
        samples.features,
        samples.feature_names,
        recipe.class_names,
    )
