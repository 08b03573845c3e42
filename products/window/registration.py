"""How far an image lies from a reference of the same scene, by phase correlation, for any array library with Fourier transforms.

Kuglin and Hines 1975 (Proc. Cybernetics and Society, 163-165), smoothed, and refined by the upsampled matrix Fourier transform of
Guizar-Sicairos, Thurman and Fienup 2008 (Optics Letters 33, 156-158). Each image counts by its detail, the difference from its local
mean, under a window that is 0 where the image is NaN and fades to the rim. Tolerance: 0.02 pixels for an image without frequencies near
Nyquist's, 0.03 for a resampled one, 0.06 where both lack a third in stripes; bands of one scene agreed to 0.1. Limits: a translation only, of
at most max_shift_px, of images of MIN_SIDE_PX or more a side, with MIN_VALID_SHARE of the pixels present in both.
"""

import math
from dataclasses import dataclass

from products.window.sliding import Array, array_namespace

MIN_SIDE_PX = 64
MIN_VALID_SHARE = 0.25
# noise stays below 0.6; of 906 chips of 96 pixels that reached it under noise of 1.5 to 2.5 times their detail, 94 % erred by less than 0.25 pixels, one by 0.6
CONFIDENT = 0.8
LOCAL_MEAN_PX = 8.0  # standard deviation of the weights of the local mean
PEAK_WIDTH_PX = 1.0  # standard deviation of the smoothed peak: frequencies near Nyquist hold noise and aliases
CLIP = 2.5  # times the magnitude of BUSY: a bright roof or a missed cloud counts no more
BUSY = 0.8  # of the detail is smaller
FAINT = 0.5  # of the mean magnitude: fainter frequencies hold noise and what the window spills
FLAT = 1e-9  # detail over the largest value: what rounding makes
APART_PX = 4  # the second peak is sought at least so far from the first
STEPS = 20  # of the refinement, a pixel


@dataclass(frozen=True, slots=True)
class Shift:
    """The content of an image lies `rows` down and `columns` right of the reference's: pixels, NaN where it cannot be told.

    confidence: 1 less the second peak over the first, 0 to 1. correlation: of the two images' detail once the shift is undone, -1 to 1, NaN
    with the shift; an estimate where pixels are missing. valid_share: of the pixels, those present in both.
    """

    rows: float
    columns: float
    confidence: float
    correlation: float
    valid_share: float

    @property
    def is_confident(self) -> bool:
        """Whether the shift may be applied."""
        return self.confidence >= CONFIDENT


def measure_shift(image: Array, reference: Array, max_shift_px: int = 8) -> Shift:
    """The shift of image (y, x) against reference (y, x), both with NaN as missing, in any units."""
    _check(image, reference, max_shift_px)
    xp = array_namespace(image)
    is_valid = ~(xp.isnan(image) | xp.isnan(reference))
    share = float(xp.mean(xp.astype(is_valid, xp.float64)))
    if share < MIN_VALID_SHARE:
        return Shift(math.nan, math.nan, 0.0, math.nan, share)
    frequencies = _frequencies(xp, image.shape)
    (detail, window), (other_detail, other_window) = (_spectra(each, frequencies) for each in (image, reference))
    power = math.sqrt(_power(detail) * _power(other_detail))
    if power == 0:
        return Shift(math.nan, math.nan, 0.0, math.nan, share)
    cross, overlap = detail * xp.conj(other_detail), window * xp.conj(other_window)
    whitened = _whitened(cross, frequencies)
    surface = xp.real(xp.fft.ifftn(whitened)) * math.prod(image.shape)
    coarse = _highest_within(surface, max_shift_px)
    rows, columns = _refined(whitened, overlap, frequencies, coarse)
    peak, height, width = (
        float(_at(each, frequencies, [rows], [columns])[0, 0]) for each in (whitened, cross, overlap)
    )
    confidence = min(max(1.0 - _highest_apart(surface, coarse) / peak, 0.0), 1.0) if peak > 0 else 0.0
    full = math.sqrt(_power(window) * _power(other_window))
    correlation = min(max(height / power * full / width, -1.0), 1.0) if width > 0 else math.nan
    return Shift(rows, columns, confidence, correlation, share)


def _check(image: Array, reference: Array, max_shift_px: int) -> None:
    if image.shape != reference.shape or len(image.shape) != 2 or min(image.shape) < MIN_SIDE_PX:
        raise ValueError(
            f"expected two images (y, x) of one shape, {MIN_SIDE_PX} pixels or more a side, "
            f"got {image.shape} and {reference.shape}"
        )
    most = min(image.shape) // 4
    if not 1 <= max_shift_px <= most:
        raise ValueError(f"expected a largest shift of 1 to {most} pixels, a quarter of the image, got {max_shift_px}")


def _frequencies(xp: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """float64 (y, 1) and (1, x), cycles per pixel."""
    rows, columns = (xp.astype(xp.fft.fftfreq(side), xp.float64) for side in shape)
    return xp.reshape(rows, (-1, 1)), xp.reshape(columns, (1, -1))


def _gaussian(frequencies: tuple[Array, Array], width_px: float) -> Array:
    """float64 (y, x): the transform of a Gaussian of that standard deviation, 1 at frequency 0."""
    xp = array_namespace(frequencies[0])
    return xp.exp(-2 * (math.pi * width_px) ** 2 * (frequencies[0] ** 2 + frequencies[1] ** 2))


def _spectra(image: Array, frequencies: tuple[Array, Array]) -> tuple[Array, Array]:
    """complex128 (y, x) twice: the transforms of the windowed detail of an image, and of its window, the Hann taper where it is not NaN."""
    xp = array_namespace(image)
    is_valid = ~xp.isnan(image)
    present = xp.astype(is_valid, xp.float64)
    filled = xp.where(is_valid, xp.astype(image, xp.float64), xp.zeros_like(present))
    centred = (filled - xp.sum(filled) / xp.sum(present)) * present
    blur = _gaussian(frequencies, LOCAL_MEAN_PX)
    total, weight = (xp.real(xp.fft.ifftn(_transform(each) * blur)) for each in (centred, present))
    detail = (centred - total / xp.where(is_valid, weight, xp.ones_like(weight))) * present
    usual = _usual_magnitude(detail, float(xp.sum(present)))
    is_flat = usual <= FLAT * float(xp.max(xp.abs(filled)))
    detail = xp.zeros_like(detail) if is_flat else xp.clip(detail, -CLIP * usual, CLIP * usual)
    tapers = [
        xp.reshape(0.5 - 0.5 * xp.cos(2 * math.pi * (xp.arange(side, dtype=xp.float64) + 0.5) / side), shape)
        for side, shape in zip(image.shape, ((-1, 1), (1, -1)), strict=True)
    ]
    window = present * tapers[0] * tapers[1]
    return _transform(detail * window), _transform(window)


def _usual_magnitude(detail: Array, n_valid: float) -> float:
    """The magnitude that BUSY of the valid pixels of the detail (y, x), 0 elsewhere, stay under."""
    xp = array_namespace(detail)
    magnitudes = xp.sort(xp.reshape(xp.abs(detail), (-1,)))
    return float(magnitudes[magnitudes.shape[0] - 1 - int((1 - BUSY) * n_valid)])


def _whitened(cross: Array, frequencies: tuple[Array, Array]) -> Array:
    """complex128 (y, x): the cross power with its magnitude taken off, where it has some, and smoothed."""
    xp = array_namespace(cross)
    magnitude = xp.abs(cross)
    weights = _gaussian(frequencies, PEAK_WIDTH_PX) / (magnitude + FAINT * xp.mean(magnitude))
    return cross * weights


def _power(spectrum: Array) -> float:
    xp = array_namespace(spectrum)
    return float(xp.sum(xp.abs(spectrum) ** 2))


def _transform(values: Array) -> Array:
    xp = array_namespace(values)
    return xp.fft.fftn(xp.astype(values, xp.complex128))


def _highest_within(surface: Array, max_shift_px: int) -> tuple[int, int]:
    """The place of the highest value among the shifts of at most max_shift_px, in pixels."""
    xp = array_namespace(surface)
    near = xp.roll(surface, (max_shift_px, max_shift_px), axis=(0, 1))[: 2 * max_shift_px + 1, : 2 * max_shift_px + 1]
    place = divmod(int(xp.argmax(near)), 2 * max_shift_px + 1)
    return place[0] - max_shift_px, place[1] - max_shift_px


def _highest_apart(surface: Array, peak: tuple[int, int]) -> float:
    """The highest value outside the square of APART_PX around the peak, anywhere on the surface."""
    xp = array_namespace(surface)
    centred = xp.roll(surface, (APART_PX - 1 - peak[0], APART_PX - 1 - peak[1]), axis=(0, 1))
    side = 2 * APART_PX - 1
    return max(float(xp.max(centred[side:, :])), float(xp.max(centred[:side, side:])))


def _refined(
    whitened: Array, overlap: Array, frequencies: tuple[Array, Array], coarse: tuple[int, int]
) -> tuple[float, float]:
    """Rows and columns of the peak near the coarse one, pixels: the highest of STEPS a pixel, then a parabola each way.

    What windows share falls with the shift and would draw the peak to 0: divided by it, as Padfield 2012 does (IEEE Trans. Image
    Processing 21, 2706-2718).
    """
    xp = array_namespace(whitened)
    offsets = [step / STEPS for step in range(-STEPS - 1, STEPS + 2)]
    rows, columns = ([centre + offset for offset in offsets] for centre in coarse)
    shared = _at(overlap, frequencies, rows, columns)
    fine = _at(whitened, frequencies, rows, columns) / xp.where(shared > 0, shared, xp.full_like(shared, xp.inf))
    inner = fine[1:-1, 1:-1]
    i, j = (1 + place for place in divmod(int(xp.argmax(inner)), inner.shape[1]))
    down = _vertex(*(float(fine[i + step, j]) for step in (-1, 0, 1))) / STEPS
    right = _vertex(*(float(fine[i, j + step]) for step in (-1, 0, 1))) / STEPS
    return rows[i] + down, columns[j] + right


def _vertex(before: float, here: float, after: float) -> float:
    """Where the parabola through three neighbours is highest, -0.5 to 0.5 steps from the middle one."""
    bend = before - 2 * here + after
    return min(max(0.5 * (before - after) / bend, -0.5), 0.5) if bend < 0 else 0.0


def _at(spectrum: Array, frequencies: tuple[Array, Array], rows: list[float], columns: list[float]) -> Array:
    """float64 (row, column): the inverse transform, not divided by its size, at any shifts in pixels."""
    xp = array_namespace(spectrum)
    down, right = (xp.asarray(each, dtype=xp.float64) for each in (rows, columns))
    left = xp.astype(2 * math.pi * xp.reshape(down, (-1, 1)) * xp.reshape(frequencies[0], (1, -1)), xp.complex128)
    across = xp.astype(2 * math.pi * xp.reshape(frequencies[1], (-1, 1)) * xp.reshape(right, (1, -1)), xp.complex128)
    return xp.real(xp.exp(1j * left) @ spectrum @ xp.exp(1j * across))
