"""What air adds to reflectance: published optical depths, and the scattering of a sun that is known."""

import numpy as np
import pytest

from products.simulation.haze import WAVELENGTHS_UM, air_reflectance


def test_the_air_has_the_published_optical_depth_and_scatters_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.0973 at 0.55 micrometres is the optical depth of molecules at sea level; under a zenith sun they scatter 1.5 times as much back as on average."""
    monkeypatch.setitem(WAVELENGTHS_UM, "yellow", 0.55)
    np.testing.assert_allclose(air_reflectance(["yellow"], 90), [0.0973 * 1.5 / 4], rtol=1e-3)
    np.testing.assert_allclose(air_reflectance(["yellow"], 30), [0.0973 * 0.75 * 1.25 / 2], rtol=1e-3)


def test_air_is_blue_and_brighter_under_a_low_sun() -> None:
    high, low = (air_reflectance(tuple(WAVELENGTHS_UM), elevation) for elevation in (60, 20))
    assert (np.diff(high) < 0).all() and (low > high).all()
    np.testing.assert_array_equal(air_reflectance(["blue"], 3), air_reflectance(["blue"], 15))
