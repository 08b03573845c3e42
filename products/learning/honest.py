"""What a card says beside the scores of the hold-out: intervals, calibration, sites, edges, leaks, and where the model is applicable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from products.learning.applicability import Applicability, applicability, drawn_points
from products.learning.calibration import calibration
from products.learning.leaks import (
    Leak,
    duplicate_spectra,
    label_derived,
    overlapping_chips,
    refuse_leaks,
    same_location,
    touched,
    within_distance,
)
from products.learning.split_plan import SplitPlan
from products.learning.split_spec import SplitSpec
from products.learning.splits import BlockSplit
from products.learning.spread import (
    FitPredict,
    agreement_by_distance,
    bootstrap_intervals,
    distance_to_other_class,
    leave_one_site_out,
)

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """All samples: class codes 1 …, periods (numbers), features (n, feature) and the names of these and of the classes."""

    code: Int64
    period: Int64
    features: npt.NDArray[np.float32]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]


def audit_leaks(
    labelled: Labelled, plan: SplitPlan, spec: SplitSpec, simulated: bool, chip_side_m: float = 0.0
) -> list[dict[str, Any]]:
    """What was found and accepted, for the card; RequestError for any leak that is not accepted. Every fold is audited as the hold-out is.

    A row may stand for a chip of `chip_side_m` about its place.
    """
    split, found = plan.split, list[Leak]()
    for fold in range(split.folds):
        train, test = split.train_rows(fold), split.test_rows(fold)
        found += same_location(split.x, split.y, train, test)
        found += within_distance(split.x, split.y, train, test, split.buffer_m)
        found += overlapping_chips(split.x, split.y, train, test, chip_side_m)
        found += duplicate_spectra(labelled.features, train, test, spec.accept)
    train, test = split.train_rows(split.holdout), split.test_rows(split.holdout)
    found += label_derived(
        labelled.feature_names, labelled.features, labelled.code, train, test, spec.accept, simulated
    )
    seen = np.logical_or.reduce([split.test_rows(fold) | split.train_rows(fold) for fold in range(split.holdout)])
    found += touched(seen, test)
    refuse_leaks(found)
    return [leak.document() for leak in found]


def honest_numbers(
    labelled: Labelled, plan: SplitPlan, predicted: Int64, probability: Float64, resolution_m: float, seed: int,
    fit_predict: FitPredict | None,
) -> dict[str, Any]:  # fmt: skip
    """Of the codes (n,) and probabilities (n, class) predicted for the hold-out; `fit_predict` learns anew for each site left out, where a model can."""
    split, code, names = plan.split, labelled.code, labelled.class_names
    test = split.test_rows(split.holdout)
    distance = np.full(code.shape, np.inf)
    for period in np.unique(labelled.period):
        rows = labelled.period == period
        distance[rows] = distance_to_other_class(split.x[rows], split.y[rows], code[rows])
    return {
        "split": plan.document(),
        "calibration": calibration(probability, code[test], names),
        "intervals": bootstrap_intervals(code[test], predicted, split.block[test], names, seed),
        "by_edge_distance": agreement_by_distance(predicted == code[test], distance[test], resolution_m),
        "by_site": leave_one_site_out(fit_predict, split, plan.site, code, plan.site_names, names),
    }


def model_applicability(
    labelled: Labelled, split: BlockSplit, learned: npt.NDArray[np.bool_], importance: Mapping[str, float], seed: int
) -> Applicability:
    """The area of applicability of the rows (n,) that the model has learned from, its threshold from the folds; from the blocks where they are of one fold."""
    fold = split.fold if np.unique(split.fold[learned]).size > 1 else split.block
    rows = np.flatnonzero(learned)
    rows = rows[drawn_points(rows.size, seed)]  # of which no more are drawn
    return applicability(labelled.feature_names, labelled.features[rows], fold[rows], importance, seed)
