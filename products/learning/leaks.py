"""What would let a test know its answers: audited on the samples themselves, before anything is learned."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from products.errors import RequestError

Bools = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
TOO_GOOD = 0.999
MOST_DUPLICATES = 0.01
MOST_ROWS = 20_000
ROWS_AT_ONCE = 65_536  # of training, compared at once
FNV_PRIME = np.uint64(0x100000001B3)
DUPLICATES = "duplicate_spectra"


@dataclass(frozen=True, slots=True)
class Leak:
    """One way in which a test knows its answers: what was found and what to do; `is_accepted` where recipe or simulated data allow it."""

    kind: str
    what: str
    do: str
    is_accepted: bool = False

    def document(self) -> dict[str, Any]:
        """As the card stores it."""
        return {"kind": self.kind, "what": self.what, "accepted": self.is_accepted}


def same_location(x: Float64, y: Float64, train: Bools, test: Bools) -> list[Leak]:
    """Tested pixels that are trained on too, at whatever time."""
    place = np.round(np.column_stack([x, y]), 2)
    shared = _shared(place, train, test)
    return (
        [Leak("same_location", f"{shared} of {test.sum()} tested pixels are trained on too", "split by blocks")]
        if shared
        else []
    )


def within_distance(x: Float64, y: Float64, train: Bools, test: Bools, buffer_m: float) -> list[Leak]:
    """Tested pixels nearer than the buffer to a training pixel."""
    if not (train.any() and test.any() and buffer_m > 0):
        return []
    place = np.column_stack([x, y])
    gap, _ = KDTree(place[train]).query(place[test], distance_upper_bound=buffer_m * (1 - 1e-9))
    near = int(np.isfinite(gap).sum())
    return (
        [
            Leak(
                "within_buffer",
                f"{near} of {test.sum()} tested pixels lie nearer than {buffer_m:g} m to training",
                "widen buffer_m",
            )
        ]
        if near
        else []
    )


def overlapping_chips(x: Float64, y: Float64, train: Bools, test: Bools, side_m: float) -> list[Leak]:
    """Tested chips, squares of `side_m` with centres x, y, that share ground with a training chip."""
    if not (train.any() and test.any() and side_m > 0):
        return []
    place = np.column_stack([x, y])
    gap, _ = KDTree(place[train]).query(place[test], p=np.inf, distance_upper_bound=side_m * (1 - 1e-9))
    n = int(np.isfinite(gap).sum())
    do = f"set buffer_m to {math.ceil(side_m * math.sqrt(2))} or more, the diagonal of a chip"
    return (
        [Leak("overlapping_chips", f"{n} of {test.sum()} tested chips share pixels with training chips", do)]
        if n
        else []
    )


def duplicate_spectra(features: Float32, train: Bools, test: Bools, accepted: Collection[str] = ()) -> list[Leak]:
    """Tested rows whose features are, to the bit, those of a training row: a copied scene or sample, if they are over 1 %."""
    shared = _shared(features, train, test)
    if shared <= MOST_DUPLICATES * test.sum():
        return []
    what = f"{shared} of {test.sum()} tested rows have the features of a training row to the bit"
    do = f"remove copied samples, or, if values are so coarse, name {DUPLICATES} in split.accept"
    return [Leak(DUPLICATES, what, do, DUPLICATES in accepted)]


def label_derived(
    names: Sequence[str], features: Float32, code: Int64, train: Bools, test: Bools,
    accepted: Collection[str] = (), is_simulated: bool = False,
) -> list[Leak]:  # fmt: skip
    """Features that hold the label: constant in each class, or alone telling tested classes apart with a balanced agreement of 0.999 or more.

    Perfect separation by one feature is accepted on simulated data, whose classes are made apart; a constant feature is not.
    """
    found = []
    for n, name in enumerate(names):
        do = f"leave the feature {name} out if it was made from the labels; if it was not, name it in split.accept"
        if _constant_by_class(features[:, n], code):
            found.append(Leak("label_derived", f"{name} has one value in each class", do, name in accepted))
            continue
        share = _alone(features[:, n], code, train, test)
        if share >= TOO_GOOD:
            is_fine = name in accepted or is_simulated
            found.append(
                Leak(
                    "label_derived",
                    f"{name} alone tells the classes apart ({share:.4f} balanced agreement)",
                    do,
                    is_fine,
                )
            )
    return found


def touched(seen: Bools, test: Bools) -> list[Leak]:
    """Rows of the hold-out that a choice, as selection, scaling or tuning, has looked at."""
    n = int((seen & test).sum())
    return (
        [Leak("holdout_touched", f"{n} rows of the hold-out were looked at before the test", "choose on folds only")]
        if n
        else []
    )


def refuse_leaks(found: Sequence[Leak]) -> None:
    """RequestError that names each leak that is not accepted and what to do."""
    open_ = [leak for leak in found if not leak.is_accepted]
    if open_:
        raise RequestError("the test would know its answers: " + "; ".join(f"{leak.what}: {leak.do}" for leak in open_))


def _shared(values: npt.NDArray[Any], train: Bools, test: Bools) -> int:
    """Tested rows of values (n, column) that are training rows: equal rows are of one part, and parts are compared one by one, so that few are copied."""
    n_parts = -(-int(train.sum()) // ROWS_AT_ONCE)
    part = (_hashes(values) >> np.uint64(32)) % np.uint64(max(n_parts, 1))
    return sum(_shared_by(values[train & (part == n)], values[test & (part == n)]) for n in range(n_parts))


def _hashes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A number (n,) for each row, the same for rows that are equal (FNV-1a: Fowler, Noll and Vo); its upper half depends on all bits of the row."""
    found = np.full(len(values), 0xCBF29CE484222325, np.uint64)
    for column in values.T:
        found ^= (column + 0).view(f"u{values.dtype.itemsize}")
        found *= FNV_PRIME
    return found


def _shared_by(train: npt.NDArray[Any], test: npt.NDArray[Any]) -> int:
    """Rows of `test` that are rows of `train`."""
    width = np.dtype((np.void, train.dtype.itemsize * train.shape[1]))
    keys = [np.ascontiguousarray(rows + 0).view(width).ravel() for rows in (train, test)]  # + 0 makes -0 to 0
    return int(np.isin(keys[1], np.unique(keys[0])).sum())


def _constant_by_class(values: Float32, code: Int64) -> bool:
    """Whether each class has one value, not the same in all: a class of one row proves nothing."""
    classes, counts = np.unique(code, return_counts=True)
    if classes.size < 2 or counts.min() < 2:
        return False
    parts = [values[code == number] for number in classes]
    return all(np.ptp(part) == 0 for part in parts) and len({float(part[0]) for part in parts}) > 1


def _alone(values: Float32, code: Int64, train: Bools, test: Bools) -> float:
    """Balanced agreement on tested rows of a small tree that sees one feature."""
    from sklearn.tree import DecisionTreeClassifier

    rows, asked = np.flatnonzero(train)[:: max(1, int(train.sum()) // MOST_ROWS)], np.flatnonzero(test)
    tree = DecisionTreeClassifier(max_leaf_nodes=2 * int(np.unique(code).size), random_state=0)
    tree.fit(values[rows, None], code[rows])
    if np.unique(code[asked]).size < 2:
        return 0.0
    predicted = tree.predict(values[asked, None])
    return float(np.mean([(predicted[code[asked] == number] == number).mean() for number in np.unique(code[asked])]))
