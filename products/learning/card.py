"""The model card: what was learned, from what, how well, and what it must not be taken for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from products.learning.card_cells import card_entries, of_features, stale_note
from products.learning.explain_card import importance_lines, looks_lines, selection_lines, shap_lines
from products.learning.honest_card import honest_lines, percent
from products.learning.recipe import ModelRecipe
from products.learning.tune_card import tune_lines

SIMULATED = (
    "Learned from and scored on simulated data with known truth. The figures are a regression score: they show that "
    "the pipeline works, and say nothing about accuracy on real ground."
)


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What a model was learned from, besides its recipe."""

    model_id: str
    model_digest: str
    area: str
    period: str
    crs: str
    cells: tuple[str, ...]
    labels: str
    labels_digest: str
    labels_crs: str
    n_labelled: int
    n_without_features: int
    simulated: bool
    device: str
    software: Mapping[str, str]
    n_stale_cells: int = 0
    features_version: int | None = None
    described: str = "a model"
    credits: tuple[str, ...] = ()
    holdout_seen_by: str | None = None
    n_outliers: int = 0
    label_values: tuple[str, ...] = ()


def score_name(simulated: bool) -> str:
    """What the agreement may be called."""
    return "regression score" if simulated else "accuracy"


def card_notes(recipe: ModelRecipe, facts: TrainingFacts) -> list[str]:
    """Decisions and limits in sentences."""
    split = recipe.split
    notes = [
        f"Blocks of {split.block_m:g} m were dealt into {split.folds} folds; the last was never trained on.",
        f"Of {facts.n_labelled} labelled pixels, {facts.n_without_features} lacked a feature and were dropped; "
        f"at most {recipe.samples.max_per_class} a class were drawn.",
        "The hold-out is no probability sample: areas and map accuracy with intervals need one.",
    ]
    if facts.label_values:
        notes.insert(0, f"Label values: {', '.join(facts.label_values)}.")
    if recipe.selection:
        notes.append(
            f"The features were chosen by {recipe.selection.method.replace('_', ' ')} on the folds, without the hold-out: "
            "scores by fold flatter, that of the hold-out does not."
        )
    if facts.n_outliers:
        notes.append(
            f"{facts.n_outliers} of the drawn pixels are outliers of their class: the model has learned from none of them, hold-out and folds have them."
        )
    if facts.holdout_seen_by:
        notes.append(
            f"It begins with the encoder {facts.holdout_seen_by}, which saw ground of the hold-out, without its labels: "
            "on ground that no encoder has seen the scores may be lower."
        )
    if facts.labels_crs.upper() != facts.crs.upper():
        notes.append(f"The labels were reprojected from {facts.labels_crs} to {facts.crs}.")
    notes += stale_note(facts.n_stale_cells, len(facts.cells))
    if facts.simulated:
        notes.insert(0, SIMULATED)
    return notes


def card_document(recipe: ModelRecipe, facts: TrainingFacts, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The card as JSON."""
    score, notes = score_name(facts.simulated), card_notes(recipe, facts)
    classes = {name: code for code, name in enumerate(recipe.class_names, start=1)}
    entries = card_entries(recipe, asdict(facts), facts.simulated, score, metrics, notes)
    return entries | {"classes": classes, "credits": list(facts.credits)}


def card_markdown(recipe: ModelRecipe, facts: TrainingFacts, metrics: Mapping[str, Any]) -> str:
    """The card for people."""
    holdout, score = metrics["holdout"], score_name(facts.simulated)
    spread = holdout["by_block"]
    lines = [
        f"# {recipe.title or recipe.name}, version {recipe.version}",
        "",
        *[f"- {note}" for note in card_notes(recipe, facts)],
        "",
        f"Model `{facts.model_id}`, {facts.described}, from "
        f"{of_features(recipe.features, facts.features_version)} over {facts.area}, {facts.period} ({facts.crs}), {len(facts.cells)} cells, "
        f"on {facts.device}.",
        f"Labels `{facts.labels}` (SHA-256 {facts.labels_digest[:12]}).",
        *([f"Credit: {'; '.join(facts.credits)}."] if facts.credits else []),
        "",
        f"## {score.capitalize()} on blocks never trained on",
        "",
        f"Overall {percent(holdout['overall'])} of {holdout['pixels']} pixels in {spread['blocks']} blocks "
        f"(mean of blocks {percent(spread['mean'])}, lowest {percent(spread['lowest'])}). "
        f"By fold {percent(metrics['folds_mean'])}.",
        "",
        "| class | producer's | user's | F1 | pixels | trained on |",
        "|---|---|---|---|---|---|",
        *[_class_row(name, entry, metrics["trained_on"]) for name, entry in holdout["per_class"].items()],
        "",
        *_confusion_table(recipe, holdout["confusion"]),
        "",
        "![confusion](confusion.png) ![split](split.png)",
        "",
        *(_training_lines(metrics["training"]) if "training" in metrics else []),
        *(_share_lines(metrics["shares"]) if "shares" in metrics else []),
        *(looks_lines(metrics["looks"]) if "looks" in metrics else []),
        *(importance_lines(metrics) if "permutation" in metrics else []),
        *(shap_lines(metrics["shap"]) if "shap" in metrics else []),
        *(tune_lines(metrics["tuning"]) if "tuning" in metrics else []),
        *(selection_lines(metrics["selection"]) if "selection" in metrics else []),
        *honest_lines(metrics),
    ]
    return "\n".join(lines) + "\n"


def _share_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How near the shares are that a network of chips tells."""
    rows = [f"| {name} | {of['rmse']:.3f} | {of['bias']:+.3f} | {of['mae']:.3f} |" for name, of in found.items()]
    return [
        "",
        "## Shares on chips never trained on",
        "",
        "The model tells the share of each class in a chip, from 0 to 1; classes above are the ones of the largest share.",
        "",
        "| class | root mean square error | bias | mean absolute error |",
        "|---|---|---|---|",
        *rows,
    ]


def _training_lines(told: Mapping[str, Any]) -> list[str]:
    """How a network was trained; `By fold` above is its agreement on the fold that said when to stop."""
    losses = [
        f"| {number} | {each['train']:.4f} | {each['validation']:.4f} |"
        for number, each in enumerate(told["losses"], 1)
    ]
    return [
        "## How it was trained",
        "",
        f"{told['epochs']} epochs; the weights are those of epoch {told['best_epoch']}, of the lowest loss on the fold that said when to stop, "
        "which `By fold` tells of.",
        "",
        "| epoch | loss | validation |",
        "|---|---|---|",
        *losses,
    ]


def _class_row(name: str, entry: Mapping[str, Any], trained_on: Mapping[str, int]) -> str:
    shares = " | ".join(percent(entry[key]) for key in ("producers", "users", "f1"))
    return f"| {name} | {shares} | {entry['pixels']} | {trained_on[name]} |"


def _confusion_table(recipe: ModelRecipe, matrix: list[list[int]]) -> list[str]:
    head = "| true \\ predicted | " + " | ".join(recipe.class_names) + " |"
    rows = [f"| {n} | " + " | ".join(map(str, row)) + " |" for n, row in zip(recipe.class_names, matrix, strict=True)]
    return [head, "|---" * (len(recipe.class_names) + 1) + "|", *rows]
