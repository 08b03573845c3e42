"""Shares of surfaces in a pixel: the mixture that was put in comes out, and what cannot be solved is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.mixture import MixtureStep
from products.pixel.reference import index_values
from products.registry import parse_recipe
from products.spec import FeaturesRecipe

BANDS = ("red", "nir", "swir1")
SPECTRA = {"water": (0.03, 0.02, 0.01), "mangrove": (0.03, 0.32, 0.12), "sand": (0.35, 0.42, 0.5)}


def endmembers(spectra: dict[str, tuple[float, ...]] = SPECTRA, bands: tuple[str, ...] = BANDS) -> dict[str, Any]:
    return {name: dict(zip(bands, spectrum, strict=True)) for name, spectrum in spectra.items()}


def step(**keys: Any) -> MixtureStep:
    return MixtureStep.model_validate({"endmembers": endmembers(), "reduce": ["p50"], "sources": []} | keys)


def shares(of: MixtureStep, reflectance: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (observation, surface), by the formulas."""
    made = []
    for _, formula in of.formulas():
        place = [BANDS.index(band) for band in formula.bands]
        program = np.array([(op, place[int(x)] if op == 0 else x) for op, x in formula.operations], float)
        made.append(index_values(program, reflectance))
    return np.stack(made, axis=-1)


def test_a_mixture_comes_out_as_it_was_put_in() -> None:
    truth = np.random.default_rng(1).dirichlet([1, 1, 1], 50)
    np.testing.assert_allclose(shares(step(), truth @ np.array(list(SPECTRA.values()))), truth, atol=1e-5)


def test_shares_add_up_to_one_and_are_the_least_squares() -> None:
    seen = np.random.default_rng(2).uniform(0, 0.5, (20, 3))
    found, spectra = shares(step(), seen), np.array(list(SPECTRA.values())).T
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    for one, made in zip(seen, found, strict=True):
        free = np.linalg.lstsq((spectra - spectra[:, 2:])[:, :2], one - spectra[:, 2], rcond=None)[0]
        np.testing.assert_allclose(made, [*free, 1 - free.sum()], atol=1e-4)


def test_names_tell_the_surface_and_another_order_is_another_product() -> None:
    assert step(reduce=["p10", "mean"]).names()[:3] == (
        "mixture_water_p10",
        "mixture_water_mean",
        "mixture_mangrove_p10",
    )
    assert step(tide={"lowest": 0.2}).names()[0] == "low_tide_mixture_water_p50"
    one, other = (recipe(dict(order)) for order in (SPECTRA.items(), reversed(SPECTRA.items())))
    assert set(one.feature_names) == set(other.feature_names) and one.digest() != other.digest()
    assert one.used_bands == BANDS


def recipe(spectra: dict[str, tuple[float, ...]]) -> FeaturesRecipe:
    text = f"""
name: mixed
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: 64}}
period: P1Y
sources: [{{collection: sentinel-2-l2a}}]
features:
  - mixture: {{endmembers: {endmembers(spectra)}, reduce: [p50]}}
"""
    found = parse_recipe(text.replace("'", ""), "mixed.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


@pytest.mark.parametrize(
    ("spectra", "message"),
    [
        ({"water": (0.03, 0.02, 0.01)}, "at least 2"),
        ({"Water": (0.03, 0.02, 0.01), "sand": (0.3, 0.4, 0.5)}, "expected a name of lower-case letters"),
        ({"a": (0.0, 0.0, 0.0), "b": (0.2, 0.2, 0.2), "c": (0.1, 0.1, 0.1)}, "one of them is a mixture of others"),
        ({name: (0.01 * i, 0.03 * i**2, 0.2) for i, name in enumerate("abcde")}, "3 bands tell 4 surfaces apart at most, got 5"),
    ],
)  # fmt: skip
def test_surfaces_that_cannot_be_told_apart_are_refused(spectra: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(spectra)


def test_every_surface_has_the_bands_of_the_first() -> None:
    known = endmembers()
    del known["sand"]["nir"]
    with pytest.raises(ValueError, match="expected of 'sand' the bands of the first surface: red, nir, swir1"):
        step(endmembers=known)
