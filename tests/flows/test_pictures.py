"""Pictures of a cube."""

import io

import numpy as np
import pytest
import xarray
from matplotlib import image
from numpy.typing import NDArray

from flows.run_artifacts import _leave_pictures
from flows.steps.pictures.cube import coverage_picture, quicklook_picture, thinned


def cube(side: int = 40, names: tuple[str, ...] = ("red", "green", "blue", "ndvi_p50")) -> xarray.Dataset:
    """Two periods of features that rise to the east, never observed in the northern half of the last period."""
    ramp = np.broadcast_to(np.linspace(0.1, 0.4, side, dtype="float32"), (2, len(names), side, side)).copy()
    used = np.full((2, 2, side, side), 7, "uint16")
    ramp[1, :, : side // 2] = np.nan
    used[1, 1, : side // 2] = 0
    return xarray.Dataset(
        {
            "features": (("period", "feature", "y", "x"), ramp),
            "accounts": (("period", "cause", "y", "x"), used),
        },
        coords={
            "period": np.array(["2019-01-01", "2020-01-01"], "datetime64[ns]"),
            "feature": list(names),
            "cause": ["expected", "used"],
        },
        attrs={"neocube:product": "known_features"},
    )


def pixels(png: bytes) -> NDArray[np.float32]:
    """The picture as (y, x, channel), 0 to 1."""
    return np.asarray(image.imread(io.BytesIO(png), format="png"))


def test_a_picture_that_cannot_be_drawn_is_told_and_fails_no_build(caplog: pytest.LogCaptureFixture) -> None:
    _leave_pictures("/nowhere/cube.zarr", {})
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["no pictures of /nowhere/cube.zarr"]


def test_the_quicklook_shows_the_last_period_with_black_where_nothing_is_known() -> None:
    shown = pixels(quicklook_picture(cube()))
    assert shown.shape[:2] == (240, 240)
    assert (shown[:120, :, :3] == 0).all()
    assert shown[200, -1, 0] == pytest.approx(1.0)
    assert (np.diff(shown[200, :, 0]) >= 0).all()


def test_pictures_are_cut_to_the_ground_that_any_scene_covered() -> None:
    part = cube()
    part["accounts"][1, 0, :, 10:] = 0
    assert pixels(quicklook_picture(part)).shape[:2] == (240, 60)


def test_the_coverage_is_headed_by_its_period(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda _, text: heads.append(text))
    ends = np.array(["2020-01-01", "2021-01-01"], "datetime64[ns]")
    coverage_picture(cube())
    coverage_picture(cube().assign_coords(period_end=("period", ends)))
    assert heads == ["known_features, 2020-01-01", "known_features, 2020"]


def test_a_cube_without_colours_is_shown_in_grey() -> None:
    shown = pixels(quicklook_picture(cube(names=("ndvi_p50",))))
    np.testing.assert_array_equal(shown[..., 0], shown[..., 2])


def test_a_cube_without_any_pixel_still_has_a_quicklook() -> None:
    empty = cube()
    empty["features"][:] = np.nan
    assert (pixels(quicklook_picture(empty))[..., :3] == 0).all()


def test_a_large_cube_is_thinned_so_that_pictures_stay_small() -> None:
    large = cube(side=1300)
    assert max(pixels(quicklook_picture(large)).shape[:2]) <= 240
    assert thinned(large["accounts"][0, 0], 600).shape == (434, 434)
    assert len(coverage_picture(large)) < 200_000


@pytest.mark.parametrize("picture", [coverage_picture, quicklook_picture])
def test_the_same_cube_gives_the_same_bytes(picture: object) -> None:
    assert callable(picture)
    assert picture(cube()) == picture(cube())


def test_coverage_of_a_cube_that_was_never_observed_is_a_picture_too() -> None:
    never = cube()
    never["accounts"][:] = 0
    assert pixels(coverage_picture(never)).ndim == 3


def test_coverage_colours_observed_pixels_and_leaves_the_others_grey() -> None:
    shown = pixels(coverage_picture(cube()))[..., :3]
    grey = np.isclose(shown, 0xE6 / 255, atol=0.01).all(axis=-1).mean()
    coloured = (np.ptp(shown, axis=-1) > 0.2).mean()
    assert grey > 0.1
    assert coloured > 0.1
