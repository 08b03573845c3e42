"""What was learned is found again by its id, which stays as it was."""

from uuid import UUID

import pytest

from flows.steps.learning.encoder_training import MASKED_VERSION
from flows.steps.learning.training import learned_id, model_id
from products.learning.components import PCA_VERSION
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import ModelRecipe
from products.registry import learned_recipe

CELLS = [UUID(int=2), UUID(int=1)]
TRANSFORM = PcaRecipe.model_validate(
    {
        "name": "few",
        "version": 1,
        "kind": "model",
        "features": "mangrove_features",
        "map": {"name": "few_map"},
        "pca": {"components": 3},
    }
)


def test_the_id_of_a_transform_stays() -> None:
    assert learned_id(TRANSFORM, CELLS, PCA_VERSION) == UUID("8fa498a6-8cff-55d8-b135-725401ff54c3")


def test_the_id_of_an_encoder_stays() -> None:
    expected = UUID("1295f2ad-57e5-5db9-8e75-b1364539d678")
    assert learned_id(learned_recipe("mangrove_encoder"), CELLS, MASKED_VERSION) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mangrove_extent", "f8a7f492-c747-587e-995f-2ce738f3e21b"),
        ("mangrove_unet", "0e78b498-30ea-5db8-934f-1af90b3e5e4a"),
    ],
)
def test_the_id_of_a_model_stays(name: str, expected: str) -> None:
    recipe = learned_recipe(name)
    assert isinstance(recipe, ModelRecipe)
    assert model_id(recipe, CELLS, "labels") == UUID(expected)
    assert model_id(recipe, CELLS[::-1], "labels") == UUID(expected)
