"""Which split the samples get: its buffer from receptive field and autocorrelation, held-out periods, and sites."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from products.errors import RequestError
from products.learning.split_spec import SplitSpec
from products.learning.splits import BlockSplit, split_blocks
from products.learning.variogram import (
    LEAST_LAGS,
    LEAST_PAIRS,
    Variogram,
    about_class_means,
    drawn_points,
    estimate_variogram,
)

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
NOT_USED = -1
SPARSE = 4  # where samples lie farther apart than blocks, this many of their spacings are one site to the variogram
HELD_OUT_VERSION = "held-out-2"  # raised whenever the same held-out periods hold out other rows


@dataclass(frozen=True, slots=True)
class HeldRows:
    """Of each row (n,): whether it is of a held-out period, and whether what it shows was seen in one, in whole or in part."""

    is_late: npt.NDArray[np.bool_]
    is_shown: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """A split, the site of each row (n,), and how its buffer came about."""

    split: BlockSplit
    site: Int64
    site_names: tuple[str, ...]
    variogram: Variogram
    receptive_m: float
    decision: str

    def document(self) -> dict[str, Any]:
        """As the card stores it."""
        return {
            "block_m": self.split.block_m,
            "buffer_m": self.split.buffer_m,
            "receptive_m": self.receptive_m,
            "decision": self.decision,
            "sites": list(self.site_names),
            "variogram": self.variogram.document(),
        }


def plan_split(
    x: Float64, y: Float64, code: Int64, features: npt.NDArray[np.float32], held: HeldRows | None,
    spec: SplitSpec, receptive_m: float, seed: int, sites: tuple[Int64, tuple[str, ...]] | None = None,
    is_outlier: npt.NDArray[np.bool_] | None = None,
) -> SplitPlan:  # fmt: skip
    """Blocks with a buffer of at least the receptive field, and where the recipe says `auto` of at least the range of the variogram.

    With `held` the hold-out is its late rows in the held-out blocks, and neither another row of these blocks nor one that shows a held-out period is
    used (leave location and time out, Meyer et al. 2018, Environmental Modelling & Software 101, 1-9).
    """
    near, _ = connected_sites(x, y, max(spec.block_m, SPARSE * _spacing(x, y)))
    rows = drawn_points(x.size, seed)
    found = estimate_variogram(x, y, about_class_means(features, code, rows), rows, near)
    buffer_m, decision = decide_buffer(spec, receptive_m, found)
    split = split_blocks(x, y, code, spec.block_m, spec.folds, buffer_m, seed, is_outlier)
    if held:
        split = _late_holdout(split, held, code)
    site, names = sites or connected_sites(x, y, spec.block_m)
    return SplitPlan(split, site, names, found, receptive_m, decision)


def decide_buffer(spec: SplitSpec, receptive_m: float, found: Variogram) -> tuple[float, str]:
    """The buffer in metres, and in words why; RequestError if blocks are too small for it."""
    if found.range_m is None:
        buffer_m, words = _unmeasured_buffer(spec, receptive_m, found)
    else:
        buffer_m, words = _measured_buffer(spec, receptive_m, found.range_m, found.is_bounded)
    if 2 * buffer_m >= spec.block_m:
        alike = "not known" if found.range_m is None else f"{found.range_m:.0f} m"
        raise RequestError(
            f"expected blocks wider than twice the buffer of {buffer_m:.0f} m (receptive field {receptive_m:.0f} m, autocorrelation "
            f"{alike}), got block_m {spec.block_m:g}: set block_m to {np.ceil(2.5 * buffer_m / 10) * 10:.0f} or more"
        )
    return buffer_m, words


def _measured_buffer(spec: SplitSpec, receptive_m: float, range_m: float, is_bounded: bool) -> tuple[float, str]:
    seen = f"The variogram of the features about their class means has a range of {'' if is_bounded else 'at least '}{range_m:.0f} m"
    if spec.buffer_m == "auto":
        words = f"{seen}, the receptive field is {receptive_m:.0f} m: the buffer is the larger one."
        return max(receptive_m, range_m), words
    buffer_m, wide = _given_buffer(float(spec.buffer_m), receptive_m)
    enough = "it is within the buffer" if range_m <= buffer_m else (
        "MORE THAN THE BUFFER: tested pixels are like training pixels beyond it, and the scores flatter; set buffer_m to auto, or higher"
    )  # fmt: skip
    return buffer_m, f"{seen}, the buffer is {buffer_m:.0f} m{wide}: {enough}."


def _unmeasured_buffer(spec: SplitSpec, receptive_m: float, found: Variogram) -> tuple[float, str]:
    seen = (
        f"could not be measured: of samples of one site, in blocks that touch, {found.lag_m.size} distances have {LEAST_PAIRS} pairs "
        f"or more, and {LEAST_LAGS} are needed"
    )
    if spec.buffer_m == "auto":
        raise RequestError(
            f"buffer_m: auto is as far as the features are alike, which {seen}: give buffer_m in metres, or label more ground at each site"
        )
    buffer_m, wide = _given_buffer(float(spec.buffer_m), receptive_m)
    words = f"How far the features are alike {seen}. The buffer is {buffer_m:.0f} m{wide}; whether that is enough is NOT KNOWN."
    return buffer_m, words


def _given_buffer(asked_m: float, receptive_m: float) -> tuple[float, str]:
    if receptive_m <= asked_m:
        return asked_m, ""
    return receptive_m, f" (buffer_m {asked_m:g} m, widened to the receptive field)"


def _spacing(x: Float64, y: Float64) -> float:
    """The median distance of a place to the next, metres; 0 of one place."""
    places = np.unique(np.column_stack([x, y]), axis=0)
    return float(np.median(KDTree(places).query(places, k=2)[0][:, 1])) if len(places) > 1 else 0.0


def connected_sites(x: Float64, y: Float64, block_m: float) -> tuple[Int64, tuple[str, ...]]:
    """The site of each row, (n,) int64, and the sites' names: blocks with samples that touch, also by a corner, are one; numbered from the north-west."""
    cell = np.column_stack([np.floor(x / block_m), np.floor(y / block_m)]).astype(np.int64)
    blocks, position = np.unique(cell, axis=0, return_inverse=True)
    place = {(int(column), int(row)): n for n, (column, row) in enumerate(blocks)}
    steps = [(0, 1), (1, -1), (1, 0), (1, 1)]
    links = [(n, place[c + i, r + j]) for (c, r), n in place.items() for i, j in steps if (c + i, r + j) in place]
    ends = np.array(links, np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(place), len(place)))
    n_sites, site = connected_components(graph, directed=False)
    return site[position.ravel()].astype(np.int64), tuple(f"site {n + 1}" for n in range(n_sites))


def _late_holdout(split: BlockSplit, held: HeldRows, code: Int64) -> BlockSplit:
    is_used = np.where(split.fold == split.holdout, held.is_late, ~held.is_shown)
    fold = np.where(is_used, split.fold, NOT_USED)
    if not (fold == split.holdout).any():
        raise RequestError(
            "no sample of the held-out periods lies in the held-out blocks: expected labels there; name other holdout_periods"
        )
    late = replace(split, fold=fold)
    lost = sorted(set(np.unique(code).tolist()) - set(np.unique(code[late.train_rows(late.holdout)]).tolist()))
    if lost:
        raise RequestError(
            f"the class of code {lost[0]} has samples only in cells that show held-out periods: expected some of each class in other cells"
        )
    for each in range(late.holdout):
        if not late.test_rows(each).any():
            raise RequestError(
                f"fold {each + 1} of {late.folds} has samples only in cells that show held-out periods: expected some in other cells; "
                "lower folds or block_m, hold out fewer periods, or train on a longer one"
            )
    return late
