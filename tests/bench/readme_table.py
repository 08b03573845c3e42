"""The tables of README.md and docs/benchmarks.md, from var/bench.json: a short line for each row of the bench, and where it was measured."""

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

START, END = "<!-- bench: start -->", "<!-- bench: end -->"
HEAD = "| job | ours | compared with | takes | times ours |"


@dataclass(frozen=True, slots=True)
class Line:
    """How a row of the bench, known by texts of its name, stands in the README; `{known}`: how many scenes its name says are known.

    README.md has the main ones, docs/benchmarks.md all.
    """

    name: tuple[str, ...]
    job: str
    peer: str
    is_main: bool = False


LINES = (
    Line(("one 2048 px tile, ",), "one 2048 px tile, 20 dates, files to published cell", "odc.stac and geomad", True),
    Line(("the same tile as stackstac loads it",), "the same tile", "stackstac and geomad", True),
    Line(("the same tile as eo-learn loads it",), "the same tile", "eo-learn and geomad", True),
    Line(("one 30 m mangrove year of 512 px, ",), "a 30 m mangrove year, 5 satellites, 512 px", "odc.stac and geomad", True),
    Line(("the same mangrove year from an object store",), "the same from S3, 50 ms away", "odc.stac and geomad", True),
    Line(("geomedian and three MADs from integers in memory, ",), "geomedian and MADs, from integers", "geomad", True),
    Line(("five percentiles of one band, ", "np.nanquantile"), "five percentiles of a band", "`np.nanquantile`, one thread", True),
    Line(("five percentiles of one band, ", "numbagg"), "five percentiles of a band", "numbagg"),
    Line(("five percentiles of one band, ", "bottleneck"), "five percentiles of a band", "bottleneck"),
    Line(("a forest of ", "beside scikit-learn"), "a forest over 512 x 1024 px, 100 trees", "scikit-learn", True),
    Line(("a forest of ", "beside ONNX"), "a forest over 512 x 1024 px, 100 trees", "ONNX Runtime"),
    Line(("U-Net resnet18 over ",), "a U-Net over 512 px, blended patches", "its forward passes alone"),
    Line(("planning a cell of ",), "planning a cell of 10,000", "of 10"),
    Line(("building a cell of ",), "a small cell of 40, from plan to cube", "of 10"),
    Line(("in tasks on a Prefect server",), "a small cell in a task of Prefect", "without Prefect"),
    Line(("1,000,000 labelled pixels of a cube, ",), "1,000,000 labelled pixels to a table", "xarray's `.sel`", True),
    Line(("JSON on disk to committed rows, ", "postgres"), "1000 items to committed rows", "stac-to-dc", True),
    Line(("the same, against adding alone, ", "postgres"), "the same", "ODC's `add` alone"),
    Line(("items again, each read and known by its digest: ",), "1000 known items, each read", "adding them"),
    Line(("items again, in files that are as they were: ",), "1000 known items, untouched files", "adding them"),
    Line(("indexing 1000 scenes more, with ",), "1000 scenes more with {known} known", "with 10,000 known"),
    Line(("the scenes of a plan, ", "postgres"), "scenes of a plan, {known} known", "10,000 known"),
    Line(("Earth Search items, JSON on disk to committed rows, PostGIS: ",), "PostGIS: 1000 items to committed rows", "ODC's `add`"),
    Line(("items more with 100000 known, ", "PostGIS"), "PostGIS: 100,000 items more", "ODC's `add`, extrapolated"),
    Line(("items again, each read and known by its digest, PostGIS",), "PostGIS: these 100,000 again, each read", "adding them"),
    Line(("items again, in files that are as they were, PostGIS",), "PostGIS: these 100,000 again, untouched files", "adding them"),
    Line(("items more with 1000000 known, JSON"), "PostGIS: 1000 items more with {known} known", "100,000 known"),
    Line(("the scenes of a plan, 100000 known, PostGIS",), "PostGIS: scenes of a plan, {known} known", "10,000 known"),
    Line(("the documents of a plan's scenes, 100000 known, PostGIS",), "PostGIS: their documents", "ODC's search"),
    Line(("the scenes of a plan, 1000000 known, PostGIS",), "PostGIS: scenes of a plan with {known} known", "10,000 known"),
    Line(("the documents of a plan's scenes, 1000000 known, PostGIS",), "PostGIS: their documents", "ODC's search"),
)  # fmt: skip

NOT_SHOWN = ("items in one ingest, peak memory",)  # in var/bench.json only


def measured_here() -> str:
    """Date, CPU and cores of this run."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    cpu = model[1].strip() if model else "unknown CPU"
    return f"{datetime.now(UTC):%Y-%m-%d}, {cpu}, {len(os.sched_getaffinity(0))} cores"


def write_tables(readme: Path, document: Path, bench: Path) -> list[str]:
    """Put the tables of a bench.json between the two markers of both; the jobs without a row. ValueError where a row has no line."""
    rows = json.loads(bench.read_text())
    for path, only_main in ((readme, True), (document, False)):
        before, start, rest = path.read_text().partition(START)
        _, end, after = rest.partition(END)
        if not (start and end):
            raise ValueError(f"{path} has no place for the table: expected {START} and {END}")
        path.write_text(f"{before}{START}\n{table(rows, only_main=only_main)}\n{END}{after}")
    return [line.job for line in LINES if not any(_is_of(line, row) for row in rows)]


def table(rows: list[dict[str, Any]], *, only_main: bool = False) -> str:
    """The lines in their order, all or the main ones, and when and where they were measured."""
    by_line: dict[Line, dict[str, Any]] = {}
    for row in rows:
        line = next((line for line in LINES if _is_of(line, row)), None)
        if line is None and any(part in row["name"] for part in NOT_SHOWN):
            continue
        if line is None:
            raise ValueError(f"no line for the row {row['name']!r}: add one to tests/bench/readme_table.py")
        by_line.setdefault(line, row)
    shown = [_line(line, by_line[line]) for line in LINES if line in by_line and (line.is_main or not only_main)]
    places = sorted({row["measured"] for row in by_line.values()})
    return "\n".join([HEAD, "|---|---|---|---|---|", *shown, "", f"Measured {'; '.join(places)}."])


def _is_of(line: Line, row: dict[str, Any]) -> bool:
    return all(part in row["name"] for part in line.name)


def _line(line: Line, row: dict[str, Any]) -> str:
    ratio = row["peer_over_ours"]["median"] if "peer_over_ours" in row else row["peer_s"] / row["ours_s"]
    known = re.search(r"(\d+) known", row["name"])
    job = line.job.format(known=f"{int(known[1]):,}" if known else "")
    job = f"{job} (extrapolated)" if "extrapolated" in row["name"] else job
    times = f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
    return f"| {job} | {seconds(row['ours_s'])} | {line.peer} | {seconds(row['peer_s'])} | {times} |"


def seconds(value: float) -> str:
    """A time in the unit that it is read best in, three digits."""
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"
