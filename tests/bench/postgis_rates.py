"""PostGIS on a private Debian server: the rate of ingest, and the question of a plan with few and with many scenes.

`python tests/bench/postgis_rates.py [--fleet] [--million]`: really ingest 100,000 items, and again when known; ask and ingest with 1,000,000 scenes too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

from datacube.index.hl import Doc2Dataset
from datacube.model import Range
from debian_server import debian_server, missing
from odc.geo.geom import box
from sqlalchemy import text
from varied_items import SOURCE, write_pages

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.items import Wanted, read_items
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.index.index_statistics import refresh_statistics
from flows.steps.index.scene_lookup import find_datasets
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import normalise
from products.period import Period
from products.source_spec import SourceSpec

N_FIRST, N_MORE, N_PEER = 4000, 3000, 200
SMALL, LARGE, MILLION = 10_000, 100_000, 1_000_000
FLEET, FLEET_LIMIT_S = 100_000, 600
# Where the numbers of the items begin, so that none is made twice; from the second on they lie years after the period of the plan.
PEER, WHOLE, MORE, LAST = 30_000, 3_000_000, 3_200_000, 3_300_000
AREA = box(1, 40, 12, 50, "EPSG:4326")
PERIOD = Period(datetime(2016, 1, 1, tzinfo=UTC), datetime(2017, 1, 1, tzinfo=UTC))
PRODUCT = "sentinel2_msi_l2a"
# Scenes of the same tiles, long after the period: the tables and indexes that a question of place and time may take.
GROW = """
    set local session_replication_role = replica;
    create temp table fresh on commit drop as
        select d.id as old, gen_random_uuid() as id, (floor(random() * 3650) + 5000) * interval '1 day' as later
        from odc.dataset d cross join generate_series(1, {turns}) limit {lacking};
    insert into odc.dataset (id, metadata_type_ref, product_ref, metadata, uri_scheme, uri_body)
        select f.id, d.metadata_type_ref, d.product_ref, jsonb_set(d.metadata || jsonb_build_object('id', f.id),
            '{{properties,datetime}}', to_jsonb(to_char((d.metadata #>> '{{properties,datetime}}')::timestamptz + f.later,
                'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))), d.uri_scheme, d.uri_body
        from fresh f join odc.dataset d on d.id = f.old;
    insert into odc.dataset_search_datetime
        select f.id, s.search_key, tstzrange(lower(s.search_val) + f.later, upper(s.search_val) + f.later, '[]')
        from fresh f join odc.dataset_search_datetime s on s.dataset_ref = f.old;
    insert into odc.spatial_4326
        select f.id, s.extent from fresh f join odc.spatial_4326 s on s.dataset_ref = f.old;
"""

Row = dict[str, Any]


def postgis_rows(root: Path) -> list[Row]:
    """The rows of the table, made in a process of its own; none, and why, where the server or the recorded items are not."""
    absent = missing() or (None if SOURCE.is_dir() else f"it varies recorded items, and {SOURCE} is not there")
    if absent:
        sys.stderr.write(f"bench: no rows of PostGIS: {absent}\n")
        return []
    command = [sys.executable, __file__, *(flag for flag in ("--fleet", "--million") if flag in sys.argv)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=_environment(root))
    found: list[Row] = json.loads(done.stdout)
    return found


def rows(root: Path, *, is_fleet: bool = False, is_million: bool = False) -> list[Row]:
    """The same rows, made here."""
    rmtree(root, ignore_errors=True)
    with debian_server() as url:
        settings = Settings.model_validate({"home": root / "home", "index_url": url, "index_driver": "postgis"})
        init_index(settings, PRODUCT_DEFINITIONS)
        with open_index(settings) as index:
            first, add = _ingest(index, root / "first", N_FIRST, 0), _one_by_one(index, root / "peer")
            found = [_first_row(first, add)]
            _grow(index, SMALL)
            few = _fastest(index, _plan)
            _grow(index, LARGE)
            found += _plan_rows(index, few, LARGE)
            n_more, start = (FLEET, WHOLE) if is_fleet else (N_MORE, MORE)
            adding = _ingest(index, root / "more", n_more, start)
            found.append(_fleet_row(adding, n_more, add))
            if is_fleet:
                found += _known_rows(index, root / "more", adding)
            if is_million:
                at_first = _ingest(index, root / "next", N_MORE, MORE) if is_fleet else adding
                _grow(index, MILLION)
                found += [
                    *_plan_rows(index, few, MILLION),
                    _flat_row(_ingest(index, root / "last", N_MORE, LAST), at_first),
                ]
            return found


def _environment(root: Path) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("NEOCUBE_")}
    return {**known, "NEOCUBE_BENCH": str(root)}


def _first_row(seconds: float, add_s: float) -> Row:
    return {
        "name": f"{N_FIRST} Earth Search items, JSON on disk to committed rows, PostGIS: seconds for 1000",
        "ours_s": round(seconds / N_FIRST * 1000, 3),
        "peer": "index.datasets.add one by one, documents prepared before",
        "peer_s": round(add_s * 1000, 3),
        "limit": "",
        "limit_s": None,
        "items_per_s": round(N_FIRST / seconds),
    }


def _fleet_row(seconds: float, n_items: int, add_s: float) -> Row:
    """What the fleet's backlog takes: measured where as many items were ingested, else at the rate of some."""
    whole = seconds / n_items * FLEET
    share = round(whole / FLEET_LIMIT_S, 2)
    how = "ingested" if n_items == FLEET else f"extrapolated from {n_items}"
    return {
        "name": f"{FLEET} items more with {LARGE} known, JSON on disk to committed rows, PostGIS: {how}",
        "ours_s": round(whole, 1),
        "peer": "index.datasets.add one by one, documents prepared before: extrapolated",
        "peer_s": round(add_s * FLEET, 1),
        "limit": "ten minutes",
        "limit_s": FLEET_LIMIT_S,
        "ours_over_limit": {"min": share, "median": share, "max": share},
        "items_per_s": round(n_items / seconds),
    }


def _known_rows(index: Index, pages: Path, adding_s: float) -> list[Row]:
    """The fleet's backlog again: each item read and known by its digest, and in files that are as they were."""
    found = []
    again = (
        (f"these {FLEET} items again, each read and known by its digest, PostGIS", True),
        (f"these {FLEET} items again, in files that are as they were, PostGIS", False),
    )
    for name, full in again:
        started = time.perf_counter()
        report = ingest_archive(index, str(pages), radiometric_check="off", full=full)
        seconds = time.perf_counter() - started
        assert (report.added, report.found) == (0, FLEET), report
        found.append(
            {
                "name": name,
                "ours_s": round(seconds, 2),
                "peer": "adding them",
                "peer_s": round(adding_s, 1),
                "limit": "",
                "limit_s": None,
            }
        )
    return found


def _flat_row(seconds: float, at_first_s: float) -> Row:
    """The rate of ingest with a million scenes, against that with few."""
    return {
        "name": f"{N_MORE} items more with {MILLION} known, JSON on disk to committed rows, PostGIS: seconds for 1000",
        "ours_s": round(seconds / N_MORE * 1000, 3),
        "peer": f"the same with {LARGE} known",
        "peer_s": round(at_first_s / N_MORE * 1000, 3),
        "limit": "",
        "limit_s": None,
    }


def _plan_rows(index: Index, few_s: float, n_scenes: int) -> list[Row]:
    """The question of a plan with as many scenes, against itself with few, and its documents against ODC's search."""
    common = {"limit": "", "limit_s": None}
    return [
        {
            "name": f"the scenes of a plan, {n_scenes} known, PostGIS",
            "ours_s": round(_fastest(index, _plan), 4),
            "peer": f"the same with {SMALL} known",
            "peer_s": round(few_s, 4),
            **common,
        },
        {
            "name": f"the documents of a plan's scenes, {n_scenes} known, PostGIS",
            "ours_s": round(_fastest(index, _lookup), 4),
            "peer": "index.datasets.search by lat, lon and time",
            "peer_s": round(_fastest(index, _search), 4),
            **common,
        },
    ]


def _ingest(index: Index, folder: Path, n_items: int, start: int) -> float:
    """Seconds from item collections on disk to committed rows."""
    pages = write_pages(folder, n_items, start)
    started = time.perf_counter()
    report = ingest_archive(index, str(pages), radiometric_check="off")
    seconds = time.perf_counter() - started
    assert (report.added, report.found) == (n_items, n_items), report
    return seconds


def _one_by_one(index: Index, folder: Path) -> float:
    """Seconds that ODC's API takes to add one prepared document."""
    write_pages(folder, N_PEER, PEER)
    resolve = Doc2Dataset(index.dc.index)
    seconds = 0.0
    for found in read_items(str(folder), Wanted(), ArchiveFiles()):
        scene = normalise(found.document or {}, found.place, "peer", read_file_grid)
        dataset, error = resolve({**scene.document, "lineage": {}}, scene.location)
        assert dataset is not None, error
        started = time.perf_counter()
        index.dc.index.datasets.add(dataset, with_lineage=False)
        seconds += time.perf_counter() - started
    return seconds / N_PEER


def _grow(index: Index, n_scenes: int) -> None:
    """Fill the index up to as many scenes, inside the server; they lie after the period of the plan."""
    with index.engine.begin() as connection:
        known = int(connection.scalar(text("select count(*) from odc.dataset")) or 0)
        lacking = n_scenes - known
        connection.exec_driver_sql(GROW.format(turns=-(-lacking // known), lacking=lacking))
    refresh_statistics(index)


def _fastest(index: Index, ask: Callable[[Index], int]) -> float:
    """Seconds of a question to the index, the fastest of five."""
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        assert ask(index)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _plan(index: Index) -> int:
    return len(find_scenes(index, [SourceSpec.model_validate({"collection": "sentinel-2-l2a"})], PERIOD, AREA))


def _lookup(index: Index) -> int:
    return len(find_datasets(index, [PRODUCT], PERIOD, AREA))


def _search(index: Index) -> int:
    bounds = AREA.boundingbox
    place = {"lon": Range(bounds.left, bounds.right), "lat": Range(bounds.bottom, bounds.top)}
    return len(list(index.dc.index.datasets.search(product=PRODUCT, time=Range(PERIOD.start, PERIOD.end), **place)))


if __name__ == "__main__":
    place = Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute() / "postgis"
    made = rows(place, is_fleet="--fleet" in sys.argv, is_million="--million" in sys.argv)
    sys.stdout.write(json.dumps(made, indent=2) + "\n")
