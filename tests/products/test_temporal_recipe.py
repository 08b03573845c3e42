"""Networks over time in a recipe: what they refuse, and which of their keys decide the shape of their weights."""

from typing import Any

import pytest

from products.learning.network_spec import UnetSpec
from products.learning.recipe import ModelRecipe
from products.learning.temporal_spec import LtaeSpec, TempcnnSpec
from products.registry import input_recipe
from products.series_spec import SeriesRecipe

MODEL: dict[str, Any] = {
    "name": "coast_courses",
    "version": 1,
    "kind": "model",
    "features": "coastal_series",
    "samples": {"classes": ["mangrove", "water"]},
    "estimator": {"tempcnn": {}},
    "map": {"name": "coast_courses_map"},
}


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ({"tempcnn": {"kernel": 4}}, "expected kernel as an odd number of steps, with a middle, got 4"),
        ({"tempcnn": {"dropout": 1}}, "less than 1"),
        ({"tempcnn": {"heads": 4}}, "Extra inputs are not permitted"),
        ({"ltae": {"width": 20, "heads": 8}}, r"width as a multiple of heads \(8\), which share it, got 20"),
        ({"ltae": {}, "tempcnn": {}}, "estimator names tempcnn and ltae: expected exactly one kind"),
    ],
)
def test_a_network_over_time_that_cannot_be_is_refused(estimator: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelRecipe.model_validate(MODEL | {"estimator": estimator})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"selection": {"method": "permutation", "keep": 2}},
            "selection learns anew for each set of features, tempcnn once",
        ),
        ({"split": {"sites": "sites.gpkg"}}, "sites learns anew for each site, tempcnn once: leave sites out"),
    ],
)
def test_what_learns_many_times_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelRecipe.model_validate(MODEL | changed)


def test_a_recipe_names_at_most_one_network_over_time() -> None:
    assert ModelRecipe.model_validate(MODEL).temporal == ("tempcnn", TempcnnSpec())
    assert ModelRecipe.model_validate(MODEL | {"estimator": {"ltae": {}}}).temporal == ("ltae", LtaeSpec())
    of_patches = ModelRecipe.model_validate(MODEL | {"estimator": {"unet": {}}})
    assert of_patches.temporal is None and of_patches.has_network
    assert not ModelRecipe.model_validate(MODEL).has_network


def test_the_sizes_of_a_network_are_those_of_its_weights_and_defaults_are_those_of_the_papers() -> None:
    assert TempcnnSpec(epochs=3).sizes == {"filters": 64, "kernel": 5, "dense": 256}
    assert LtaeSpec(width=32, dropout=0).sizes == {"width": 32, "heads": 8, "key": 8}
    assert (TempcnnSpec().dropout, LtaeSpec().dropout) == (0.5, 0.2)


def test_a_full_gpu_is_told_in_the_words_of_each_network() -> None:
    assert TempcnnSpec(batch=64).what_is_full == "a batch of 64 series does not fit; lower batch"
    assert UnetSpec(batch=8).what_is_full.startswith("a batch of 8 patches of 64 px does not fit; lower batch or")


def test_models_learn_from_features_and_from_series_but_not_from_passes() -> None:
    assert isinstance(input_recipe("coastal_series"), SeriesRecipe)
    assert input_recipe("mangrove_features").kind == "features"
    with pytest.raises(ValueError, match="'coastal_observations' is of kind observations: expected kind features or s"):
        input_recipe("coastal_observations")
