"""Recipes of models that learn from tables."""

from products.learning.table_recipe import TableRecipe
from products.registry import parse_recipe


def recipe_of(text: str) -> TableRecipe:
    """The recipe that a YAML text says."""
    recipe = parse_recipe(text, "mine.yaml")
    assert isinstance(recipe, TableRecipe)
    return recipe
