"""Values measured on the ground, matched to what the cells show of the same place near that time."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from flows.steps.learning.label_facts import LabelSource, label_source, says_simulated
from flows.steps.learning.label_files import LabelFile
from flows.steps.sampling.label_tables import column_of, read_shapes
from flows.steps.sampling.pixels import OWN_COLUMNS, centres, named
from flows.steps.sampling.sampled_cells import SampledCells
from flows.steps.sampling.shape_labels import pixels_of
from flows.steps.storage import Storage
from products.errors import RequestError
from products.learning.label_spec import MatchSpec

ADDED = ("measured", "hours_apart")
WITH_DAY = r"\d{4}-\d{2}-\d{2}|\d{8}(?!\d)"
HOUR, DAY = np.timedelta64(1, "h"), np.timedelta64(1, "D")
Instants = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Measured:
    """A table of measurements: their places on the grid's CRS (n, 2), their times and values; `n_without_value` more lack one."""

    source: LabelSource
    places: NDArray[np.float64]
    times: Instants
    table: pd.DataFrame
    n_without_value: int


@dataclass(frozen=True, slots=True)
class Matched:
    """A row for each measurement that was matched, what became of the others, and notes."""

    table: pd.DataFrame
    dropped: Counter[str]
    notes: tuple[str, ...]


def read_measurements(file: LabelFile, spec: MatchSpec, crs: str) -> Measured:
    """The measurements of a file; RequestError if a place, a time or a value is none."""
    frame = read_shapes(file, spec)
    if not (shapely.get_type_id(frame.geometry.values) == shapely.GeometryType.POINT).all():
        raise RequestError(f"the table {file} holds shapes that are no points: expected the places of measurements")
    said = column_of(file, frame, spec.time)
    if not pd.api.types.is_datetime64_any_dtype(said):
        said = said.astype(str)
        said = said.where(said.str.match(WITH_DAY))  # or 2020.5 and 2020 would be a first of January
    times = pd.to_datetime(said, errors="coerce", utc=True, format="ISO8601")
    if times.isna().any():
        raise RequestError(
            f"{int(times.isna().sum())} rows of {file} have no readable time in {spec.time}: expected ISO 8601 with a day, such as 2020-06-01T10:30Z"
        )
    for name in spec.values:
        if not pd.api.types.is_numeric_dtype(column_of(file, frame, name)):
            raise RequestError(f"the column {name} of {file} holds text: expected numbers")
    kept = frame[list(spec.values)].notna().all(axis=1).to_numpy()
    columns = [*spec.values, *(column_of(file, frame, name).name for name in spec.keep)]
    places = shapely.get_coordinates(frame.geometry.to_crs(crs).values)[kept]
    instants = times.dt.tz_localize(None).to_numpy().astype("datetime64[us]")[kept]
    source = label_source(file, frame.crs.to_string(), says_simulated(file))
    table = pd.DataFrame(frame)[columns][kept].reset_index(drop=True)
    return Measured(source, places, instants, table, int((~kept).sum()))


def match_pixels(storage: Storage, spec: MatchSpec, cells: SampledCells, measured: Measured, threads: int) -> Matched:
    """Each measurement with the values of its pixel at the nearest time that shows it, of those within the window."""
    names = cells.layer_names
    _check_names(spec, names)
    n_rows = len(measured.table)
    apart = np.full(n_rows, np.timedelta64(spec.within_days, "D") + np.timedelta64(1, "us"))
    values = np.full((n_rows, len(names)), np.nan, np.float32)
    cell_of, start_of = np.full(n_rows, -1, np.int64), np.full(n_rows, np.datetime64("NaT", "us"))
    x, y = np.full((2, n_rows), np.nan)
    inside, in_time = np.zeros((2, n_rows), np.bool_)
    for tile, numbers in cells.by_tile:
        geobox = cells.grid.geobox(tile)
        row, column = pixels_of(measured.places, geobox)
        here = np.flatnonzero((row >= 0) & (row < geobox.shape[0]) & (column >= 0) & (column < geobox.shape[1]))
        inside[here] = True
        x[here], y[here] = centres(geobox, row[here], column[here])
        for number in numbers:
            starts, ends = cells.times_of(cells.cells[number])
            step, gap = _nearest(measured.times[here], starts, ends)
            near = np.flatnonzero(gap <= spec.within_days * DAY)
            in_time[here[near]] = True
            if near.size == 0:
                continue
            rows = here[near]
            found = cells.values(storage, cells.cells[number], row[rows], column[rows], threads)
            shown = found.reshape(starts.size, len(names), rows.size)[step[near], :, np.arange(rows.size)]
            better = np.isfinite(shown).all(axis=1) & (gap[near] < apart[rows])
            chosen = rows[better]
            values[chosen], apart[chosen] = shown[better], gap[near][better]
            cell_of[chosen], start_of[chosen] = number, starts[step[near][better]]
    matched = np.flatnonzero(cell_of >= 0)
    dropped = Counter(
        outside=int((~inside).sum()),
        nothing_in_time=int((inside & ~in_time).sum()),
        not_seen=int((in_time & (cell_of < 0)).sum()),
        without_value=measured.n_without_value,
    )
    about = pd.DataFrame(
        {"x": x, "y": y, "number": cell_of, "start": start_of, "measured": measured.times, "hours_apart": apart / HOUR}
    )
    table = pd.concat([about, measured.table, pd.DataFrame(values, columns=list(names))], axis=1).iloc[matched]
    ordered = table.sort_values(["start", "y", "x", "measured"], ignore_index=True, kind="stable")
    return Matched(_with_cells(ordered, cells), +dropped, _notes(cells, measured, ordered))


def _nearest(times: Instants, starts: Instants, ends: Instants) -> tuple[NDArray[np.int64], NDArray[np.timedelta64]]:
    """For each time the number of the interval [start, end), or instant, nearest to it, the earlier of two, and how far it is, in microseconds."""
    none, least = np.timedelta64(0, "us"), np.timedelta64(1, "us")
    after = times - ends[:, None]
    is_end = (after == none) & (starts < ends)[:, None]
    gaps = np.maximum(np.maximum(starts[:, None] - times, np.where(is_end, least, after)), none)
    step = np.argmin(gaps, axis=0)
    return step, gaps[step, np.arange(times.size)]


def _with_cells(table: pd.DataFrame, cells: SampledCells) -> pd.DataFrame:
    """The table with the id and time of each row's cell in place of its number."""
    ids, times = [str(each.cell.id) for each in cells.cells], [each.label for each in cells.cells]
    labels = sorted(set(times))
    numbers = table["number"].to_numpy()
    table.insert(2, "cell", named(numbers, ids))
    table.insert(3, "period", named([labels.index(times[number]) for number in numbers], labels))
    return table.drop(columns="number")


def _check_names(spec: MatchSpec, names: tuple[str, ...]) -> None:
    taken = {*OWN_COLUMNS, *ADDED, *names}
    for name in (*spec.values, *spec.keep):
        if name in taken:
            raise RequestError(
                f"a column of measurements is called {name!r}, as one of the table of samples: rename it"
            )


def _notes(cells: SampledCells, measured: Measured, table: pd.DataFrame) -> tuple[str, ...]:
    notes = []
    if measured.source.crs != cells.grid.crs:
        notes.append(
            f"the places of {measured.source.file.name} were reprojected from {measured.source.crs} to {cells.grid.crs}"
        )
    again = int(table.duplicated(["x", "y", "start"]).sum())
    if again:
        notes.append(f"{again} measurements share pixel and time with another one")
    return tuple(notes)
