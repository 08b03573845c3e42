"""Features that `name:` tells apart have the pixels that each has alone."""

import numpy as np
import pytest

from products.features import Observations, compute_features
from products.period import parse_period
from products.pixel.causes import ACCOUNT_NAMES, Cause
from products.pixel.tasselled_cap import BANDS
from products.raster import RasterLayer
from products.window_features import window_features
from products.window_spec import RasterInput
from tests.products.window_recipes import given, recipe

TEXTURE = "  - texture: {of: {feature: ndvi_p50}, measures: [contrast, entropy], "
TERRAIN = "  - terrain: {measures: [elevation, slope, position], "
OVER_TIME = [
    ("tasselled_cap: {reduce: [p50], ", "coefficients: baig2014}", "coefficients: huang2002}"),
    ("band: {names: [red], ", "reduce: [p50]}", "reduce: [p50], sources: [sentinel-2-l2a]}"),
    (
        "mixture: {reduce: [p50], ",
        "endmembers: {water: {red: 0.03, nir: 0.02}, sand: {red: 0.3, nir: 0.4}}}",
        "endmembers: {water: {red: 0.03, nir: 0.02}, sand: {red: 0.2, nir: 0.5}}}",
    ),
]


@pytest.mark.parametrize(
    ("start", "one", "other"),
    [(TEXTURE, "levels: 8}\n", "range: [-1, 0.5]}\n"), (TERRAIN, "source: hill}\n", "source: dune}\n")],
)
def test_two_of_the_surroundings_stand_side_by_side(start: str, one: str, other: str) -> None:
    both = recipe(start + "name: first, " + one, start + other)
    layers, rasters = given(both)
    hill = rasters[RasterInput("hill", "elevation", "bilinear")].values
    rasters[RasterInput("dune", "elevation", "bilinear")] = RasterLayer(np.abs(hill) ** np.float32(1.5))

    made = window_features(both, layers, rasters)

    assert tuple(made) == both.feature_names[1:]
    for alone, prefix in ((recipe(start + one), "first_"), (recipe(start + other), "")):
        for name, expected in window_features(alone, layers, rasters).items():
            np.testing.assert_array_equal(made[prefix + name], expected)
            assert not np.array_equal(made["first_" + name], made[name], equal_nan=True)


@pytest.mark.parametrize(("start", "one", "other"), OVER_TIME)
def test_two_over_time_stand_side_by_side(start: str, one: str, other: str) -> None:
    def computed(*lines: str) -> dict[str, np.ndarray]:
        asked = recipe(*(f"  - {line}\n" for line in lines))
        bands = asked.used_bands
        values = np.random.default_rng(5).integers(200, 6000, (6, 4, 3, 5)).astype(np.uint16)
        block = values[[BANDS.index(band) for band in bands]]
        causes = np.full((4, 3, 5), Cause.USED, np.uint8)
        accounts = np.zeros((len(ACCOUNT_NAMES), 3, 5), np.uint16)
        terms = np.full((4, len(bands)), 1e-4, np.float32), np.zeros((4, len(bands)), np.float32)
        seen = Observations((), bands, block, causes, *terms, accounts)
        return dict(zip(asked.feature_names, compute_features(asked, seen, parse_period("2020"), 1), strict=True))

    both = computed(start + "name: first, " + one, start + other)
    for alone, prefix in ((computed(start + one), "first_"), (computed(start + other), "")):
        assert {prefix + name for name in alone if name != "ndvi_p50"} < set(both)
        for name, expected in alone.items():
            np.testing.assert_array_equal(both[name if name == "ndvi_p50" else prefix + name], expected)
