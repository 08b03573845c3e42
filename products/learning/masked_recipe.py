"""The recipe of an encoder that learns without labels."""

from products.learning.masked_spec import MaskedSpec
from products.learning.recipe import LearnedRecipe


class MaskedRecipe(LearnedRecipe):
    """An encoder learned from published cells by filling in what was masked; networks of other recipes begin with it."""

    masked: MaskedSpec
