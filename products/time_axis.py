"""The coordinates of time of a cell or a cube, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from products.passes import Pass
from products.period import Period
from products.template import CellTemplate

DAYS: Mapping[str, str] = {
    "units": "days since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "standard_name": "time",
}
MICROSECONDS: Mapping[str, str] = {**DAYS, "units": "microseconds since 1970-01-01"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimeCoordinate:
    """One coordinate along period or time: numbers with units, or names."""

    name: str
    dim: str
    values: NDArray[np.float64] | NDArray[np.int64] | tuple[str, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


def time_coordinates(template: CellTemplate, periods: Sequence[Period]) -> list[TimeCoordinate]:
    """`period` and `period_end` of periods; `time` and `time_end` of steps; `time` (the first sensing), `pass_id` and `platform` of passes."""
    dims = {array.time_dim for array in template.arrays}
    found = []
    if "period" in dims:
        found += [
            TimeCoordinate(name, "period", np.array([day_number(instant) for instant in instants]), DAYS)
            for name, instants in (("period", [p.start for p in periods]), ("period_end", [p.end for p in periods]))
        ]
    if template.steps is not None:
        edges = [template.steps.edges(period) for period in periods]
        found += [
            TimeCoordinate(name, "time", np.array([day_number(instant) for instant in instants]), DAYS)
            for name, instants in (
                ("time", [t for e in edges for t in e[:-1]]),
                ("time_end", [t for e in edges for t in e[1:]]),
            )
        ]
    elif "time" in dims:
        found += _passes([period for period in periods if isinstance(period, Pass)])
    return found


def day_number(instant: datetime) -> float:
    """Days since 1970-01-01 UTC."""
    return instant.timestamp() / 86400


def _passes(passes: Sequence[Pass]) -> list[TimeCoordinate]:
    sensed = np.array([(one.start - EPOCH) // timedelta(microseconds=1) for one in passes], np.int64)
    return [
        TimeCoordinate("time", "time", sensed, MICROSECONDS),
        TimeCoordinate("pass_id", "time", tuple(one.pass_id for one in passes)),
        TimeCoordinate("platform", "time", tuple(one.platform for one in passes)),
    ]
