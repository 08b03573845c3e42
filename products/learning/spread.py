"""How scores vary: between blocks, between sites, and with the distance to another class."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from products.learning.accuracy import balanced_accuracy, cohens_kappa, confusion, scores
from products.learning.splits import BlockSplit, within_buffer

Bools = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
N_DRAWS, MOST_SITES = 1000, 20
FitPredict = Callable[[Bools, Bools], Int64]


def bootstrap_intervals(
    truth: Int64, predicted: Int64, block: Int64, class_names: Sequence[str], seed: int
) -> dict[str, Any]:
    """95 % percentile intervals of overall and balanced agreement, kappa and each F1 from 1000 draws of whole blocks with replacement.

    Pixels of a block are alike, so blocks are drawn, not pixels (Lahiri 2003, Resampling Methods for Dependent Data). One block gives no interval.
    """
    n, (blocks, position) = len(class_names), np.unique(block, return_inverse=True)
    if blocks.size < 2:
        return {
            "blocks": int(blocks.size),
            "overall": None,
            "balanced": None,
            "kappa": None,
            "f1": dict.fromkeys(class_names),
        }
    tables = np.zeros((blocks.size, n, n))
    np.add.at(tables, (position, truth - 1, predicted - 1), 1)
    times = np.random.default_rng(seed).multinomial(blocks.size, np.full(blocks.size, 1 / blocks.size), N_DRAWS)
    drawn = np.tensordot(times, tables, axes=1)
    hits = np.einsum("dii->di", drawn)
    overall = hits.sum(axis=1) / drawn.sum(axis=(1, 2))
    true, said = drawn.sum(axis=2), drawn.sum(axis=1)
    f1 = np.divide(2 * hits, true + said, out=np.full(hits.shape, np.nan), where=true > 0)
    return {
        "blocks": int(blocks.size),
        "overall": _percentiles(overall),
        "balanced": _percentiles(balanced_accuracy(drawn)),
        "kappa": _percentiles(cohens_kappa(drawn)),
        "f1": {name: _percentiles(f1[:, i]) for i, name in enumerate(class_names)},
    }


def leave_one_site_out(
    fit_predict: FitPredict | None, split: BlockSplit, site: Int64, code: Int64, site_names: Sequence[str], class_names: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    """Agreement at each site of a model that learned from the other sites only, without hold-out and buffer; mean and variance between sites.

    `fit_predict(train, test)` gives codes of the tested rows. A site whose classes the others lack is named and left out; so are
    those with the fewest samples beyond the 20 largest, each of which takes a training; one site is no comparison.
    Without `fit_predict` nothing is said of any site.
    """
    free = (split.fold >= 0) & (split.fold != split.holdout)
    largest = set(np.argsort(-np.bincount(site[free], minlength=len(site_names)), kind="stable")[:MOST_SITES].tolist())
    by_site: dict[str, Any] = {}
    for number, name in enumerate(site_names):
        test = free & (site == number)
        train = free & (site != number) & split.is_clean
        train &= ~within_buffer(split.x, split.y, np.unique(split.block[site == number]), split.block_m, split.buffer_m)
        unknown = set(np.unique(code[test]).tolist()) - set(np.unique(code[train]).tolist())
        if fit_predict is None or number not in largest or len(site_names) < 2 or not test.any() or unknown:
            by_site[name] = {"overall": None, "pixels": int(test.sum())}
            continue
        found = scores(confusion(code[test], fit_predict(train, test), len(class_names)), class_names)
        by_site[name] = {"overall": found["overall"], "pixels": found["pixels"]} | {
            "f1": {each: entry["f1"] for each, entry in found["per_class"].items()}
        }
    overall = np.array([each["overall"] for each in by_site.values() if each["overall"] is not None])
    return {
        "sites": by_site,
        "mean": round(float(overall.mean()), 6) if overall.size else None,
        "variance": round(float(overall.var(ddof=1)), 6) if overall.size > 1 else None,
        "lowest": round(float(overall.min()), 6) if overall.size else None,
    }


def distance_to_other_class(x: Float64, y: Float64, code: Int64) -> Float64:
    """Metres from each labelled pixel to the nearest one of another class, (n,); where labels are a sample, the class edge is nearer than that."""
    place = np.column_stack([x, y])
    found = np.full(x.shape, np.inf)
    for number in np.unique(code):
        own = code == number
        if not own.all():
            found[own], _ = KDTree(place[~own]).query(place[own])
    return found


def agreement_by_distance(right: Bools, distance_m: Float64, resolution_m: float) -> list[dict[str, Any]]:
    """Share that agrees within 1, 2, 4, … pixels of another class: how much of the score is easy ground far from every edge."""
    edges = resolution_m * 2.0 ** np.arange(0, 9)
    number = np.digitize(distance_m, edges * 1.5)
    rows = []
    for n in np.unique(number):
        held = number == n
        limit = round(float(edges[n] * 1.5), 3) if n < edges.size else None
        rows.append({"up_to_m": limit, "overall": round(float(right[held].mean()), 6), "pixels": int(held.sum())})
    return rows


def _percentiles(values: Float64) -> list[float] | None:
    known = values[np.isfinite(values)]
    return [round(float(each), 6) for each in np.percentile(known, (2.5, 97.5))] if known.size else None
