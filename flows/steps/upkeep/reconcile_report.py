"""What a reconciliation says in numbers: totals by collection, alarms, metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.steps.service.metrics import Gauge, Sample
from flows.steps.service.service_metrics import METRICS
from products.errors import RequestError

STATES = ("expected", "indexed", "retired", "quarantined", "missing")
DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds: the share of acquisitions that may be missing, and the age in days of the newest indexed scene."""

    max_missing: float | None = None
    max_age_days: float | None = None

    def __post_init__(self) -> None:
        if self.max_missing is not None and not 0 <= self.max_missing <= 1:
            raise RequestError(f"--max-missing: expected a share between 0 and 1, got {self.max_missing:g}")
        if self.max_age_days is not None and not self.max_age_days >= 0:
            raise RequestError(f"--max-age-days: expected days, 0 or more, got {self.max_age_days:g}")


def totals_of(freshness: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per collection over all months: expected = indexed + retired + quarantined + missing, and the newest."""
    totals: list[dict[str, Any]] = []
    for name in sorted({row["collection"] for row in freshness}):
        rows = [row for row in freshness if row["collection"] == name]
        newest = {
            key: max((row[key] for row in rows if row[key]), default=None) for key in ("newest", "newest_indexed")
        }
        totals.append({"collection": name, **{state: sum(row[state] for row in rows) for state in STATES}, **newest})
    return totals


def alarms_of(totals: Sequence[Mapping[str, Any]], limits: Limits, now: datetime) -> list[str]:
    """Each threshold that is passed, in words."""
    alarms = []
    for row in totals:
        name = row["collection"] or "items of no known collection"
        if limits.max_missing is not None and row["missing"] > limits.max_missing * row["expected"]:
            share = row["missing"] / row["expected"]
            alarms.append(
                f"{name}: {row['missing']} of {row['expected']} acquisitions are missing ({share:.1%}), "
                f"at most {limits.max_missing:.1%} may be"
            )
        if limits.max_age_days is None or not row["collection"]:
            continue
        if row["newest_indexed"] is None:
            alarms.append(f"{name}: nothing is indexed, a scene of the last {limits.max_age_days:g} days is expected")
        elif (age := (now - row["newest_indexed"]).total_seconds() / DAY_S) > limits.max_age_days:
            alarms.append(
                f"{name}: the newest indexed scene is {age:.1f} days old, at most {limits.max_age_days:g} may be"
            )
    if limits.max_age_days is not None and not totals:
        alarms.append(f"the archive lists nothing, a scene of the last {limits.max_age_days:g} days is expected")
    elif limits.max_missing is not None and not totals:
        alarms.append(f"the archive lists nothing, at most {limits.max_missing:.1%} of its acquisitions may be missing")
    return alarms


def gauges_of(report: Mapping[str, Any], now: datetime) -> list[Gauge]:
    """The metrics of a report; the writer adds the label `archive`."""
    totals = report["collections"]
    acquisitions = [
        Sample({"collection": row["collection"], "state": state}, row[state]) for row in totals for state in STATES
    ]
    newest = [
        Sample({"collection": row["collection"], "side": side}, row[key].timestamp())
        for row in totals
        for side, key in (("archive", "newest"), ("index", "newest_indexed"))
        if row[key] is not None
    ]
    months = [
        Sample({"collection": row["collection"], "month": row["month"], "state": state}, row[state])
        for row in report["freshness"]
        for state in ("expected", "indexed")
    ]
    findings = [Sample({"kind": name}, count) for name, count in report["counts"].items()]
    of_the_service = {
        "neocube_reconcile_alarms": float(len(report["alarms"])),
        "neocube_reconcile_finished_timestamp_seconds": now.timestamp(),
    }
    return [
        Gauge("neocube_reconcile_acquisitions", "Acquisitions that the archive lists, by what the index has of them.", acquisitions),
        Gauge("neocube_reconcile_month_acquisitions", "The same by month of sensing.", months),
        Gauge("neocube_reconcile_newest_timestamp_seconds", "Sensing time of the newest acquisition.", newest),
        Gauge("neocube_reconcile_findings", "What differs between archive, index and storage.", findings),
        *(Gauge(name, METRICS[name].says, [Sample({}, value)]) for name, value in of_the_service.items()),
    ]  # fmt: skip
