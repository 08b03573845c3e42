"""The card of a transform: what it was fitted on and what its components explain."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from products.learning.card_cells import card_entries, of_features, stale_note
from products.learning.pca_recipe import PcaRecipe

SCORE = "explained variance"
MOST_WEIGHTS = 5


@dataclass(frozen=True, slots=True)
class TransformFacts:
    """What a transform was fitted on, besides its recipe."""

    model_id: str
    model_digest: str
    area: str
    period: str
    crs: str
    cells: tuple[str, ...]
    n_pixels: int
    n_without_features: int
    device: str
    software: Mapping[str, str]
    n_stale_cells: int = 0
    features_version: int | None = None


def transform_notes(recipe: PcaRecipe, facts: TransformFacts) -> list[str]:
    """Decisions and limits in sentences."""
    spec = recipe.pca
    units = "divided by its standard deviation" if spec.standardise else "in its own unit"
    notes = [
        f"Fitted once on {facts.n_pixels} pixels, drawn by place and seed from all complete pixels of the cells; "
        "applied as it is, wherever and whenever.",
        f"{facts.n_without_features} pixels lacked a feature and were not drawn from.",
        f"Each feature was centred on its mean and {units}; components are {'' if spec.whiten else 'not '}scaled to variance 1.",
    ]
    return notes + stale_note(facts.n_stale_cells, len(facts.cells))


def transform_document(recipe: PcaRecipe, facts: TransformFacts, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The card as JSON."""
    return card_entries(recipe, asdict(facts), None, SCORE, metrics, transform_notes(recipe, facts))


def transform_markdown(recipe: PcaRecipe, facts: TransformFacts, metrics: Mapping[str, Any]) -> str:
    """The card for people."""
    lines = [
        f"# {recipe.title or recipe.name}, version {recipe.version}",
        "",
        *[f"- {note}" for note in transform_notes(recipe, facts)],
        "",
        f"Model `{facts.model_id}`, {recipe.pca.components} principal components of {of_features(recipe.features, facts.features_version)} over {facts.area}, "
        f"{facts.period} ({facts.crs}), {len(facts.cells)} cells, on {facts.device}.",
        "",
        "## Explained variance",
        "",
        f"{100 * metrics['explained_in_all']:.1f} % in all.",
        "",
        "| component | explains | largest weights |",
        "|---|---|---|",
        *[
            f"| {name} | {100 * share:.1f} % | {_largest(metrics['weights'][name])} |"
            for name, share in metrics["explained_variance"].items()
        ],
    ]
    return "\n".join(lines) + "\n"


def _largest(weights: Mapping[str, float]) -> str:
    ordered = sorted(weights.items(), key=lambda item: -abs(item[1]))
    return ", ".join(f"{name} {weight:+.2f}" for name, weight in ordered[:MOST_WEIGHTS])
