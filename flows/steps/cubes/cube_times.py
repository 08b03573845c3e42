"""The times of a cube as stored: periods, or the dates of passes and steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import xarray
from numpy.typing import NDArray

from products.period import Period

Instants = NDArray[np.datetime64]
TIME_DIMS = ("period", "time")
LAYER_DIMS = ("feature", "band")
A_MICROSECOND = np.timedelta64(1, "us")


@dataclass(frozen=True, slots=True)
class CubeTime:
    """One time of a cube: what it is called, its first instant, its end (excluded), and the arrays at it."""

    label: str
    first: datetime
    end: datetime
    arrays: xarray.Dataset


def times_of(cube: xarray.Dataset) -> Iterator[CubeTime]:
    """Each period, then each pass or step, with the arrays that have it."""
    for dim in (dim for dim in TIME_DIMS if dim in cube.dims):
        names = [str(name) for name, array in cube.data_vars.items() if dim in array.dims]
        for number, each in enumerate(periods_of(cube, dim)):
            arrays = cube[names].isel({dim: number})
            label = str(arrays["pass_id"].item()) if "pass_id" in cube.variables else each.label
            yield CubeTime(label, each.start, each.end, arrays)


def span_of(cube: xarray.Dataset) -> tuple[np.datetime64, np.datetime64]:
    """The first and the last instant of a cube."""
    edges = [edges_of(cube, dim) for dim in TIME_DIMS if dim in cube.dims]
    return min(starts.min() for starts, _ in edges), max(ends.max() for _, ends in edges) - A_MICROSECOND


def utc(instant: np.datetime64) -> datetime:
    """An instant of a cube as a datetime, to the microsecond."""
    return datetime.fromtimestamp(int(instant.astype("datetime64[us]").astype(np.int64)) / 1e6, UTC)


def edges_of(cube: xarray.Dataset, dim: str) -> tuple[Instants, Instants]:
    """Starts and ends, excluded; a pass is one instant."""
    starts: Instants = cube[dim].values
    return starts, cube[f"{dim}_end"].values if f"{dim}_end" in cube.variables else starts + A_MICROSECOND


def periods_of(cube: xarray.Dataset, dim: str) -> list[Period]:
    """The periods of a cube, or its passes or steps from their start to their end."""
    starts, ends = edges_of(cube, dim)
    return [Period(utc(start), utc(end)) for start, end in zip(starts, ends, strict=True)]
