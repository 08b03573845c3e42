"""What every card of what is learned from cells says, and what is said of the cells that it is learned from or maps: also where there are none."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from products.learning.recipe import LearnedRecipe

MOST_NAMED = 5


def card_entries(
    recipe: LearnedRecipe,
    facts: Mapping[str, Any],
    simulated: bool | None,
    score: str,
    metrics: Mapping[str, Any],
    notes: Sequence[str],
) -> dict[str, Any]:
    """What every card says as JSON, with the `facts` of what it was learned from; `simulated` is None where no labels tell."""
    return {
        "model": facts["model_id"],
        "name": recipe.name,
        "version": recipe.version,
        "title": recipe.title,
        "simulated": simulated,
        "score": score,
        "recipe": recipe.model_dump(mode="json"),
        "trained_from": dict(facts),
        "metrics": dict(metrics),
        "notes": list(notes),
    }


def of_features(name: str, version: int | None) -> str:
    """The features by name, and by version where that is known."""
    return f"`{name}`" if version is None else f"`{name}`, version {version},"


def stale_note(n_stale: int, n_cells: int) -> list[str]:
    """The note, or none where no cell was stale."""
    if not n_stale:
        return []
    return [f"{n_stale} of {n_cells} feature cells were stale: scenes or recipe had changed since they were built."]


def unbuilt_notes(
    product: str, tiles: Sequence[str], periods: Sequence[str], built: Collection[tuple[str, str]]
) -> tuple[str, ...]:
    """How many and which periods have no cell of a product on any tile, and which tiles in the other periods; nothing where all places are `built`."""
    there = {period for _, period in built}
    left_out = [period for period in periods if period not in there]
    places = [(tile, period) for period in periods if period in there for tile in tiles]
    empty = [f"{tile} in {period}" for tile, period in places if (tile, period) not in built]
    said = (
        (left_out, f"{len(periods)} periods, which are left out"),
        (empty, f"{len(places)} tiles of its periods, which stay empty"),
    )
    return tuple(
        f"{product} has no cell in {len(names)} of {of_what}: {first_of(names)}; `neocube build {product}` makes them where there are scenes"
        for names, of_what in said
        if names
    )


def first_of(names: Sequence[object]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(map(str, names[:MOST_NAMED]))}{more}"
