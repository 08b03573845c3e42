"""Learning as a whole: reproducible, honest about blocks never trained on, and named for what it is."""

import numpy as np
import pytest

from products.devices import choose_backend
from products.learning.card import TrainingFacts, card_document, card_markdown
from products.learning.estimators import fit_rows, learn
from products.learning.ground_area import ground_m2, ground_of_codes
from products.learning.maps import class_colours, map_template, pixel_area
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.splits import BlockSplit
from products.template import odc_product_definition
from tests.products.striped_samples import striped

CPU = choose_backend("cpu")
RECIPE = ModelRecipe.model_validate(
    {
        "name": "coast_model",
        "version": 2,
        "kind": "model",
        "features": "coast_features",
        "samples": {"classes": ["mangrove", "water", "other"]},
        "estimator": {"random_forest": {"trees": 12, "max_depth": 6}},
        "map": {"name": "coast_map"},
    }
)


def learned_from(noise: float = 0.2) -> tuple[Samples, BlockSplit]:
    """Three stripes that one feature tells apart; the other feature is noise."""
    return striped(("ndvi_p50", "red"), {"ndvi_p50": (1, 2, 3)}, noise, 5)


def facts(simulated: bool) -> TrainingFacts:
    return TrainingFacts(
        "id", "digest", "matang", "2020", "EPSG:32647", ("a", "b"), "labels.gpkg", "f" * 64, "EPSG:4326",
        3600, 4, simulated, "cpu", {"scikit-learn": "1.5"},
    )  # fmt: skip


def test_what_can_be_told_apart_is_learned() -> None:
    forest, metrics = learn(CPU, *learned_from(), RECIPE, 1)
    assert metrics["holdout"]["overall"] > 0.97
    assert metrics["folds_mean"] > 0.97
    assert len(metrics["folds"]) == 4
    assert metrics["importance"]["ndvi_p50"] > 0.8
    assert next(iter(metrics["importance"])) == "ndvi_p50"
    assert forest.class_names == RECIPE.class_names


def test_noise_scores_like_chance_on_blocks_never_trained_on() -> None:
    _, metrics = learn(CPU, *learned_from(noise=1000.0), RECIPE, 1)
    assert metrics["holdout"]["overall"] == pytest.approx(1 / 3, abs=0.1)


def test_the_number_of_jobs_does_not_change_the_forest() -> None:
    samples, split = learned_from()
    rows = split.train_rows(split.holdout)
    one, two = (fit_rows(CPU, samples, rows, RECIPE, jobs) for jobs in (1, 2))
    assert one.digest() == two.digest()


def test_the_seed_changes_the_forest() -> None:
    samples, split = learned_from()
    rows = split.train_rows(split.holdout)
    other = RECIPE.model_copy(update={"seed": 1})
    assert fit_rows(CPU, samples, rows, RECIPE, 1).digest() != fit_rows(CPU, samples, rows, other, 1).digest()


def test_scores_on_simulated_data_are_never_called_accuracy() -> None:
    _, metrics = learn(CPU, *learned_from(), RECIPE, 1)
    text, document = card_markdown(RECIPE, facts(True), metrics), card_document(RECIPE, facts(True), metrics)
    assert document["score"] == "regression score"
    assert "## Regression score on blocks never trained on" in text
    assert "say nothing about accuracy on real ground" in document["notes"][0]
    assert "## Accuracy" not in text


def test_the_card_tells_reprojection_drops_and_buffer() -> None:
    _, metrics = learn(CPU, *learned_from(), RECIPE, 1)
    text = card_markdown(RECIPE, facts(False), metrics)
    assert "## Accuracy on blocks never trained on" in text
    assert "The labels were reprojected from EPSG:4326 to EPSG:32647." in text
    assert "Of 3600 labelled pixels, 4 lacked a feature" in text
    assert "| mangrove |" in text


def test_the_card_names_the_area_of_applicability_and_its_source() -> None:
    _, metrics = learn(CPU, *learned_from(), RECIPE, 1)
    metrics["applicability"] = {"threshold": 0.4567, "points": 1800, "holdout_inside": 0.978}
    text = card_markdown(RECIPE, facts(False), metrics)
    said = "Threshold of the dissimilarity index (Meyer and Pebesma 2021) 0.457, from 1800 training samples"
    assert f"## Area of applicability\n\n- {said}; of the hold-out 97.8 % lies inside." in text


def test_the_map_has_a_class_and_a_share_for_each_class() -> None:
    template = map_template(RECIPE)
    assert (template.product, template.version) == ("coast_map", 2)
    assert template.measurements == {
        "map_class": ("map_class", 0),
        "probability_mangrove": ("probability", 0),
        "probability_water": ("probability", 1),
        "probability_other": ("probability", 2),
        "dissimilarity": ("dissimilarity", 0),
        "applicable": ("applicable", 0),
        "uncertainty": ("uncertainty", 0),
    }
    measurements = odc_product_definition(template)["measurements"]
    assert isinstance(measurements, list)
    assert [(each["dtype"], each["nodata"]) for each in measurements] == [
        ("uint8", 0),
        *[("uint8", 255)] * 3,
        ("float32", "NaN"),
        *[("uint8", 255)] * 2,
    ]


def test_pixel_areas_add_up_to_the_area() -> None:
    codes = np.array([[1, 1, 2], [3, 0, 2]], np.uint8)
    inside = np.array([[True, True, True], [True, True, False]])
    x, y = 4_300_015.0 + 30 * np.arange(3), 3_200_015.0 - 30 * np.arange(2)  # of an equal-area grid
    found = pixel_area(ground_of_codes(codes, inside, 4, "EPSG:3035", x, y, 30.0), RECIPE.class_names)
    assert [(each["class"], each["area"]) for each in found] == [
        ("mangrove", 0.18), ("water", 0.09), ("other", 0.09), ("no data", 0.09),
    ]  # fmt: skip
    assert {each["unit"] for each in found} == {"ha"}


def test_pixel_areas_are_those_of_the_ground_wherever_a_grid_stretches_it() -> None:
    codes = np.ones((2000, 100), np.uint8)
    x = 1_000_015.0 + 30 * np.arange(100)
    for crs, top, bottom, hectares in (
        (
            "EPSG:3857",
            8_399_738.0,
            8_339_738.0,
            4538.5,
        ),  # at 60 degrees north, where a metre of the map is half of one on the ground
        ("EPSG:6933", 6_000_000.0, 5_940_000.0, 18_000.0),
    ):
        y = np.linspace(top - 15, bottom + 15, 2000)
        found = pixel_area(ground_of_codes(codes, codes > 0, 4, crs, x, y, 30.0), RECIPE.class_names)
        whole = ground_m2(crs, x, y[:1000], 30.0).sum() + ground_m2(crs, x, y[1000:], 30.0).sum()
        assert found[0]["area"] == pytest.approx(whole / 10_000, rel=1e-4)
        assert found[0]["area"] == pytest.approx(hectares, rel=2e-3) and found[-1]["area"] == 0


def test_every_class_has_a_colour_of_its_own() -> None:
    names = ("mangrove", "ice", "rock", *(f"crop_{i}" for i in range(4)))
    assert len(set(class_colours(names).values())) == len(names)
