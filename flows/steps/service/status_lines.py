"""The figures of the service in words, for a terminal: those of one collection, archive, product or flow together."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

SUBJECTS = ("subscription", "collection", "product", "recipe", "flow", "pool", "kind", "provider", "gpu", "part", "archive")  # fmt: skip
AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def status_lines(document: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """The checks, then every figure under what it is about, then the runs that failed last."""
    for check in document["checks"]:
        yield f"{'ok  ' if check['ok'] else 'FAIL'} {check['name']}: {check['found']}"
    groups: dict[str, list[str]] = {}
    for figure in document["figures"]:
        subject, others = _subject(figure["labels"])
        words = " ".join((figure["metric"].removeprefix("neocube_").replace("_", " "), *others))
        groups.setdefault(subject, []).append(
            f"    {_named(words):50} {_shown(figure['metric'], figure['value'], now)}"
        )
    for subject, lines in sorted(groups.items()):
        yield from ("", subject, *lines)
    if document["failures"]:
        yield from ("", "runs that failed last")
        yield from (f"    {each['at']} {each['run']}: {each['cause']}" for each in document["failures"])


def _subject(labels: Mapping[str, str]) -> tuple[str, Iterable[str]]:
    """What a figure is about, and its other labels."""
    name = next((each for each in SUBJECTS if each in labels), None)
    if name is None:
        return "store", labels.values()
    about = " at ".join((f"{name} {labels[name]}", *(labels[each] for each in labels if each == "archive" != name)))
    return about, [text for label, text in labels.items() if label not in (name, "archive")]


def _named(words: str) -> str:
    return words.replace(" timestamp seconds", "").replace(" seconds", "").replace(" bytes", "").replace(" ratio", "")


def _shown(metric: str, value: float, now: datetime) -> str:
    """A value in its unit; an instant with its age."""
    if metric.endswith("_timestamp_seconds"):
        moment = datetime.fromtimestamp(value, UTC)
        return f"{moment:%Y-%m-%d %H:%M} UTC ({_age((now - moment).total_seconds())})"
    if metric.endswith("_seconds"):
        return f"{value:.3g} s"
    if metric.endswith("_ratio"):
        return f"{value:.0%}"
    if metric.endswith("_bytes"):
        return f"{value / 1e6:,.1f} MB"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _age(seconds: float) -> str:
    size, unit = next((each for each in AGES if abs(seconds) >= each[0]), AGES[-1])
    return f"{seconds / size:.0f} {unit} ago" if seconds >= 0 else f"in {-seconds / size:.0f} {unit}"
