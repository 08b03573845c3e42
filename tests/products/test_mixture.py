"""Shares of surfaces in a pixel: the mixture that was put in comes out, and what cannot be solved is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr

from products.errors import RequestError
from products.features import Observations, compute_features
from products.mixture import MixtureStep
from products.period import parse_period
from products.pixel.causes import ACCOUNT_NAMES, Cause
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


def recipe(spectra: dict[str, tuple[float, ...]], bands: tuple[str, ...] = BANDS) -> FeaturesRecipe:
    text = f"""
name: mixed
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: 64}}
period: P1Y
sources: [{{collection: sentinel-2-l2a}}]
features:
  - mixture: {{endmembers: {endmembers(spectra, bands)}, reduce: [p50]}}
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


def test_the_shares_of_a_landsat_tile_order_its_pixels_as_published_fractional_cover_does(shared_data: Path) -> None:
    """Spectra of the purest pixels of every second row, by the published product (Scarth et al. 2010); the pixels of the other rows are ordered.

    The published shares are of 59 terms made of the same five bands, never negative: ours are the linear part of that.
    """
    bands = ("green", "red", "nir", "swir1", "swir2")
    folder = shared_data / "reference" / "fractional_cover"
    with (
        xr.open_dataset(folder / "sr.nc", mask_and_scale=False) as given,
        xr.open_dataset(folder / "fc.nc") as fractions,
    ):
        stored = np.stack([given[band].values for band in bands])
        published = {name: fractions[name].values.astype(float) for name in ("PV", "NPV", "BS")}
    seen = (stored != -999).all(axis=0)
    np.testing.assert_array_equal(seen, published["PV"] >= 0)
    even = np.arange(seen.shape[0])[:, None] % 2 == 0
    spectra = {}
    for name, share in published.items():
        purest = even & seen & (share >= np.sort(share[even & seen])[-60])
        spectra[name.lower()] = tuple(float(value) for value in stored[:, purest].mean(axis=1) / 1e4)
    asked = recipe(spectra, bands)
    causes = np.where(seen, Cause.USED, Cause.NODATA).astype(np.uint8)[None]
    accounts = np.zeros((len(ACCOUNT_NAMES), *seen.shape), np.uint16)
    terms = np.full((1, 5), 1e-4, np.float32), np.zeros((1, 5), np.float32)
    block = np.where(seen, np.maximum(stored, 0), 0).astype(np.uint16)[[bands.index(band) for band in asked.used_bands], None]
    tile = Observations((), asked.used_bands, block, causes, *terms, accounts)
    shares = dict(zip(asked.feature_names, compute_features(asked, tile, parse_period("2020"), 1), strict=True))
    for name, at_least in (("PV", 0.92), ("BS", 0.84)):
        made = shares[f"mixture_{name.lower()}_p50"]
        np.testing.assert_array_equal(np.isnan(made), ~seen)
        others = seen & ~even
        assert spearmanr(made[others], published[name][others])[0] > at_least
