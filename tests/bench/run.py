"""`make bench`: ours against the named peer and the named limit, side by side in one run; the table, and var/bench.json.

`python tests/bench/run.py --readme` writes the tables of README.md and docs/benchmarks.md from var/bench.json. `--no-year` leaves out the rows of a
mangrove year, which take some minutes and a gigabyte of disk. Names of parts (`tile`, `loaders`, `kernel_rates.py`, …, `ingest`, `postgis`) run these alone and
replace their rows. A part that fails is told, its rows are lacking, and the exit code is 1.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from loader_peers import eolearn_way, stackstac_way
from peers import better_chunks, decode_once
from postgis_rates import postgis_rows
from readme_table import measured_here, write_tables
from rounds import ratio, row_of, take_turns
from tile_archive import write_tile_archive
from tile_build import ingested, new_recipe, tile_area
from varied_items import SOURCE

from datacube_config.connection import open_index
from datacube_config.settings import get_settings

ROUNDS = 3
SCRIPTS = (
    "kernel_rates.py",
    "cell_costs.py",
    "orchestration_rates.py",
    "forest_rates.py",
    "network_rates.py",
    "sample_rates.py",
    *(() if "--no-year" in sys.argv else ("year_rates.py",)),
)
BENCH_JSON, README, DOCUMENT = Path("var/bench.json"), Path("README.md"), Path("docs/benchmarks.md")


def main(only: Sequence[str] = ()) -> int:
    """Run each part, or some by name; its rows take the place of known ones of the same name, as soon as they are there."""
    root = Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute()
    BENCH_JSON.parent.mkdir(exist_ok=True)
    parts = {
        "tile": _tile, "loaders": _loaders, **{script: partial(_rows_of, name=script) for script in SCRIPTS},
        "ingest": _ingest_rows, "postgis": postgis_rows,
    }  # fmt: skip
    rows = json.loads(BENCH_JSON.read_text()) if only and BENCH_JSON.is_file() else []
    failed = []
    for name in only or parts:
        try:
            made = [{**row, "measured": measured_here()} for row in parts[name](root)]
        except Exception as error:  # noqa: BLE001, said below: the rows of the other parts took minutes
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
            failed.append(f"bench: no rows of {name}: {said or repr(error)}\n")
            continue
        names = {row["name"] for row in made}
        rows = [*(row for row in rows if row["name"] not in names), *made]
        BENCH_JSON.write_text(json.dumps(rows, indent=2) + "\n")
    sys.stdout.write(_table(rows))
    sys.stderr.writelines(failed)
    return 1 if failed else 0


def _tile(root: Path) -> list[dict[str, Any]]:
    """The row of the tile; its index's server runs, as it does where more than one command is given."""
    items, threads = write_tile_archive(root / "archive"), len(os.sched_getaffinity(0))
    build = _ours(root, items)
    with open_index(get_settings()):
        return [_tile_row(root, items, build, threads)]


def _loaders(root: Path) -> list[dict[str, Any]]:
    """The rows of other loaders."""
    items, threads = write_tile_archive(root / "archive"), len(os.sched_getaffinity(0))
    build = _ours(root, items)
    with open_index(get_settings()):
        return _loader_rows(root, items, build, threads)


def _tile_row(root: Path, items: Path, build: Callable[[], None], threads: int) -> dict[str, Any]:
    """The tile against the best that the peers do, and against decoding its files."""
    ways = {
        "decode": lambda: decode_once(items, threads),
        "ours": build,
        **better_chunks(items, root / "peer.zarr", threads),
    }
    build()
    seconds = take_turns(ways, ROUNDS)
    peer = min((512, 1024), key=lambda chunk: statistics.median(seconds[chunk]))
    return {
        "name": "one 2048 px tile, 20 Sentinel-2 dates x 6 bands + SCL, COGs to published Zarr: geomedian, MADs, 3 indices x 3 percentiles, counts",
        "ours_s": round(statistics.median(seconds["ours"]), 2),
        "peer": f"odc.stac.load + geomad geomedian and MADs + to_zarr, {peer} px chunks",
        "peer_s": round(statistics.median(seconds[peer]), 2),
        "limit": f"decoding the same files once, {threads} threads",
        "limit_s": round(statistics.median(seconds["decode"]), 2),
        "peer_over_ours": ratio(seconds[peer], seconds["ours"]),
        "ours_over_limit": ratio(seconds["ours"], seconds["decode"]),
        "rounds": {str(name): [round(value, 2) for value in values] for name, values in seconds.items()},
        **_memory(root),
    }


def _ours(root: Path, items: Path) -> Callable[[], None]:
    """`neocube build` of the tile as one new cell of a new version each time, index, accounts and read-back included."""
    ingested(root, items)
    from flows.build_here import build

    def run() -> None:
        report = build(new_recipe(root), tile_area(), "2020")
        assert (report["built"], report["failed"], report["unread"]) == (1, [], []), report

    return run


def _loader_rows(root: Path, items: Path, build: Callable[[], None], threads: int) -> list[dict[str, Any]]:
    """The same tile as other loaders read it, one round: they take minutes."""
    stackstac, eolearn = "stackstac, geomad, to_zarr, 512 px chunks", "eo-learn tasks, geomad, 1024 px patches"
    ways: dict[str, Callable[[], None]] = {
        "ours": build,
        stackstac: lambda: stackstac_way(items, root / "peer_stackstac.zarr", threads),
        eolearn: lambda: eolearn_way(items, root / "peer_eolearn", threads),
    }
    build()  # compiles
    seconds = take_turns(ways, 1)
    named = {stackstac: "the same tile as stackstac loads it", eolearn: "the same tile as eo-learn loads it"}
    return [row_of(name, seconds, "ours", peer) for peer, name in named.items()]


def _ingest_rows(root: Path) -> list[dict[str, Any]]:
    """Nothing, and said so, without the recorded items that it varies."""
    if not SOURCE.is_dir():
        sys.stderr.write(f"bench: no rates of ingest, they vary recorded items, and {SOURCE} is not there\n")
        return []
    return _rows_of(root, "ingest_rates.py")


def _rows_of(root: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a script, in a process of its own."""
    script = Path(__file__).with_name(name)
    done = subprocess.run(
        [sys.executable, str(script)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "NEOCUBE_BENCH": str(root)},
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout[done.stdout.index("[\n") :])
    return rows


def _memory(root: Path) -> dict[str, int]:
    """What a build plans and what it takes, in a process of its own."""
    script = Path(__file__).with_name("peak_memory.py")
    done = subprocess.run(
        [sys.executable, str(script), new_recipe(root), tile_area()], check=True, capture_output=True, text=True
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| job | ours | peer | peer / ours | limit | ours / limit |", "|---|---|---|---|---|---|"]
    for row in rows:
        peer = _spread(row.get("peer_over_ours"), row["peer_s"] / row["ours_s"])
        limit = (
            f"{row['limit']}: {row['limit_s']} s | {_spread(row.get('ours_over_limit'), 0)}" if row["limit_s"] else "| "
        )
        lines.append(f"| {row['name']} | {row['ours_s']} s | {row['peer']}: {row['peer_s']} s | {peer} | {limit} |")
    for row in (row for row in rows if "planned_bytes" in row):
        planned, peak = row["planned_bytes"] / 1e9, row["peak_bytes"] / 1e9
        lines += ["", f"Peak memory of {row['name'].partition(',')[0]} {peak:.2f} GB, planned {planned:.2f} GB."]
    return "\n".join([*lines, ""])


def _spread(ratios: dict[str, float] | None, single: float) -> str:
    return f"{ratios['median']} ({ratios['min']} to {ratios['max']})" if ratios else f"{single:.2f}"


if __name__ == "__main__":
    if "--readme" in sys.argv:
        lacking = write_tables(README, DOCUMENT, BENCH_JSON)
        sys.stderr.writelines(f"bench: no row for {job}: run its part, or the whole `make bench`\n" for job in lacking)
    else:
        sys.exit(main([each for each in sys.argv[1:] if not each.startswith("--")]))
