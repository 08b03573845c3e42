"""The lines of a card about settings that were tuned."""

from collections.abc import Mapping
from typing import Any

SHOWN = 5


def tune_lines(found: Mapping[str, Any]) -> list[str]:
    """A section in Markdown: what was chosen, how the recipe's own settings fared, and the best trials; every trial is in `metrics.json`."""
    trials = found["trials"]
    best_first = sorted(range(len(trials)), key=lambda n: (-trials[n]["agreement"], n))
    rows = [f"| {n + 1} | {_said(trials[n]['settings'])} | {trials[n]['agreement']:.4f} |" for n in best_first[:SHOWN]]
    own = next((each["agreement"] for each in trials if each["settings"] == found["recipe"]), None)
    fared = "were not tried" if own is None else f"reached {own:.4f}"
    return [
        "",
        "## Settings tuned",
        "",
        f"Of {len(trials)} trials (stopped by {found['stopped_by']}) the best: {_said(found['best'])}, with an agreement of "
        f"{found['agreement']:.4f} on an inner split of the training blocks into {found['folds']} folds; the recipe's own settings, "
        f"{_said(found['recipe'])}, {fared}. The hold-out and its buffer took no part: agreement on the inner folds and by fold flatters, that of the "
        "hold-out does not.",
        "",
        "| trial | settings | agreement |",
        "|---|---|---|",
        *rows,
        "",
        "![tuning](tuning.png)",
    ]


def _said(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in settings.items())
