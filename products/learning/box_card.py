"""The card of a detector: what it was tried on, its average precision, and what that says."""

from collections.abc import Mapping, Sequence
from typing import Any

from products.learning.box_recipe import BoxRecipe
from products.learning.picture_card import picture_card

FEW_PICTURES, FEW_BOXES = 10, 1000


def box_notes(recipe: BoxRecipe, metrics: Mapping[str, Any]) -> list[str]:
    """What the figures say, and what they do not."""
    n, n_boxes, n_lost = metrics["pictures"], metrics["all"]["true_boxes"], metrics["boxes_cut"]
    what = "strips of pictures" if recipe.boxes.strips > 1 else "pictures"
    notes = [f"Each of {n} {what} was answered by a detector that did not see it ({metrics['folds']} parts)."]
    if recipe.simulated:
        notes.append("The pictures are simulated: the figures are a regression test, and say nothing of real pictures.")
    elif n < FEW_PICTURES or n_boxes < FEW_BOXES:
        notes.append(f"{n_boxes} boxes in {n} {what} are a smoke test: no claim about other places, dates or sensors.")
    if recipe.boxes.strips > 1:
        notes.append("Strips of one picture share its light, season and sensor: they flatter a detector.")
    if n_lost:
        notes.append(f"{n_lost} boxes lie across a cut and count nowhere.")
    notes.append(
        "The first weights are random, and when to stop is told by crops of the pictures that were learned from."
    )
    return notes


def box_card(
    recipe: BoxRecipe,
    number: str,
    folder: str,
    notes: Sequence[str],
    metrics: Mapping[str, Any],
    network: str,
    digest: str,
) -> str:
    """The card for people."""
    rows = {"all": metrics["all"], **metrics["by_class"], **metrics["by_picture"]}
    head = [
        "| tested on | AP 0.50 | AP 0.75 | AP 0.50 to 0.95 | true boxes | found boxes |",
        "|---|---|---|---|---|---|",
    ]
    body = [
        f"| {name} | {_said(row['ap50'])} | {_said(row['ap75'])} | {_said(row['ap'])} | {row['true_boxes']} | {row['found_boxes']} |"
        for name, row in rows.items()
    ]
    pictures = [
        "![boxes](boxes.png) ![precision over recall](precision.png)",
        "",
        "Blue: true boxes. Orange: boxes found by a detector that did not see the picture.",
    ]
    return picture_card(recipe, number, folder, notes, network, digest, [*head, *body], pictures, "boxes")


def _said(value: float | None) -> str:
    return "no box" if value is None else f"{value:.3f}"
