"""Items of stac-geoparquet, a few hundred rows at a time."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow
import pyarrow.parquet
import rustac

from flows.steps.archives.found_items import FoundItem, Source, Wanted

PARQUET = (".parquet", ".geoparquet")
COLUMNS = {"id", "geometry", "assets"}
ROWS_AT_ONCE = 500


def parquet_items(location: str, source: Source, wanted: Wanted | None = None) -> Iterator[FoundItem]:
    """The items of a stac-geoparquet file; row groups whose statistics lie outside what is wanted are not read."""
    try:
        with source.files.opened(location) as stream, pyarrow.parquet.ParquetFile(stream) as table:
            groups = [n for n in range(table.num_row_groups) if _may_hold(table.metadata.row_group(n), wanted)]
            if missing := COLUMNS - {*table.schema_arrow.names}:
                raise ValueError(f"expected stac-geoparquet, got no column {', '.join(sorted(missing))}")
            for batch in table.iter_batches(ROWS_AT_ONCE, groups):
                yield from source.features(_features(batch), location)
    except (OSError, ValueError, pyarrow.ArrowException, rustac.RustacError) as error:
        yield source.unreadable(location, error)


def _features(batch: Any) -> list[dict[str, Any]]:  # noqa: ANN401, pyarrow's record batch
    """The items of some rows; copied first, as rustac 0.9 panics on arrays that start within others."""
    rows = batch.take(pyarrow.array(range(batch.num_rows)))
    try:
        return list(rustac.from_arrow(pyarrow.Table.from_batches([rows]))["features"])
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise ValueError(f"expected stac-geoparquet: {error}") from None
        raise


def _may_hold(group: Any, wanted: Wanted | None) -> bool:  # noqa: ANN401, pyarrow's row group
    if wanted is None:
        return True
    ranges = {}
    for number in range(group.num_columns):
        column = group.column(number)
        if column.statistics is not None and column.statistics.has_min_max:
            ranges[column.path_in_schema] = (column.statistics.min, column.statistics.max)
    return _meets_interval(ranges.get("datetime"), wanted.interval) and _meets_bounds(ranges, wanted.bounds)


def _meets_interval(found: tuple[Any, Any] | None, interval: str | None) -> bool:
    if found is None or interval is None or not isinstance(found[0], datetime) or found[0].tzinfo is None:
        return True
    start, _, end = interval.partition("/")
    return bool(found[0] <= datetime.fromisoformat(end) and found[1] >= datetime.fromisoformat(start))


def _meets_bounds(ranges: dict[str, Any], bounds: tuple[float, float, float, float] | None) -> bool:
    """By latitude only: the boxes across the antimeridian make nothing of the longitudes of a group."""
    if bounds is None or "bbox.ymin" not in ranges or "bbox.ymax" not in ranges:
        return True
    return bool(ranges["bbox.ymin"][0] <= bounds[3] and ranges["bbox.ymax"][1] >= bounds[1])
