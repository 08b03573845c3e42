"""Model recipes: what they refuse, and what their digest tells apart."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from products.errors import RequestError
from products.learning.label_spec import LabelsSpec
from products.learning.recipe import ModelRecipe, SamplesSpec
from products.registry import model_recipe, parse_recipe

MODEL: dict[str, Any] = {
    "name": "coast_model",
    "version": 1,
    "kind": "model",
    "features": "mangrove_features",
    "samples": {"classes": ["mangrove", "water"]},
    "map": {"name": "coast_map"},
}


def recipe(**changed: Any) -> ModelRecipe:
    return ModelRecipe.model_validate(MODEL | changed)


def test_the_recipe_that_comes_with_neocube_is_readable() -> None:
    found = model_recipe("mangrove_extent")
    assert found.class_names == ("mangrove", "water", "other")
    assert found.samples.codes(by_number=False)["built_up"] == 3
    assert found.samples.codes(by_number=True)[5] == 3


def test_spelled_out_defaults_titles_labels_and_maps_leave_the_digest() -> None:
    spelled = recipe(title="Coast", seed=0, split={"folds": 5}, area="demo", period=2020, map={"name": "another_map"})
    labelled = recipe(samples={"classes": ["mangrove", "water"], "labels": "labels.gpkg"})
    assert recipe().digest() == spelled.digest() == labelled.digest()
    assert spelled.period == "2020"


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"selection": {"method": "recursive", "keep": 2}},
        {"features": "other_features"},
        {"split": {"block_m": 500}},
        {"estimator": {"random_forest": {"trees": 10}}},
        {"samples": {"classes": ["water", "mangrove"]}},
    ],
)
def test_what_changes_the_model_changes_the_digest(changed: dict[str, Any]) -> None:
    assert recipe(**changed).digest() != recipe().digest()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"samples": {"classes": ["mangrove"]}}, "at least 2 items"),
        ({"samples": {"classes": ["water", "water"]}}, "'water' stands twice"),
        ({"samples": {"classes": ["a b", "water"]}}, "expected a name of lower-case letters"),
        ({"samples": {"classes": ["mangrove", "water"], "values": {"sea": [2]}}}, "names the class 'sea'"),
        ({"samples": {"classes": ["mangrove", "water"], "values": {"water": [2]}, "ignore": [2]}}, "2 stands twice"),
        ({"split": {"block_m": 100, "buffer_m": 60}}, "expected buffer_m below half"),
        (
            {"selection": {"method": "lasso", "keep": 2}},
            "Input should be 'mutual_information', 'permutation' or 'recursive'",
        ),
        ({"selection": {"method": "permutation"}}, "Field required"),
        ({"map": {"name": "coast_model"}}, "both called 'coast_model'"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**changed)


@pytest.mark.parametrize(
    ("said", "by_number", "message"),
    [
        (
            {"values": {"mangrove": [1, 2]}},
            True,
            "the label value 2 is a value of mangrove, and is what water has where",
        ),
        (
            {"values": {"water": [1, 4]}, "ignore": [2]},
            True,
            r"1 is a value of water, .*: give mangrove its values, or m",
        ),
        ({"values": {"water": [4]}, "ignore": [1]}, True, "the label value 1 stands in `ignore`, and is what mangrove"),
        ({"ignore": [2]}, True, "the label value 2 stands in `ignore`, and is what water has"),
        ({"values": {"mangrove": ["water"]}}, False, "the label value 'water' is a value of mangrove"),
        ({"ignore": ["mangrove"]}, False, "the label value 'mangrove' stands in `ignore`, and is what mangrove has"),
    ],
)
def test_a_value_that_is_named_does_not_mean_the_class_that_has_it_by_default(
    said: dict[str, Any], by_number: bool, message: str
) -> None:
    classes = ("mangrove", "water")
    spec = SamplesSpec.model_validate({"classes": classes, **said})
    with pytest.raises(RequestError, match=message):
        _ = spec.codes(by_number=by_number)
    if not by_number or "values" not in said:  # values of a source of a training set leave no default to a raster
        with pytest.raises(RequestError, match=message):
            LabelsSpec.model_validate(said).codes(classes, by_number)


def test_a_class_that_no_label_means_has_no_value() -> None:
    spec = SamplesSpec.model_validate({"classes": ["mangrove", "water"], "values": {"mangrove": [1, 2], "water": []}})
    assert spec.codes(by_number=True) == {1: 1, 2: 1}
    named = SamplesSpec.model_validate({"classes": ["mangrove", "water"], "values": {"mangrove": [7]}, "ignore": [9]})
    assert named.codes(by_number=True) == {9: 0, 7: 1, 2: 2} and named.codes(by_number=False) == {
        9: 0,
        7: 1,
        "water": 2,
    }


def test_an_unknown_key_is_named_with_its_line() -> None:
    text = yaml.safe_dump(MODEL, sort_keys=False) + "estimatr: {}\n"
    with pytest.raises(
        RequestError, match=r"coast.yaml, line \d+, estimatr: unknown key 'estimatr'; near ones: estimator"
    ):
        parse_recipe(text, "coast.yaml")


def test_a_features_recipe_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'mangrove_features' is of kind features: expected kind model"):
        model_recipe("mangrove_features")
