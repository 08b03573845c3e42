"""Prometheus metrics as a text file, for the textfile collector of a node exporter."""

import fcntl
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# https://prometheus.io/docs/instrumenting/exposition_formats: text format 0.0.4
NAME = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric with its labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric that goes up and down: its name, what it says, its samples."""

    name: str
    says: str
    samples: Sequence[Sample]


def metrics_path(home: Path, name: str) -> Path:
    """Where a metrics file of a home lies."""
    return home / "metrics" / f"{name}.prom"


def write_metrics(path: Path, gauges: Sequence[Gauge], owner: tuple[str, str]) -> None:
    """Replace the samples whose label `owner` (name, value) is ours, keep those of others; readers see all or nothing."""
    mark = _label(*owner)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = _others(path, mark)
        lines = [line for gauge in gauges for line in _lines(gauge, owner, kept.get(gauge.name, []))]
        # A dot first: the collector reads every *.prom of its folder.
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def _lines(gauge: Gauge, owner: tuple[str, str], others: Iterable[str]) -> list[str]:
    if not NAME.match(gauge.name):
        raise ValueError(f"expected a metric name such as neocube_scenes, got {gauge.name!r}")
    ours = [_sample(gauge.name, {owner[0]: owner[1], **sample.labels}, sample.value) for sample in gauge.samples]
    return [f"# HELP {gauge.name} {gauge.says}", f"# TYPE {gauge.name} gauge", *others, *ours]


def _others(path: Path, mark: str) -> dict[str, list[str]]:
    """The sample lines of a file that are not ours, by metric."""
    kept: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        if line and not line.startswith("#") and mark not in line:
            kept.setdefault(line.partition("{")[0], []).append(line)
    return kept


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    return f"{name}{{{','.join(_label(key, text) for key, text in labels.items())}}} {value:.15g}"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'{name}="{escaped}"'
