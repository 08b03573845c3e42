"""Pictures of cubes along time: passes with their causes, and series with courses of single pixels."""

import io

import numpy as np
import pytest
import xarray
from matplotlib import image
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from flows.steps.pictures.cube import NOTHING
from flows.steps.pictures.gallery import picture_of_kind
from flows.steps.pictures.times import CAUSE_COLOURS, passes_picture, places, series_picture
from products.pixel.causes import NOT_EXPECTED, Cause

SIDE = 30
TIMES = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(16, "D")


def passes(cause: Cause = Cause.USED) -> xarray.Dataset:
    """Four passes of one brightness over the western half, and of one cause."""
    causes = np.full((4, SIDE, SIDE), int(cause), np.uint8)
    causes[..., SIDE // 2 :] = NOT_EXPECTED
    causes[0, :, -1] = int(cause)
    layers = np.broadcast_to(np.linspace(0.1, 0.3, SIDE, dtype=np.float32), (4, 1, SIDE, SIDE)).copy()
    layers[:, 0][causes == NOT_EXPECTED] = np.nan
    return xarray.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), layers),
            "cause": (("time", "y", "x"), causes),
        },
        {"time": TIMES, "band": ["nir"], "platform": ("time", ["landsat-8"] * 4), "y": np.arange(SIDE, 0.0, -1)}
        | {"x": np.arange(SIDE) + 0.0},
    )


def series() -> xarray.Dataset:
    """Two features in four steps; one pixel of each third is seen most often, the one in the east lacks a step."""
    values = np.broadcast_to(np.array([0.2, 0.4, 0.3, 0.5], np.float32)[:, None, None, None], (4, 2, SIDE, SIDE)).copy()
    observed = np.ones((4, SIDE, SIDE), np.uint16)
    observed[0] = 0
    for column in (5, 15, 25):
        observed[0, 11, column] = 1
    values[1, :, 11, 25] = np.nan
    counts = np.full((1, 2, SIDE, SIDE), 4, np.uint16)
    return xarray.Dataset(
        {
            "series": (("time", "feature", "y", "x"), values),
            "observed": (("time", "y", "x"), observed),
            "accounts": (("period", "cause", "y", "x"), counts),
        },
        {"time": TIMES, "time_end": ("time", TIMES + np.timedelta64(16, "D")), "feature": ["red", "ndvi"]}
        | {
            "period": TIMES[:1],
            "cause": ["expected", "used"],
            "y": np.arange(SIDE, 0.0, -1),
            "x": np.arange(SIDE) + 0.0,
        },
    )


def share_of(png: bytes, colour: str) -> float:
    """The share of the pixels of a picture that have a colour."""
    pixels: NDArray[np.float32] = np.asarray(image.imread(io.BytesIO(png), format="png"))[..., :3]
    return float((np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.01).mean())


@pytest.mark.parametrize("cause", [Cause.SNOW, Cause.SLC_GAP, Cause.UNREAD])
def test_the_pixels_of_a_pass_have_the_colour_of_their_cause(cause: Cause) -> None:
    shown, without = passes_picture(passes(cause)), passes_picture(passes(Cause.USED))
    assert share_of(shown, CAUSE_COLOURS[cause]) > 20 * share_of(without, CAUSE_COLOURS[cause])
    assert share_of(shown, CAUSE_COLOURS[cause]) > 0.04
    assert share_of(shown, NOTHING) > 0.04


def test_every_cause_has_a_colour_of_its_own() -> None:
    assert set(CAUSE_COLOURS) == set(Cause)
    assert len({*CAUSE_COLOURS.values(), NOTHING}) == len(Cause) + 1


def test_courses_are_of_the_pixel_that_is_seen_most_often_in_each_third_and_has_every_step() -> None:
    found = places(series())
    assert (found["A"], found["B"]) == ((11, 5), (11, 15))
    assert found["C"] != (11, 25) and 20 <= found["C"][1] < SIDE - 1
    missing = series()
    missing["series"][:] = np.nan
    assert places(missing) == {}


def test_a_series_without_any_value_is_a_picture_too_and_the_same_series_gives_the_same_bytes() -> None:
    missing = series()
    missing["series"][:] = np.nan
    assert series_picture(missing).startswith(b"\x89PNG")
    assert series_picture(series()) == series_picture(series()) != series_picture(missing)


def test_a_cube_is_shown_by_its_kind() -> None:
    features = xarray.Dataset(
        {
            "features": (("period", "feature", "y", "x"), np.ones((1, 2, SIDE, SIDE), np.float32)),
            "accounts": series()["accounts"],
        },
        {"feature": ["red", "ndvi"], "period": TIMES[:1]},
    )
    held = [picture_of_kind(cube)[1] for cube in (passes(), series(), features)]
    assert held == [{"passes": 4}, {"features": 2, "steps": 4}, {"features": 2}]
