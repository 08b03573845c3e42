"""The lines of a card about intervals, calibration, sites, edges, leaks and applicability."""

from collections.abc import Mapping
from typing import Any


def honest_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Sections in Markdown, of what the metrics have."""
    return [
        *(_how_sure(metrics) if "intervals" in metrics else []),
        *(_split(metrics["split"], metrics.get("leaks", [])) if "split" in metrics else []),
        *(_applicability(metrics["applicability"]) if "applicability" in metrics else []),
    ]


def _how_sure(metrics: Mapping[str, Any]) -> list[str]:
    intervals, calibrated, sites = metrics["intervals"], metrics["calibration"], metrics["by_site"]
    f1 = ", ".join(f"{name} {_between(each)}" for name, each in intervals["f1"].items())
    known = {name: each for name, each in sites["sites"].items() if each["overall"] is not None}
    left = ", ".join(f"{name} {percent(each['overall'])}" for name, each in known.items())
    return [
        "",
        "## How sure this is",
        "",
        f"- 95 % of {intervals['blocks']} blocks drawn anew: overall {_between(intervals['overall'])}, balanced "
        f"{_between(intervals['balanced'])}, kappa {_range(intervals['kappa'])}; F1 of {f1}.",
        f"- Probabilities: Brier score {calibrated['brier']:.4f}, expected calibration error {calibrated['ece']:.4f}.",
        f"- A site left out: {left}; variance {_number(sites['variance'])}."
        if known
        else f"- Sites: {len(sites['sites'])}, none can be left out, so nothing is said of ground elsewhere.",
        "- By distance to another class: "
        + ", ".join(
            f"{'up to ' + format(each['up_to_m'], 'g') + ' m' if each['up_to_m'] else 'farther'} {percent(each['overall'])} of {each['pixels']}"
            for each in metrics["by_edge_distance"]
        )
        + ".",
        "",
        "![calibration](calibration.png)",
    ]


def _split(split: Mapping[str, Any], leaks: list[Mapping[str, Any]]) -> list[str]:
    told = [f"- Accepted: {leak['what']}." for leak in leaks]
    return [
        "",
        "## The split",
        "",
        f"- {split['decision']}",
        f"- Training pixels nearer than {split['buffer_m']:g} m to a tested block were left out; `split.parquet` has the blocks.",
        *(told or ["- The audit found no leak."]),
    ]


def _applicability(said: Mapping[str, Any]) -> list[str]:
    return [
        "",
        "## Area of applicability",
        "",
        f"- Threshold of the dissimilarity index (Meyer and Pebesma 2021) {said['threshold']:.3f}, from {said['points']} training samples; "
        f"of the hold-out {percent(said['holdout_inside'])} lies inside.",
    ]


def _between(interval: list[float] | None) -> str:
    return "undefined" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def _range(interval: list[float] | None) -> str:
    return "undefined" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def percent(share: float | None) -> str:
    """A share as a card shows it."""
    return "undefined" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2g}"
