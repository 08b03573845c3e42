"""The card of a model that was learned from a table: what it was tried on, how well it did, and what that says."""

from collections.abc import Mapping, Sequence
from typing import Any

from products.learning.table_recipe import TableRecipe

FEW_ROWS = 100


def table_notes(recipe: TableRecipe, metrics: Mapping[str, Any], n_groups: int) -> list[str]:
    """What the figures say, and what they do not."""
    notes = []
    if recipe.water and recipe.water.reflectance == "land_surface":
        notes.append(
            "FLAGGED: land surface reflectance over water. Its correction is made for land; the spectra hold glint and haze beside the colour of the water. "
            "The recipe insists on them."
        )
    if recipe.leave_out == "group":
        notes.append(
            f"Each of {n_groups} groups ({recipe.table.group}) was answered by an estimator that saw none of its rows."
        )
    else:
        notes.append("Each row was answered by an estimator that saw all others: neighbours on the ground flatter it.")
    if recipe.table.chip_px:
        notes.append(
            f"Each row is a square of {recipe.table.chip_px} px, and its most frequent class: mixed squares have one answer too."
        )
    if recipe.estimator.is_network:
        weights = recipe.estimator.chips.weights if recipe.estimator.chips else None
        notes.append(
            f"A fifth of the rows that were learned from, drawn by the seed, said when to stop. First weights: {weights or 'random'}."
        )
    if recipe.table.scale == "log_over_median":
        notes.append(
            "Features are set against the median of their own group, the tested one too: of its values, not of its labels."
        )
    if n_groups < 3 and recipe.leave_out == "group":
        notes.append(
            "Two groups are one pair: the intervals are of their rows, and say nothing of a third region or sensor. A smoke test."
        )
    if metrics["rows"] < FEW_ROWS:
        notes.append(f"{metrics['rows']} rows of one place: a smoke test, no claim about other places or dates.")
    if metrics["rows_dropped"]:
        notes.append(f"{metrics['rows_dropped']} rows lacked a value and were dropped.")
    return notes


def table_card(
    recipe: TableRecipe, number: str, files: Sequence[str], notes: Sequence[str], metrics: Mapping[str, Any],
    pictures: Sequence[str] = (),
) -> str:  # fmt: skip
    """The card for people, with the pictures that lie beside it."""
    title = recipe.title or recipe.name
    shown = _of_classes(metrics) if recipe.class_names else _of_quantity(metrics)
    lines = [f"# {title}, version {recipe.version}", "", *[f"- {note}" for note in notes], ""]
    lines += [
        f"Model `{number}`, {recipe.estimator.kind.replace('_', ' ')}, from {', '.join(f'`{each}`' for each in files)}.",
        "",
        *shown,
        *(["", " ".join(f"![{each.partition('.')[0]}]({each})" for each in pictures)] if pictures else []),
    ]
    return "\n".join(lines) + "\n"


def _of_classes(metrics: Mapping[str, Any]) -> list[str]:
    rows = {"all": metrics["all"], **metrics["by_group"]}
    head = ["| tested on | balanced accuracy (95 %) | kappa (95 %) | overall | rows |", "|---|---|---|---|---|"]
    body = [
        f"| {name} | {_with(entry['balanced_accuracy'])} | {_with(entry['kappa'])} | {entry['overall']:.3f} | {entry['pixels']} |"
        for name, entry in rows.items()
    ]
    if "random_folds" not in metrics:
        return [*head, *body]
    flattered = metrics["random_folds"]["balanced_accuracy"]
    return [*head, *body, "", f"Folds dealt at random would have said {flattered:.3f} balanced accuracy."]


def _of_quantity(metrics: Mapping[str, Any]) -> list[str]:
    head = ["| | median symmetric accuracy | bias factor | RMSE |", "|---|---|---|---|"]
    body = [
        f"| {name} | {entry['median_symmetric_accuracy_percent']:.1f} % | {entry['bias_factor']:.3f} | {entry['rmse']:.2f} |"
        for name, entry in metrics.items()
        if name in ("model", "baseline")
    ]
    interval = metrics["interval"]
    told = f"Intervals of {interval['asked']:.0%} hold {interval['covered']:.0%} of the rows; they reach a factor of {interval['mean_factor']:.2f} either way."
    better = metrics.get("share_better_than_baseline")
    return [
        *head,
        *body,
        "",
        told,
        *(
            [f"Better than the regression on the baseline in {better:.0%} of bootstrap samples."]
            if better is not None
            else []
        ),
    ]


def _with(entry: Mapping[str, Any]) -> str:
    low, high = entry["interval_95"]
    return f"{entry['value']:.3f} ({low:.3f} to {high:.3f})"
