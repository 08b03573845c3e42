"""The card of an encoder that learned without labels: what it saw, how well it fills in what is masked, and how a network begins with it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from products.learning.card_cells import card_entries, of_features, stale_note
from products.learning.masked_recipe import MaskedRecipe

SCORE = "error of masked pixels"


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What an encoder was learned from, besides its recipe."""

    model_id: str
    model_digest: str
    described: str
    area: str
    period: str
    crs: str
    cells: tuple[str, ...]
    n_places: int
    device: str
    software: Mapping[str, str]
    n_stale_cells: int = 0
    features_version: int | None = None


def encoder_notes(recipe: MaskedRecipe, facts: EncoderFacts) -> list[str]:
    """Decisions and limits in sentences."""
    spec = recipe.masked
    notes = [
        "Learned without labels: it says nothing by itself. A network of the same features begins with it where its recipe has "
        f"`weights: model:{recipe.name}`, `encoder: {spec.encoder}` and `depth: {spec.depth}`.",
        f"{spec.n_masked} of the {(spec.patch_px // spec.mask_px) ** 2} squares of {spec.mask_px} px in each patch of {spec.patch_px} px were masked; "
        f"patches were cut at {facts.n_places} places, and a fifth of the blocks of {spec.block_m:g} m, which was never learned from, said when to stop.",
        "That it fills in well does not show that a network is better for it: compare the card of the network with that of one with random weights.",
    ]
    return notes + stale_note(facts.n_stale_cells, len(facts.cells))


def encoder_document(recipe: MaskedRecipe, facts: EncoderFacts, told: Mapping[str, Any]) -> dict[str, Any]:
    """The card as JSON."""
    metrics = {"masked_error": told["validation"], "error_of_mean": told["by_mean"], "training": dict(told)}
    return card_entries(recipe, asdict(facts), None, SCORE, metrics, encoder_notes(recipe, facts))


def encoder_markdown(recipe: MaskedRecipe, facts: EncoderFacts, told: Mapping[str, Any]) -> str:
    """The card for people."""
    losses = [
        f"| {number} | {each['train']:.4f} | {each['validation']:.4f} |"
        for number, each in enumerate(told["losses"], 1)
    ]
    lines = [
        f"# {recipe.title or recipe.name}, version {recipe.version}",
        "",
        *[f"- {note}" for note in encoder_notes(recipe, facts)],
        "",
        f"Model `{facts.model_id}`, {facts.described}, of {of_features(recipe.features, facts.features_version)} over "
        f"{facts.area}, {facts.period} ({facts.crs}), {len(facts.cells)} cells, on {facts.device}.",
        "",
        "## How well it fills in",
        "",
        f"Mean absolute error of masked pixels in blocks never learned from: {told['validation']:.3f} standard deviations of a feature; "
        f"filling in the mean: {told['by_mean']:.3f}. {told['epochs']} epochs; the weights are those of epoch {told['best_epoch']}.",
        "",
        "| epoch | error | validation |",
        "|---|---|---|",
        *losses,
    ]
    return "\n".join(lines) + "\n"
