"""The card of a model of pictures, for people: what those of lines and of boxes share."""

from collections.abc import Sequence

from products.learning.box_recipe import BoxRecipe
from products.learning.line_recipe import LineRecipe


def picture_card(
    recipe: LineRecipe | BoxRecipe, number: str, folder: str, notes: Sequence[str], network: str, digest: str,
    table: Sequence[str], pictures: Sequence[str], found: str,
) -> str:  # fmt: skip
    """Title and notes, the table of figures, the pictures and what they show, and the command that finds more."""
    lines = [f"# {recipe.title or recipe.name}, version {recipe.version}", "", *[f"- {note}" for note in notes], ""]
    lines += [f"Model `{number}`, {network}, from the pictures in `{folder}`; SHA-256 of its weights {digest}.", ""]
    lines += [*table, "", *pictures, ""]
    lines.append(f"To find {found} in other pictures: `neocube map {recipe.name} --pictures FOLDER`.")
    return "\n".join(lines) + "\n"
