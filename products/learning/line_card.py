"""The card of a network that finds lines in pictures: what it was tried on, how far off it was, and what that says."""

from collections.abc import Mapping, Sequence
from typing import Any

from products.learning.line_recipe import LineRecipe
from products.learning.picture_card import picture_card

FEW_PICTURES, FEW_GROUPS = 100, 10


def line_notes(recipe: LineRecipe, metrics: Mapping[str, Any]) -> list[str]:
    """What the figures say, and what they do not."""
    spec, n, n_groups = recipe.lines, metrics["all"]["pictures"], metrics["groups"]
    notes = [
        f"Each of {n} pictures was answered by a network that saw no picture of its group ({n_groups} groups in {metrics['folds']} parts)."
    ]
    if recipe.simulated:
        notes.append("The pictures are simulated: the figures are a regression test, and say nothing of real pictures.")
    elif n < FEW_PICTURES or n_groups < FEW_GROUPS:
        notes.append(
            f"{n} pictures of {n_groups} groups are a smoke test: no claim about other places, seasons or sensors."
        )
    if metrics["all"]["mean_m"] is None:
        notes.append("Distances are in pixels: no picture lies on a map with a unit of length.")
    notes.append(
        f"A picture fails where no line of {spec.min_length_px:g} px is found, or on average further than {spec.failure_px:g} px from the truth; mean and "
        "median are of all distances where one is found, far ones too."
    )
    baseline = metrics["baseline"]["mean_px"]
    notes.append(
        f"A true line of another group, laid over the picture as it is, would be {baseline:.1f} px off: this much the cutting of the pictures tells."
    )
    return notes


def line_card(
    recipe: LineRecipe,
    number: str,
    folder: str,
    notes: Sequence[str],
    metrics: Mapping[str, Any],
    network: str,
    digest: str,
) -> str:
    """The card for people."""
    unit = "px" if metrics["all"]["mean_m"] is None else "m"
    rows = {"all": metrics["all"], **(metrics["by_group"] if recipe.lines.groups else {})}
    head = [
        f"| tested on | pictures | mean, {unit} | median, {unit} | failure rate | completeness | correctness |",
        "|---|---|---|---|---|---|---|",
    ]
    body = [
        f"| {name} | {row['pictures']} | {_said(row[f'mean_{unit}'])} | {_said(row[f'median_{unit}'])} | {row['failure_rate']:.0%} | "
        f"{_percent(row['completeness'])} | {_percent(row['correctness'])} |"
        for name, row in rows.items()
    ]
    pictures = [
        f"Completeness and correctness allow {recipe.lines.tolerance_px:g} px.",
        "",
        "![lines](lines.png)",
        "",
        "Blue: true lines. Orange: lines found by a network that did not see the group of the picture.",
    ]
    return picture_card(recipe, number, folder, notes, network, digest, [*head, *body], pictures, "lines")


def _said(value: float | None) -> str:
    return "none found" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "none found" if value is None else f"{value:.0%}"
