"""Rates of ingest: JSON on disk to committed rows against stac-to-dc and `index.datasets.add`, again when known, and with more.

`python tests/bench/ingest_rates.py [--large] [--postgis URL]`; `rows()` gives what `run.py` prints and keeps. Two minutes on two
idle cores, with 0.9 GB of items on disk for as long. `--large`: 100 000 items from disk instead of 40 000 (2.2 GB) and 1 000 000 scenes
in the index instead of 50 000, about half an hour. `--postgis`: a database of a PostGIS server instead of an embedded one, without the rows of memory.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid5

import psutil
from datacube.index.hl import Doc2Dataset
from odc.apps.dc_tools.stac_api_to_dc import process_item
from odc.geo.geom import box
from pystac import Item
from varied_items import ROWS, ZONES, real_items, varied_items, write_pages

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.items import Wanted, read_items
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.index.scene_index import take_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.ingesting.ingest_report import IngestReport
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise
from products.period import Period
from products.source_spec import SourceSpec

N_ROUND, N_PEER, ROUNDS = 10_000, 200, 2
N_ITEMS, N_ITEMS_LARGE = 40_000, 100_000
SMALL, LARGE, MILLION = 10_000, 50_000, 1_000_000
BATCH = 1000
QUERIES = 5
FIRST_ITEM = 10 * ZONES * ROWS
PEER_PRODUCT = "sentinel_2_l2a"
PEER_BANDS = (
    *("aot", "blue", "coastal", "green", "nir", "nir08", "nir09", "red", "rededge1", "rededge2", "rededge3"),
    *("scl", "swir16", "swir22", "wvp"),
)
PLAN_AREA = box(1, 40, 12, 50, "EPSG:4326")
FIRST_TURN = Period(datetime(2016, 1, 1, tzinfo=UTC), datetime(2017, 1, 1, tzinfo=UTC))

Row = dict[str, Any]


def rows(root: Path, *, large: bool = False, index_url: str | None = None) -> list[Row]:
    """The rows of the table; `index_url`: a database of a PostGIS server, initialised or empty, instead of an embedded one."""
    shutil.rmtree(root, ignore_errors=True)
    pages = _write_items(root / "pages", N_ITEMS_LARGE if large else N_ITEMS)
    settings = _settings(root / "home", index_url)
    init_index(settings, PRODUCT_DEFINITIONS)
    with open_index(settings) as index:
        found = _rates(index, pages, root / "peer")
        found += _scale(index, MILLION if large else LARGE)
    if index_url is None:
        found += _memory(root, pages)
    shutil.rmtree(pages)
    return found


def _settings(home: Path, index_url: str | None = None) -> Settings:
    server = {"index_url": index_url, "index_driver": "postgis"} if index_url else {}
    return Settings.model_validate({"home": home, **server})


def _write_items(folder: Path, n_items: int) -> Path:
    """Folders of pages: one of 10 000 items for each round of adding, and the rest."""
    for number in range(ROUNDS):
        write_pages(folder / f"round_{number}", N_ROUND, start=FIRST_ITEM + number * N_ROUND)
    write_pages(folder / "rest", n_items - ROUNDS * N_ROUND, start=FIRST_ITEM + ROUNDS * N_ROUND)
    return folder


def _rates(index: Index, pages: Path, peer_folder: Path) -> list[Row]:
    """Adding and re-ingesting; the peer takes turns with adding."""
    adds, tool, adding, again, untouched = [_add_one_by_one(index, peer_folder, 0)], [], [], [], []
    for number in range(ROUNDS):
        folder = pages / f"round_{number}"
        tool.append(_stac_to_dc(index, peer_folder, number * N_PEER))
        adding.append(_ingest(index, folder, added=N_ROUND))
        adds.append(_add_one_by_one(index, peer_folder, (number + 1) * N_PEER))
        again += [_ingest(index, folder, full=True) for _ in range(2)]
        untouched.append(_ingest(index, folder))
    name = f"{N_ROUND} Earth Search items, JSON on disk to committed rows, {index.driver}: seconds for 1000"
    return [
        _row(name, adding, "stac-to-dc's own code (odc-apps-dc-tools), one by one", median(tool) * 1000)
        | {"peer_rounds": [round(each * 1000, 3) for each in tool]},
        _row(
            f"the same, against adding alone, {index.driver}",
            adding,
            "index.datasets.add one by one, documents prepared before",
            median(adds) * 1000,
        ),
        _row(
            f"the same {N_ROUND} items again, each read and known by its digest: seconds for 1000",
            again,
            "adding them",
            median(adding),
        ),
        _row(
            f"the same {N_ROUND} items again, in files that are as they were: seconds for 1000",
            untouched,
            "adding them",
            median(adding),
        ),
    ]


def _row(name: str, ours: list[float], peer: str, peer_s: float) -> Row:
    """One row: seconds for 1000, the median of some rounds."""
    return {
        "name": name,
        "ours_s": round(median(ours), 4),
        "peer": peer,
        "peer_s": round(peer_s, 4),
        "limit": "",
        "limit_s": None,
        "rounds": [round(each, 4) for each in ours],
    }


def _ingest(index: Index, pages: Path, *, added: int = 0, full: bool = False) -> float:
    """Seconds for 1000 items."""
    started = time.perf_counter()
    report = ingest_archive(index, str(pages), radiometric_check="off", full=full)
    seconds = time.perf_counter() - started
    assert (report.added, report.found) == (added, N_ROUND), report
    return seconds / N_ROUND * 1000


def _memory(root: Path, pages: Path) -> list[Row]:
    """Ingests of few and of many items, each in a process and a home of its own: rate and peak memory."""
    few, many = (_in_child(folder, root / f"home_of_{folder.name}") for folder in (pages / "round_0", pages))
    name = f"{many['items']} items in one ingest, peak memory {many['peak_bytes'] / 1e6:.0f} MB: seconds for 1000"
    peer = f"the same of {few['items']} items, {few['peak_bytes'] / 1e6:.0f} MB"
    return [
        _row(name, [many["seconds"] / many["items"] * 1000], peer, few["seconds"] / few["items"] * 1000)
        | {"peak_bytes": many["peak_bytes"], "peer_peak_bytes": few["peak_bytes"]}
    ]


def _in_child(pages: Path, home: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(pages), str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(pages: Path, home: Path) -> dict[str, float]:
    """Ingest in this process; items, seconds, and the peak bytes of this process and its workers together."""
    settings, workers = _settings(home), {}
    init_index(settings, PRODUCT_DEFINITIONS)

    def note(_: IngestReport) -> None:
        for child in psutil.Process().children():
            if "scene_worker" in " ".join(child.cmdline()):
                workers[child.pid] = _peak_bytes(child.pid)

    with open_index(settings) as index:
        report = ingest_archive(index, str(pages), radiometric_check="off", progress=note)
    assert report.added == report.found, report
    peak = _peak_bytes(os.getpid()) + sum(workers.values())
    return {"items": report.found, "seconds": report.seconds, "peak_bytes": peak}


def _peak_bytes(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def _add_one_by_one(index: Index, folder: Path, start: int) -> float:
    """Seconds that `index.datasets.add` takes for an item that was normalised and resolved before."""
    shutil.rmtree(folder, ignore_errors=True)
    write_pages(folder, N_PEER, start=start)
    resolve, adding = Doc2Dataset(index.dc.index), 0.0
    for found in read_items(str(folder), Wanted(), ArchiveFiles()):
        scene = normalise(found.document or {}, found.place, "peer", read_file_grid)
        dataset, error = resolve({**scene.document, "lineage": {}}, scene.location)
        assert dataset is not None, error
        before = time.perf_counter()
        index.dc.index.datasets.add(dataset, with_lineage=False)
        adding += time.perf_counter() - before
    return adding / N_PEER


def _stac_to_dc(index: Index, folder: Path, start: int) -> float:
    """Seconds that stac-to-dc takes for an item, from JSON on disk to committed rows: its own code, as one of its threads runs it."""
    shutil.rmtree(folder, ignore_errors=True)
    write_pages(folder, N_PEER, start=start)
    if index.dc.index.products.get_by_name(PEER_PRODUCT) is None:
        bands = [{"name": name, "dtype": "uint16", "nodata": 0, "units": "1"} for name in PEER_BANDS]
        document = {"name": PEER_PRODUCT, "description": "Scenes that stac-to-dc adds", "metadata_type": "eo3"}
        index.dc.index.products.add_document(
            {**document, "metadata": {"product": {"name": PEER_PRODUCT}}, "measurements": bands}
        )
    started = time.perf_counter()
    for page in sorted(folder.glob("*.json")):
        for item in json.loads(page.read_bytes())["features"]:
            process_item(Item.from_dict(item), index.dc, update_if_exists=False, allow_unsafe=True)
    seconds = time.perf_counter() - started
    assert len(list(index.dc.index.datasets.search(product=PEER_PRODUCT, limit=start + 1))) == start + 1
    return seconds / N_PEER


def _scale(index: Index, large: int) -> list[Row]:
    """The rate of indexing and the time of the plan's question, with few and with many scenes."""
    scenes = _scenes()
    small_rate, small_query = _filled(index, scenes, SMALL), _query(index)
    large_rate, large_query = _filled(index, scenes, large - SMALL), _query(index)
    known = f"the same with {SMALL} known"
    return [
        _row(f"indexing 1000 scenes more, with {large} known, {index.driver}", [large_rate], known, small_rate),
        _row(f"the scenes of a plan, {large} known, {index.driver}", [large_query], known, small_query),
    ]


def _filled(index: Index, scenes: Iterator[SceneDocument], n_scenes: int) -> float:
    """Index as many scenes more; median seconds for 1000 of the last ten batches."""
    seconds: list[float] = []
    for start in range(0, n_scenes, BATCH):
        some = [next(scenes) for _ in range(min(BATCH, n_scenes - start))]
        started = time.perf_counter()
        take_scenes(index, some)
        seconds.append((time.perf_counter() - started) / len(some) * 1000)
    return median(seconds[-10:])


def _query(index: Index) -> float:
    """Seconds of the plan's question to the index, the fastest of some."""
    source = SourceSpec.model_validate({"collection": "sentinel-2-l2a"})
    seconds = []
    for _ in range(QUERIES):
        started = time.perf_counter()
        assert find_scenes(index, [source], FIRST_TURN, PLAN_AREA)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _scenes() -> Iterator[SceneDocument]:
    """Scenes without end: every tile, then every tile a year and some days later, so that the plan's period stays as it is."""
    n_tiles = len(real_items()) * ZONES * ROWS
    known: list[SceneDocument] = []
    files, files_root = ArchiveFiles(), "https://earth-search.aws.element84.com/v1"

    for item in varied_items(n_tiles):
        place = ItemPlace(f"{files_root}/{item['id']}", files_root, files_root, files.files_in)
        known.append(normalise(item, place, "scale", read_file_grid))
        yield known[-1]
    turn = 1
    while True:
        yield from (_later(scene, turn) for scene in known)
        turn += 1


def _later(scene: SceneDocument, turn: int) -> SceneDocument:
    number, acquisition = uuid5(scene.id, str(turn)), f"{scene.acquisition}+{turn}"
    facts = scene.document["properties"]
    sensed = datetime.fromisoformat(facts["datetime"]) + timedelta(days=3000 + 5 * turn)
    later = {"datetime": sensed.isoformat(), "neocube:acquisition": acquisition, "neocube:item_id": str(number)}
    document = {**scene.document, "id": str(number), "properties": {**facts, **later}}
    return replace(scene, id=number, acquisition=acquisition, document=document, location=f"{scene.location}+{turn}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.stdout.write(json.dumps(_measure(*map(Path, sys.argv[2:]))) + "\n")
    else:
        place = Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute() / "ingest"
        url = sys.argv[sys.argv.index("--postgis") + 1] if "--postgis" in sys.argv else None
        sys.stdout.write(json.dumps(rows(place, large="--large" in sys.argv, index_url=url), indent=2) + "\n")
