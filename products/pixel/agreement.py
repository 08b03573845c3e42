"""How far sensors agree: exact sums over the pixels that two scenes of one day both show clear, in integers, in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numba
import numpy as np
from numpy.typing import NDArray

from products.pixel.causes import Cause
from products.pixel.rows import in_row_tasks
from products.scene import Scene

SENSOR_ORDER = ("tm", "etm", "msi", "oli")  # of a pair, the difference is the first less the second
SAME_DAY = timedelta(
    hours=12
)  # all pass in the local morning: passes of one solar day are nearer than this, those of two are farther
N, A, B, AA, BB, AB = range(6)
Integers = NDArray[np.int64]
Terms = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClearSums:
    """Of the observations of a piece of ground: used pixels, int64 (scene,), and of each pair of scenes and band the sums n, a, b, a*a, b*b, a*b of DN.

    `moments` is int64 (pair, band, 6). Sums of pieces add up to those of the whole, in any order.
    """

    used: Integers
    pairs: tuple[tuple[int, int], ...]
    moments: Integers

    def __add__(self, other: "ClearSums") -> "ClearSums":
        return ClearSums(self.used + other.used, self.pairs, self.moments + other.moments)


@dataclass(frozen=True, slots=True)
class Difference:
    """Of n pairs of observations the mean difference and its root mean square, reflectance."""

    n: int
    bias: float
    rmsd: float


def same_day_pairs(scenes: Sequence[Scene]) -> tuple[tuple[int, int], ...]:
    """The numbers of each two scenes of different sensors that were sensed on one solar day, in the order of SENSOR_ORDER."""
    return tuple(
        (first, second)
        for first, one in enumerate(scenes)
        for second, other in enumerate(scenes)
        if SENSOR_ORDER.index(one.sensor) < SENSOR_ORDER.index(other.sensor)
        and abs(one.acquired - other.acquired) < SAME_DAY
    )


@numba.njit(nogil=True, cache=True)
def _count_used(causes: NDArray[np.uint8], first_row: int, last_row: int, margin: int, used: Integers) -> None:
    for scene in range(causes.shape[0]):
        n = 0
        for y in range(first_row, last_row):
            for cause in causes[scene, y, margin : causes.shape[2] - margin]:
                n += cause == 0
        used[scene] += n


@numba.njit(nogil=True, cache=True)
def _add_moments(
    block: NDArray[np.uint16], causes: NDArray[np.uint8], first: int, second: int, first_row: int, last_row: int,
    margin: int, moments: Integers,
) -> None:  # fmt: skip
    """Add the sums of rows first_row to last_row of two scenes to moments (band, 6)."""
    width = causes.shape[2]
    for y in range(first_row, last_row):
        is_clear = (causes[first, y] | causes[second, y]) == 0
        for band in range(block.shape[0]):
            here, there = block[band, first, y], block[band, second, y]
            n = a = b = aa = bb = ab = np.int64(0)
            for x in range(margin, width - margin):
                clear = np.int64(is_clear[x])
                one, other = np.int64(here[x]) * clear, np.int64(there[x]) * clear
                n += clear
                a += one
                b += other
                aa += one * one
                bb += other * other
                ab += one * other
            sums = moments[band]
            sums[0] += n
            sums[1] += a
            sums[2] += b
            sums[3] += aa
            sums[4] += bb
            sums[5] += ab


def clear_sums(
    scenes: Sequence[Scene], block: NDArray[np.uint16], causes: NDArray[np.uint8], margin_px: int, threads: int
) -> ClearSums:
    """The sums over block (band, scene, y, x) where causes (scene, y, x) are USED, without a margin on all sides."""
    assert int(Cause.USED) == 0
    pairs = same_day_pairs(scenes)

    def of_rows(first_row: int, last_row: int) -> tuple[Integers, Integers]:
        used, moments = np.zeros(len(scenes), np.int64), np.zeros((len(pairs), block.shape[0], 6), np.int64)
        rows = first_row + margin_px, last_row + margin_px
        _count_used(causes, *rows, margin_px, used)
        for number, (first, second) in enumerate(pairs):
            _add_moments(block, causes, first, second, *rows, margin_px, moments[number])
        return used, moments

    parts = in_row_tasks(of_rows, causes.shape[1] - 2 * margin_px, threads)
    used, moments = (np.sum(np.stack(each), axis=0) for each in zip(*parts, strict=True))
    return ClearSums(used, pairs, moments)


def used_by_sensor(scenes: Sequence[Scene], sums: ClearSums) -> dict[str, int]:
    """Used observations of the pixels, by the sensors that there are, in order of their names."""
    used = dict.fromkeys(sorted({scene.sensor for scene in scenes}), 0)
    for scene, n in zip(scenes, sums.used.tolist(), strict=True):
        used[scene.sensor] += n
    return used


def differences(
    scenes: Sequence[Scene], sums: ClearSums, gain: Terms, bias: Terms
) -> dict[tuple[str, str, int], Difference]:
    """By both sensors and band number, the first's reflectance less the second's; gain and bias are (scene, band), NaN for a band that is lacking."""
    found: dict[tuple[str, str, int], list[Difference]] = {}
    for (first, second), bands in zip(sums.pairs, sums.moments.tolist(), strict=True):
        for band, moments in enumerate(bands):
            terms = [float(terms[scene, band]) for scene in (first, second) for terms in (gain, bias)]
            if moments[N] and not np.isnan(terms).any():
                name = (scenes[first].sensor, scenes[second].sensor, band)
                found.setdefault(name, []).append(_difference(moments, *terms))
    return {name: _pooled(found[name]) for name in sorted(found)}


def _difference(moments: Sequence[int], gain: float, bias: float, other_gain: float, other_bias: float) -> Difference:
    """Of a * gain + bias less b * other_gain + other_bias: means and (co)variances of DN from exact sums, then the line."""
    n = moments[N]
    mean = gain * moments[A] / n + bias - other_gain * moments[B] / n - other_bias
    var_a, var_b = ((n * moments[square] - moments[one] ** 2) / n**2 for one, square in ((A, AA), (B, BB)))
    covariance = (n * moments[AB] - moments[A] * moments[B]) / n**2
    variance = gain**2 * var_a + other_gain**2 * var_b - 2 * gain * other_gain * covariance
    return Difference(n, mean, (mean**2 + max(variance, 0.0)) ** 0.5)


def _pooled(some: Sequence[Difference]) -> Difference:
    n = sum(each.n for each in some)
    squares = sum(each.n * each.rmsd**2 for each in some)
    return Difference(n, sum(each.n * each.bias for each in some) / n, (squares / n) ** 0.5)
