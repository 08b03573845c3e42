"""Every layer that a recipe makes has a unit that UDUNITS knows and a long name."""

from collections.abc import Mapping

import pytest

from products.cell_content import cell_template, stack_names
from products.registry import features_recipe, read_recipe, recipe_names, scene_recipe
from products.scene_recipe import SceneRecipe
from products.template import CellTemplate, features_template, odc_product_definition

UNITS = {"1", "day", "day-1", "year-1", "degree", "metre"}


def units_of(template: CellTemplate) -> Mapping[str, str]:
    return {name: said["units"] for name, said in template.layer_attributes.items()}


def test_features_have_the_units_that_the_document_gives_them() -> None:
    template = features_template(features_recipe("every_feature"))
    units = units_of(template)
    days = {"ndvi_day_1", *(f"ndvi_season_{part}" for part in ("start", "peak", "end", "length", "integral"))}
    assert list(units) == list(template.measurements)
    assert {name for name, unit in units.items() if unit == "day"} == days
    assert {unit for name, unit in units.items() if name not in days} == {"1"}
    surroundings = units_of(features_template(features_recipe("every_surrounding")))
    assert {name for name, unit in surroundings.items() if unit == "degree"} == {"slope", "aspect"}
    lengths = {"elevation", "roughness", "ruggedness", "position_11", "land_distance"}
    assert {name for name, unit in surroundings.items() if unit == "metre"} == lengths


def test_long_names_say_what_a_layer_is() -> None:
    said = features_template(features_recipe("every_feature")).layer_attributes
    assert {name: said[name]["long_name"] for name in ("blue", "max_ndvi_nir", "nir_std", "ndvi_p50", "ndrei_p50")} == {
        "blue": "blue reflectance, geometric median",
        "max_ndvi_nir": "nir reflectance of the observation with the highest NDVI",
        "nir_std": "standard deviation over time of nir reflectance",
        "ndvi_p50": "percentile 50 over time of NDVI",
        "ndrei_p50": "percentile 50 over time of NDREI, of sentinel-2-l2a",
    }
    formula = said["wetness_of_ours_p50"]["long_name"]
    assert formula == "percentile 50 over time of wetness_of_ours = (green - swir1) / (green + swir1 + 0.1)"
    assert (
        said["ndvi_p50_contrast_7"]["long_name"]
        == "grey-level contrast of ndvi_p50 in 7 x 7 pixels, grey levels squared"
    )
    low = features_template(features_recipe("every_tide")).layer_attributes
    assert all(
        each["long_name"].endswith(", at low tide") for name, each in low.items() if name.startswith("low_tide_")
    )


@pytest.mark.parametrize("name", [each for each in recipe_names() if isinstance(read_recipe(each), SceneRecipe)])
def test_every_recipe_of_scenes_says_what_its_layers_are(name: str) -> None:
    template = cell_template(scene_recipe(name))
    stack = next(array for array in template.arrays if array.name in ("features", "series", "reflectance"))
    assert list(template.layer_attributes) == list(stack.layers)
    assert set(units_of(template).values()) <= UNITS
    assert all(said["long_name"] for said in template.layer_attributes.values())
    definition = odc_product_definition(template)["measurements"]
    assert isinstance(definition, list)
    units = {each["name"]: each["units"] for each in definition}
    assert [units[each] for each in stack_names(template)] == list(units_of(template).values()) * stack.n_times


def test_a_trend_is_a_change_in_a_year() -> None:
    recipe = features_recipe("every_feature")
    harmonics = [step.model_copy(update={"trend": True}) for step in recipe.features if step.names()[0] == "ndvi_level"]
    template = features_template(recipe.model_copy(update={"features": tuple(harmonics)}))
    assert units_of(template) == {
        "ndvi_level": "1", "ndvi_trend": "year-1", "ndvi_amplitude_1": "1", "ndvi_day_1": "day", "ndvi_rmse": "1",
    }  # fmt: skip
