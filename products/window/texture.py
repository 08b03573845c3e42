"""Texture by grey-level co-occurrence (GLCM), for any array library: window means of functions of neighbouring pixels.

The matrix of a pixel counts the pairs of 8-neighbours (distance 1, the four directions pooled, each pair both ways: symmetric) of
which both lie in the window and neither is missing. Grey levels are integers, so every sum is exact: any crop with a halo of
window_px // 2 gives the same bits, so does every array library, and turning or transposing the image turns or transposes the result.

Measures and their names: Haralick, Shanmugam and Dinstein 1973 (IEEE Trans. SMC 3, 610-621), as in Hall-Beyer 2007, GLCM Texture: A
Tutorial, and `skimage.feature.graycoprops`. Unit: grey levels (mean, dissimilarity), their square (contrast, variance), nats (entropy),
else 1. Tolerance against the float64 reference: 1e-6 relative, for homogeneity 8e-6 absolute (its terms are integers of 16 bits or more).
"""

from collections.abc import Mapping, Sequence

from products.window.pair_histogram import FIXED_POINT, pair_histogram_sums
from products.window.pair_sums import inverse_bits, pair_sums
from products.window.sliding import Array, array_namespace, check_halo, in_row_strips

MEASURES = ("contrast", "dissimilarity", "homogeneity", "mean", "variance", "correlation", "asm", "energy", "entropy")
HISTOGRAM_MEASURES = frozenset({"asm", "energy", "entropy"})
MAX_WINDOW_PX = 63  # the largest whose sums of 256 levels fit in int32
MAX_LEVELS = 256
_NEEDS = {
    "contrast": ("square",), "dissimilarity": ("absolute",), "homogeneity": ("inverse",), "mean": ("total",),
    "variance": ("total", "squares"), "correlation": ("total", "squares", "square"),
}  # fmt: skip


def texture(
    values: Array, measures: Sequence[str], window_px: int, low: float, high: float, levels: int = 32
) -> dict[str, Array]:
    """float32 (y, x) by measure, of values (y + 2 halo, x + 2 halo) with NaN as missing and a halo of window_px // 2.

    The range low to high is cut into `levels` grey levels of equal width; values outside it count as the first or the last.
    NaN where the window has no pair; the correlation of a window of one grey level is 1.
    """
    _check(values, measures, window_px, low, high, levels)
    return in_row_strips(values, window_px // 2, lambda strip: _strip(strip, measures, window_px, low, high, levels))


def grey_levels(values: Array, low: float, high: float, levels: int) -> Array:
    """int32 (y, x): the grey level, 0 to levels - 1, of values (y, x); -1 where they are NaN."""
    xp = array_namespace(values)
    missing = xp.isnan(values)
    scaled = xp.floor((xp.astype(values, xp.float64) - low) * (levels / (high - low)))
    scaled = xp.clip(xp.where(missing, xp.zeros_like(scaled), scaled), 0.0, float(levels - 1))
    return xp.where(missing, xp.asarray(-1, dtype=xp.int32), xp.astype(scaled, xp.int32))


def _strip(
    values: Array, measures: Sequence[str], window_px: int, low: float, high: float, levels: int
) -> dict[str, Array]:
    xp = array_namespace(values)
    grey = grey_levels(values, low, high, levels)
    sums = pair_sums(grey, window_px, sorted({"pairs"}.union(*(_NEEDS.get(measure, ()) for measure in measures))))
    if HISTOGRAM_MEASURES & set(measures):
        sums["asm"], sums["entropy"] = pair_histogram_sums(grey, window_px, levels)
    doubles = {name: xp.astype(each, xp.float64) for name, each in sums.items()}
    missing = sums["pairs"] == 0
    pairs = xp.where(missing, xp.ones_like(doubles["pairs"]), doubles["pairs"])
    nan = xp.asarray(xp.nan, dtype=xp.float32)
    return {
        measure: xp.where(missing, nan, xp.astype(_measure(measure, doubles, pairs, window_px), xp.float32))
        for measure in measures
    }


def _check(values: Array, measures: Sequence[str], window_px: int, low: float, high: float, levels: int) -> None:
    unknown = [measure for measure in measures if measure not in MEASURES]
    if unknown or not measures:
        raise ValueError(
            f"unknown texture measure {', '.join(unknown) or 'none'}: expected some of {', '.join(MEASURES)}"
        )
    if not (3 <= window_px <= MAX_WINDOW_PX and window_px % 2 == 1):
        raise ValueError(f"expected an odd window of 3 to {MAX_WINDOW_PX} pixels, got {window_px}")
    if not 2 <= levels <= MAX_LEVELS:
        raise ValueError(f"expected 2 to {MAX_LEVELS} grey levels, got {levels}")
    if not low < high:
        raise ValueError(f"expected a range of values from low to high, got {low} to {high}")
    check_halo(values.shape, window_px // 2)


def _measure(measure: str, sums: Mapping[str, Array], pairs: Array, window_px: int) -> Array:
    """float64 (y, x): a measure from the sums over the pairs of each window; every intermediate integer is exact in float64."""
    xp = array_namespace(pairs)
    if measure == "contrast":
        return sums["square"] / pairs
    if measure == "dissimilarity":
        return sums["absolute"] / pairs
    if measure == "homogeneity":
        return sums["inverse"] / pairs / 2.0 ** inverse_bits(window_px)
    if measure == "mean":
        return sums["total"] / (2.0 * pairs)
    if measure == "asm":
        return sums["asm"] / (4.0 * pairs * pairs)
    if measure == "energy":
        return xp.sqrt(sums["asm"]) / (2.0 * pairs)
    if measure == "entropy":
        entropy = xp.log(2.0 * pairs) - sums["entropy"] / (2.0 * FIXED_POINT * pairs)
        return xp.maximum(entropy, xp.zeros_like(entropy))
    spread = 2.0 * pairs * sums["squares"] - sums["total"] * sums["total"]
    if measure == "variance":
        return spread / (4.0 * pairs * pairs)
    flat = spread == 0
    return xp.where(
        flat, xp.ones_like(spread), 1.0 - 2.0 * pairs * sums["square"] / xp.where(flat, xp.ones_like(spread), spread)
    )
