"""What a cell's store looks like follows from the recipe."""

import math

import pytest
import yaml

from products.learning.maps import map_template
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import features_recipe, model_recipe
from products.template import ArrayTemplate, CellTemplate, features_template, odc_product_definition

TEMPLATE = features_template(features_recipe("mangrove_features"))


def test_a_features_cell_has_features_and_accounts() -> None:
    features, accounts = TEMPLATE.arrays

    assert (features.name, features.dtype, features.dims) == ("features", "float32", ("period", "feature", "y", "x"))
    assert math.isnan(features.fill_value)
    assert (accounts.name, accounts.dtype, accounts.dims) == ("accounts", "uint16", ("period", "cause", "y", "x"))
    assert accounts.layers == ACCOUNT_NAMES
    assert accounts.layers[:3] == ("expected", "used", "unread")


def test_measurements_are_the_feature_names_and_not_the_accounts() -> None:
    names = features_recipe("mangrove_features").feature_names

    assert TEMPLATE.measurements == {name: ("features", place) for place, name in enumerate(names)}


@pytest.mark.parametrize(
    ("tile_px", "chunk"), [(256, 256), (1024, 512), (1000, 500), (96, 96), (2048, 512), (300, 300)]
)
def test_inner_chunks_divide_the_tile(tile_px: int, chunk: int) -> None:
    features = TEMPLATE.arrays[0]

    assert features.shape(tile_px) == (1, len(features.layers), tile_px, tile_px)
    assert features.chunks(tile_px) == (1, 1, chunk, chunk)
    assert tile_px % chunk == 0


def test_an_array_without_layers_is_one_measurement() -> None:
    array = ArrayTemplate("class_map", None, (), "uint8", 255)

    assert array.dims == ("period", "y", "x")
    assert array.shape(512) == (1, 512, 512)
    assert array.chunks(1024) == (1, 512, 512)
    assert CellTemplate("map", 1, "", (array,)).measurements == {"class_map": ("class_map", 0)}


def test_a_cell_stores_its_arrays_and_those_of_its_overviews() -> None:
    stored = TEMPLATE.stored(256)

    assert [(each.path, each.level, each.tile_px) for each in stored] == [
        ("features", 0, 256), ("accounts", 0, 256), ("1/features", 1, 64), ("1/accounts", 1, 64), ("2/features", 2, 16), ("2/accounts", 2, 16),
    ]  # fmt: skip
    assert stored[2].shape == (1, len(TEMPLATE.arrays[0].layers), 64, 64)
    assert [each.template.dtype for each in stored] == ["float32", "uint16", *["float32"] * 4]
    assert [each.template.attributes.get("cell_methods") for each in stored[:4]] == [None, None, *["area: mean"] * 2]
    assert [each.path for each in TEMPLATE.stored(250)] == ["features", "accounts"]


def test_the_overview_of_a_class_map_says_that_it_is_the_commonest_class() -> None:
    classes = map_template(model_recipe("mangrove_extent")).arrays[0].in_overview()

    assert (classes.dtype, classes.attributes["cell_methods"]) == ("uint8", "area: mode")


def test_the_odc_product_has_one_measurement_for_each_feature() -> None:
    definition = odc_product_definition(TEMPLATE)
    measurements = definition["measurements"]

    assert definition["name"] == "mangrove_features"
    assert definition["metadata"] == {"product": {"name": "mangrove_features"}}
    assert isinstance(measurements, list)
    assert [m["name"] for m in measurements] == list(TEMPLATE.measurements)
    assert measurements[0] == {"name": "blue", "dtype": "float32", "nodata": "NaN", "units": "1"}
    assert yaml.safe_load(yaml.safe_dump(definition)) == definition


def test_rounded_features_say_so_in_their_attributes() -> None:
    recipe = features_recipe("mangrove_features")
    rounded = features_template(recipe.model_copy(update={"precision_bits": 9})).arrays[0]

    assert rounded.attributes == {"precision_bits": 9, "comment": "rounded to 9 mantissa bits, ties to even (BitRound)"}
    assert TEMPLATE.arrays[0].attributes == {}
