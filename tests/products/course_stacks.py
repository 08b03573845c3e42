"""Recipes of features of the course of one band, and what a leaf makes of its numbers."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.feature_program import feature_program
from products.period import Period
from products.pixel.temporal import temporal_features
from products.registry import parse_recipe
from products.spec import FeaturesRecipe

YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
TEN_YEARS = Period(datetime(2011, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
Layers = dict[str, NDArray[np.float32]]


def recipe(*features: str, period: str = "P1Y") -> FeaturesRecipe:
    text = f"""
name: course
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: 64}}
period: {period}
sources:
  - {{collection: sentinel-2-l2a}}
features:
"""
    made = parse_recipe(text + "".join(f"  - {each}\n" for each in features), "course.yaml")
    assert isinstance(made, FeaturesRecipe)
    return made


def evenly(n: int, period: Period = YEAR) -> list[datetime]:
    """So many instants, each in the middle of its share of a period."""
    return [period.start + (period.end - period.start) * ((number + 0.5) / n) for number in range(n)]


def layers_of(
    asked: FeaturesRecipe, values: NDArray[np.float64], times: Sequence[datetime], period: Period = YEAR,
    causes: NDArray[np.uint8] | None = None, min_observations: int = 1, leaf: Callable[..., Any] = temporal_features,
) -> Layers:  # fmt: skip
    """The features (x,) by name of nir reflectance (scene, x), to 1e-4; 0 and less is as 0."""
    program = feature_program(asked, times, period)
    assert program.operands == (("nir", ()),)
    block = np.round(values * 1e4).clip(0, 65535).astype(np.uint16)[None, :, None, :]
    used = np.zeros(block.shape[1:], np.uint8) if causes is None else np.ascontiguousarray(causes[:, None, :])
    terms = np.full((len(values), 1), 1e-4, np.float32), np.zeros((len(values), 1), np.float32)
    made = leaf(
        block, used, *terms, program.geomedian_bands, program.with_mads, program.programs, program.reducers,
        min_observations, ordered=program.ordered, threads=1,
    )  # fmt: skip
    return {name: layer[0] for name, layer in zip(program.names, made, strict=True)}
