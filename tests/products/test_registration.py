"""Shifts between images: sub-pixel where there is something to see, of no confidence where there is not."""

import math
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from products.window.registration import CONFIDENT, MIN_SIDE_PX, Shift, measure_shift

Doubles = NDArray[np.float64]
SIZE = 128


def waves(seed: int = 0, size: int = SIZE, cutoff: float = 0.3) -> NDArray[np.complex128]:
    """The transform of a random texture without frequencies near Nyquist's."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    return spectrum * (frequency < cutoff) / (0.02 + frequency)


def moved(spectrum: NDArray[np.complex128], rows: float, columns: float) -> Doubles:
    """The texture, its content moved down and right, exactly (Fourier shift theorem)."""
    size = len(spectrum)
    phase = np.fft.fftfreq(size)[:, None] * rows + np.fft.fftfreq(size)[None, :] * columns
    return np.fft.ifft2(spectrum * np.exp(-2j * np.pi * phase)).real


def red(shared_data: Path) -> Doubles:
    with rasterio.open(shared_data / "sentinel2_l2a" / "S2A_29RKH_20200219_0_L2A" / "B04.tif") as source:
        return source.read(1).astype(float)


def averaged(fine: Doubles, rows: int, columns: int, side: int = 256) -> Doubles:
    """A coarser image: means of 4 x 4 pixels from an origin of the fine one, so that one of them is a quarter pixel."""
    part = fine[rows : rows + 4 * side, columns : columns + 4 * side]
    return part.reshape(side, 4, side, 4).mean(axis=(1, 3))


def off(shift: Shift, rows: float, columns: float) -> float:
    return math.hypot(shift.rows - rows, shift.columns - columns)


@settings(deadline=None, max_examples=10)
@given(st.floats(-6, 6), st.floats(-6, 6))
def test_a_known_shift_is_found_to_a_fiftieth_of_a_pixel(rows: float, columns: float) -> None:
    found = measure_shift(moved(waves(), rows, columns), moved(waves(), 0, 0))
    assert off(found, rows, columns) < 0.02
    assert found.is_confident and found.correlation > 0.8 and found.valid_share == 1


def test_an_image_lies_on_itself() -> None:
    found = measure_shift(moved(waves(1), 0, 0), moved(waves(1), 0, 0))
    assert off(found, 0, 0) < 1e-9
    assert found.correlation == pytest.approx(1)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (5, 10), (10, 5), (0, 15), (13, 2), (9, 7)])
def test_a_resampled_real_chip_is_found_closer_than_by_scikit_image(shared_data: Path, rows: int, columns: int) -> None:
    image, reference = averaged(red(shared_data), rows, columns), averaged(red(shared_data), 8, 8)
    true = ((8 - rows) / 4, (8 - columns) / 4)
    found = measure_shift(image, reference)
    peer = -phase_cross_correlation(reference, image, upsample_factor=50)[0]

    assert off(found, *true) < 0.03
    assert off(found, *true) <= math.dist(peer, true) + 0.005
    assert found.is_confident


@pytest.mark.parametrize("band", ["B03", "B08"])
def test_bands_of_one_scene_lie_on_each_other(shared_data: Path, band: str) -> None:
    with rasterio.open(shared_data / "sentinel2_l2a" / "S2A_29RKH_20200219_0_L2A" / f"{band}.tif") as source:
        found = measure_shift(source.read(1).astype(np.float32), red(shared_data).astype(np.float32))
    assert off(found, 0, 0) < 0.02
    assert found.is_confident


def test_gain_and_offset_change_nothing() -> None:
    image, reference = moved(waves(), 1.3, -0.4), moved(waves(), 0, 0)
    plain, scaled = measure_shift(image, reference), measure_shift(0.05 * image + 300, reference)
    assert off(scaled, plain.rows, plain.columns) < 1e-6
    assert scaled.confidence == pytest.approx(plain.confidence, abs=1e-6)


def test_exchanged_images_have_the_opposite_shift() -> None:
    image, reference = moved(waves(2), 1.3, -0.4), moved(waves(2), 0, 0)
    there, back = measure_shift(image, reference), measure_shift(reference, image)
    assert off(there, -back.rows, -back.columns) < 1e-6


def stripes(size: int = SIZE) -> NDArray[np.bool_]:
    rows, columns = np.indices((size, size))
    return (rows + columns // 4) % 14 < 5


def half(size: int = SIZE) -> NDArray[np.bool_]:
    return np.indices((size, size))[1] < size // 2


@pytest.mark.parametrize("missing", [stripes, half])
def test_missing_pixels_of_the_image_draw_no_shift_to_themselves(missing: object) -> None:
    assert callable(missing)
    image, reference = moved(waves(3), 0.75, -0.5), moved(waves(3), 0, 0)
    found = measure_shift(np.where(missing(), np.nan, image), reference)
    assert off(found, 0.75, -0.5) < 0.05
    assert found.is_confident
    assert found.valid_share == pytest.approx(1 - missing().mean())


def test_stripes_that_both_lack_draw_no_shift_either() -> None:
    image, reference = moved(waves(3), 0.75, -0.5), moved(waves(3), 0, 0)
    found = measure_shift(np.where(stripes(), np.nan, image), np.where(stripes(), np.nan, reference))
    assert off(found, 0.75, -0.5) < 0.1
    assert found.is_confident


def test_a_small_bright_cloud_that_the_mask_missed_draws_no_shift() -> None:
    image, reference = moved(waves(4), 1.2, 0.6), moved(waves(4), 0, 0)
    rows, columns = np.indices(image.shape)
    cloud = np.hypot(rows - 60, columns - 80) < 10
    assert off(measure_shift(np.where(cloud, 20 * image.std(), image), reference), 1.2, 0.6) < 0.05


@pytest.mark.parametrize("size", [MIN_SIDE_PX, 128])
def test_noise_has_no_confidence(size: int) -> None:
    random = np.random.default_rng(size)
    found = [measure_shift(random.normal(size=(size, size)), random.normal(size=(size, size))) for _ in range(20)]
    assert max(each.confidence for each in found) < 0.6 < CONFIDENT
    assert max(abs(each.correlation) for each in found) < 0.3


def test_another_place_has_no_confidence(shared_data: Path) -> None:
    fine = red(shared_data)
    assert measure_shift(fine[:256, :256], fine[300:556, 250:506]).confidence < 0.4


def test_a_shift_beyond_the_limit_has_no_confidence() -> None:
    assert measure_shift(moved(waves(5), 20, 10), moved(waves(5), 0, 0), 8).confidence == 0
    assert off(measure_shift(moved(waves(5), 20, 10), moved(waves(5), 0, 0), 24), 20, 10) < 0.05


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_a_confident_shift_is_a_right_one(seed: int, noise: float) -> None:
    random = np.random.default_rng([seed, 1])
    image, reference = moved(waves(seed, 96), 0.6, -1.7), moved(waves(seed, 96), 0, 0)
    grain = noise * reference.std() * random.normal(size=(2, 96, 96))
    found = measure_shift(image + grain[0], reference + grain[1])
    assert not found.is_confident or off(found, 0.6, -1.7) < (0.3 if noise <= 1 else 0.75)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.3e4])
def test_an_image_without_detail_has_no_shift(value: float) -> None:
    flat = np.full((SIZE, SIZE), value)
    for pair in ((flat, moved(waves(), 0, 0)), (moved(waves(), 0, 0), flat), (flat, flat)):
        found = measure_shift(*pair)
        assert math.isnan(found.rows) and math.isnan(found.columns) and math.isnan(found.correlation)
        assert found.confidence == 0 and not found.is_confident


def test_images_that_share_too_few_pixels_have_no_shift() -> None:
    image, reference = moved(waves(), 0, 0), moved(waves(), 0, 0)
    image[:, : SIZE // 2], reference[:, SIZE // 2 + 30 :] = np.nan, np.nan
    found = measure_shift(image, reference)
    assert math.isnan(found.rows) and found.confidence == 0
    assert found.valid_share == 30 / SIZE
    assert measure_shift(np.full((SIZE, SIZE), np.nan), reference).valid_share == 0


def test_another_array_library_gives_the_same_shift() -> None:
    image, reference = moved(waves(6), 0.3, -2.2), moved(waves(6), 0, 0)
    image[stripes()] = np.nan
    here = measure_shift(image, reference)
    there = measure_shift(array_api_strict.asarray(image), array_api_strict.asarray(reference))
    assert off(there, here.rows, here.columns) < 1e-9
    assert there.confidence == pytest.approx(here.confidence)


@pytest.mark.parametrize(
    ("shape", "most", "said"),
    [
        (
            (80, 81),
            8,
            r"expected two images \(y, x\) of one shape, 64 pixels or more a side, got \(80, 81\) and \(80, 80\)",
        ),
        ((80, 80), 0, "expected a largest shift of 1 to 20 pixels, a quarter of the image, got 0"),
        ((80, 80), 21, "expected a largest shift of 1 to 20 pixels"),
    ],
)
def test_what_cannot_be_is_refused(shape: tuple[int, int], most: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        measure_shift(np.zeros(shape), np.zeros((80, 80)), most)
    with pytest.raises(ValueError, match="64 pixels or more a side"):
        measure_shift(np.zeros((63, 80)), np.zeros((63, 80)))
