"""Which scale and offset the clear pixels of a scene allow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from products.radiometric_verdict import BANDS, PixelSample, Verdict, combine, judge, words

WITHOUT, WITH = (1e-4, 0.0), (1e-4, -0.1)
COLLECTION_2, COLLECTION_1 = (2.75e-5, -0.2), (1e-4, 0.0)
VEGETATION, BARE, WATER, CLOUD, SNOW = 4, 5, 6, 9, 11

# blue, red and swir2 reflectance
FOREST, SEA, DESERT, ICE = (0.025, 0.03, 0.05), (0.03, 0.015, 0.005), (0.13, 0.28, 0.4), (0.85, 0.8, 0.05)


def sample(
    *grounds: tuple[tuple[float, ...], int], scaling: tuple[float, float] = WITHOUT, mask: str = "scl"
) -> PixelSample:
    """Strips of ground, (reflectance, class) each, 30 pixels wide, with noise, as DN of a scaling."""
    rng = np.random.default_rng(4)
    scale, offset = scaling
    classes = np.repeat([code for _, code in grounds], 30)[None, :].repeat(40, axis=0)
    bands = {}
    for number, band in enumerate(BANDS):
        truth = np.repeat([spectrum[number] for spectrum, _ in grounds], 30) * rng.normal(1, 0.08, classes.shape)
        bands[band] = np.clip((truth - offset) / scale, 1, 65535).astype(np.uint16)
    return PixelSample(mask, classes.astype(np.uint16), bands)


def verdict(seen: PixelSample, claim: tuple[float, float]) -> str:
    return judge(seen, dict.fromkeys(BANDS, claim)).verdict


@pytest.mark.parametrize(("truth", "other"), [(WITHOUT, WITH), (WITH, WITHOUT)])
def test_water_and_forest_tell_whether_sentinel_2_pixels_have_the_offset(
    truth: tuple[float, float], other: tuple[float, float]
) -> None:
    seen = sample((FOREST, VEGETATION), (SEA, WATER), (DESERT, BARE), scaling=truth)
    assert verdict(seen, truth) == "confirmed"
    assert verdict(seen, other) == "contradicted"


@pytest.mark.parametrize("claim", [WITHOUT, WITH])
@pytest.mark.parametrize("truth", [WITHOUT, WITH])
def test_a_desert_does_not_tell(truth: tuple[float, float], claim: tuple[float, float]) -> None:
    assert verdict(sample((DESERT, BARE), scaling=truth), claim) == "undetermined"


@pytest.mark.parametrize("truth", [WITHOUT, WITH])
def test_ice_never_contradicts_right_metadata(truth: tuple[float, float]) -> None:
    assert verdict(sample((ICE, SNOW), scaling=truth), truth) != "contradicted"


def test_a_cloudy_scene_does_not_tell() -> None:
    result = judge(sample((FOREST, CLOUD), (SEA, CLOUD)), dict.fromkeys(BANDS, WITH))
    assert (result.verdict, result.reason) == ("undetermined", "0 clear pixels, fewer than 200")


def test_bright_water_of_sun_glint_is_not_taken_for_an_offset() -> None:
    assert verdict(sample(((0.22, 0.21, 0.2), WATER)), WITHOUT) == "undetermined"


@pytest.mark.parametrize("ground", [FOREST, DESERT, ICE], ids=["forest", "desert", "ice"])
@pytest.mark.parametrize(("truth", "other"), [(COLLECTION_2, COLLECTION_1), (COLLECTION_1, COLLECTION_2)])
def test_any_clear_ground_tells_the_two_scales_of_landsat(
    ground: tuple[float, ...], truth: tuple[float, float], other: tuple[float, float]
) -> None:
    seen = sample((ground, 1 << 6), scaling=truth, mask="qa_pixel")
    assert verdict(seen, truth) == "confirmed"
    assert verdict(seen, other) == "contradicted"


def test_a_landsat_offset_left_out_is_contradicted_where_there_is_dark_ground() -> None:
    seen = sample((FOREST, 1 << 6), (SEA, 1 << 7), scaling=COLLECTION_2, mask="qa_pixel")
    result = judge(seen, dict.fromkeys(BANDS, (2.75e-5, 0.0)))
    assert result.verdict == "contradicted"
    assert result.reason.endswith("the pixels fit DN x 2.75e-05 - 0.2")


def test_an_offset_in_dn_is_contradicted() -> None:
    seen = sample((FOREST, VEGETATION), (SEA, WATER), scaling=WITH)
    assert verdict(seen, (1e-4, -1000.0)) == "contradicted"


def test_a_scale_ten_times_too_small_is_contradicted() -> None:
    assert verdict(sample((FOREST, VEGETATION), (SEA, WATER)), (1e-5, 0.0)) == "contradicted"


def test_pixels_that_fit_no_convention_leave_the_claim_open() -> None:
    seen = sample((FOREST, VEGETATION), (SEA, WATER))
    saturated = PixelSample("scl", seen.mask, dict.fromkeys(BANDS, np.full(seen.mask.shape, 65000, np.uint16)))
    result = judge(saturated, dict.fromkeys(BANDS, WITHOUT))
    assert result.verdict == "undetermined"
    assert "no known convention fits better" in result.reason


def test_one_band_with_another_offset_is_held_against_the_pixels_too() -> None:
    claim = {"blue": WITHOUT, "red": WITHOUT, "swir2": WITH}
    assert words(claim) == "blue DN x 0.0001 + 0, red DN x 0.0001 + 0, swir2 DN x 0.0001 - 0.1"
    result = judge(sample((FOREST, VEGETATION), (SEA, WATER)), claim)
    assert result.verdict == "contradicted"
    assert "of the clear pixels would have a swir2 reflectance below -0.03" in result.reason


@pytest.mark.parametrize(
    ("confirmed", "contradicted", "together"),
    [
        (0, 0, "undetermined"),
        (1, 0, "confirmed"),
        (0, 1, "undetermined"),
        (0, 2, "contradicted"),
        (1, 2, "undetermined"),
    ],
)
def test_two_scenes_must_contradict_a_claim_and_none_confirm_it(
    confirmed: int, contradicted: int, together: Verdict
) -> None:
    assert combine({"confirmed": confirmed, "contradicted": contradicted, "undetermined": 3}) == together


def barbellino(shared_data: Path) -> PixelSample:
    folder = shared_data / "sentinel2_l2a" / "barbellino"

    def layers(name: str) -> NDArray[Any]:
        with rasterio.open(folder / f"S2A2A_20170703_022_Barbellino_{name}.tif") as file:
            return np.asarray(file.read(out_shape=(file.count, 42, 24)))

    boa = layers("BOA_10")
    return PixelSample("scl", layers("SCL_10")[0], {"blue": boa[1], "red": boa[3], "swir2": boa[10]})


def test_real_alpine_pixels_without_offset_confirm_that_and_contradict_one(shared_data: Path) -> None:
    seen = barbellino(shared_data)
    assert verdict(seen, WITHOUT) == "confirmed"
    assert verdict(seen, WITH) == "contradicted"
    assert verdict(seen, (1e-3, 0.0)) == "contradicted"
