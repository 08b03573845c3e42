"""The map product of a model: its arrays, colours and areas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from products.learning.learned import NO_PROBABILITY
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import ModelRecipe
from products.learning.trust_layers import trust_arrays
from products.template import FILL_VALUE, ArrayTemplate, CellTemplate

MAP_CLASS, PROBABILITY = "map_class", "probability"
M2_PER_HA = 10_000.0
Colour = tuple[int, int, int]
KNOWN_COLOURS: dict[str, Colour] = {"mangrove": (17, 112, 67), "water": (66, 146, 198), "other": (217, 196, 150)}
OTHER_COLOURS: tuple[Colour, ...] = (
    (228, 26, 28), (152, 78, 163), (255, 127, 0), (166, 86, 40), (247, 129, 191), (120, 120, 120), (255, 237, 111),
)  # fmt: skip


def map_template(recipe: ModelRecipe) -> CellTemplate:
    """`map_class(period, y, x)` and `probability(period, class, y, x)`, percent, both uint8, nodata 0 and 255; and how far to trust them.

    Overviews have the commonest class and the mean share of the pixels that are mapped.
    """
    layers = tuple(f"{PROBABILITY}_{name}" for name in recipe.class_names)
    classes = ArrayTemplate(MAP_CLASS, None, (), "uint8", 0, _class_flags(recipe.class_names), overview="mode")
    share: dict[str, str | float | list[int]] = {
        FILL_VALUE: NO_PROBABILITY,
        "units": "percent",
        "long_name": "probability of the class",
    }
    probability = ArrayTemplate(PROBABILITY, "class", layers, "uint8", NO_PROBABILITY, share)
    title = f"Map by {recipe.title or recipe.name}"
    return CellTemplate(recipe.map.name, recipe.version, title, (classes, probability, *trust_arrays()))


def _class_flags(class_names: Sequence[str]) -> dict[str, str | float | list[int]]:
    """What `map_class` says of its codes; blanks part CF's `flag_meanings`, so that those of a name become `_`."""
    named = dict(enumerate(class_names, start=1))
    return {
        FILL_VALUE: 0,
        "units": "1",
        "long_name": "class: " + ", ".join(f"{code} {name}" for code, name in named.items()),
        "flag_values": [*named],
        "flag_meanings": " ".join("_".join(name.split()) for name in class_names),
    }


def components_template(recipe: PcaRecipe) -> CellTemplate:
    """`features(period, feature, y, x)` float32: the components, NaN where a feature is missing."""
    said = {"units": "1", "long_name": "principal components"}
    stack = ArrayTemplate("features", "feature", recipe.component_names, "float32", float("nan"), said)
    return CellTemplate(
        recipe.map.name, recipe.version, f"Principal components by {recipe.title or recipe.name}", (stack,)
    )


def class_colours(class_names: Sequence[str]) -> dict[int, Colour]:
    """Code -> red, green, blue: the known colour of a class, or the next free one."""
    spare = iter(OTHER_COLOURS * (1 + len(class_names) // len(OTHER_COLOURS)))
    return {code: KNOWN_COLOURS.get(name) or next(spare) for code, name in enumerate(class_names, start=1)}


def pixel_area(ground_m2: npt.NDArray[np.float64], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Hectares on the ground of each class, from the square metres of all pixels of each code; the last entry has no data."""
    named = [*enumerate(class_names, start=1), (0, "no data")]
    return [{"class": name, "area": round(float(ground_m2[code]) / M2_PER_HA, 4), "unit": "ha"} for code, name in named]
