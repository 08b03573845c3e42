"""Rates of ingest: JSON on disk to committed rows against one-by-one `index.datasets.add`, and the same again at scale.

`python tests/bench/ingest_rates.py [--million] [--postgis URL]`; `rows()` gives what `run.py` prints and keeps.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid5

from datacube.index.hl import Doc2Dataset
from odc.geo.geom import box
from varied_items import ROWS, ZONES, real_items, varied_items, write_pages

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.archive_files import ArchiveFiles
from flows.steps.asset_hrefs import ItemPlace
from flows.steps.catalogue import find_scenes
from flows.steps.footprint import read_file_grid
from flows.steps.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.ingest_archive import ingest_archive
from flows.steps.items import Wanted, read_items
from flows.steps.normalise import SceneDocument, normalise
from flows.steps.scene_index import take_scenes
from products.period import Period
from products.spec import SourceSpec

N_OURS, N_PEER = 4000, 200
SMALL, LARGE, MILLION = 10_000, 100_000, 1_000_000
BATCH = 1000
QUERIES = 5
PLAN_AREA = box(1, 40, 12, 50, "EPSG:4326")
FIRST_TURN = Period(datetime(2016, 1, 1, tzinfo=UTC), datetime(2017, 1, 1, tzinfo=UTC))

Row = dict[str, Any]


def rows(root: Path, *, large: int = LARGE, index_url: str | None = None) -> list[Row]:
    """The rows of the table; `index_url`: a database of a PostGIS server, initialised or empty, instead of an embedded one."""
    settings = _settings(root / "home", index_url)
    shutil.rmtree(root, ignore_errors=True)
    init_index(settings, PRODUCT_DEFINITIONS)
    with open_index(settings) as index:
        return [*_rates(index, root), *_scale(index, large)]


def _settings(home: Path, index_url: str | None) -> Settings:
    server = {"index_url": index_url, "index_driver": "postgis"} if index_url else {}
    return Settings.model_validate({"home": home, **server})


def _rates(index: Index, root: Path) -> list[Row]:
    """Adding and re-ingesting, with the peer before and after."""
    pages = write_pages(root / "pages", N_OURS, start=10 * ZONES * ROWS)
    peer = [_one_by_one(index, root / "peer", 0)]
    first = _ingest(index, pages, added=N_OURS)
    again = _ingest(index, pages, added=0)
    peer.append(_one_by_one(index, root / "peer", N_PEER))
    add, whole = (sum(times) / len(times) for times in zip(*peer, strict=True))
    return [
        {
            "name": f"{N_OURS} Earth Search items, JSON on disk to committed rows, {index.driver}: seconds for 1000",
            "ours_s": round(first / N_OURS * 1000, 3),
            "peer": "index.datasets.add one by one, documents prepared before",
            "peer_s": round(add * 1000, 3),
            "peer_with_normalising_s": round(whole * 1000, 3),
            "limit": "",
            "limit_s": None,
        },
        {
            "name": f"the same {N_OURS} items again, known and unchanged: seconds for 1000",
            "ours_s": round(again / N_OURS * 1000, 3),
            "peer": "adding them",
            "peer_s": round(first / N_OURS * 1000, 3),
            "limit": "",
            "limit_s": None,
        },
    ]


def _ingest(index: Index, pages: Path, *, added: int) -> float:
    started = time.perf_counter()
    report = ingest_archive(index, str(pages), radiometric_check="off")
    seconds = time.perf_counter() - started
    assert (report.added, report.found) == (added, N_OURS), report
    return seconds


def _one_by_one(index: Index, folder: Path, start: int) -> tuple[float, float]:
    """(seconds to add an item, seconds to read, normalise and add it), as stac-to-dc does it."""
    shutil.rmtree(folder, ignore_errors=True)
    write_pages(folder, N_PEER, start=start)
    resolve = Doc2Dataset(index.dc.index)
    started, adding = time.perf_counter(), 0.0
    for found in read_items(str(folder), Wanted(), ArchiveFiles()):
        scene = normalise(found.document or {}, found.place, "peer", read_file_grid)
        dataset, error = resolve({**scene.document, "lineage": {}}, scene.location)
        assert dataset is not None, error
        before = time.perf_counter()
        index.dc.index.datasets.add(dataset, with_lineage=False)
        adding += time.perf_counter() - before
    return adding / N_PEER, (time.perf_counter() - started) / N_PEER


def _scale(index: Index, large: int) -> list[Row]:
    """The rate of indexing and the time of the plan's question, with few and with many scenes."""
    scenes = _scenes()
    small_rate, small_query = _filled(index, scenes, SMALL), _query(index)
    large_rate, large_query = _filled(index, scenes, large - SMALL), _query(index)
    return [
        {
            "name": f"indexing 1000 scenes more, with {large} known, {index.driver}",
            "ours_s": round(large_rate, 3),
            "peer": f"the same with {SMALL} known",
            "peer_s": round(small_rate, 3),
            "limit": "",
            "limit_s": None,
        },
        {
            "name": f"the scenes of a plan, {large} known, {index.driver}",
            "ours_s": round(large_query, 4),
            "peer": f"the same with {SMALL} known",
            "peer_s": round(small_query, 4),
            "limit": "",
            "limit_s": None,
        },
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
    place = Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute() / "ingest"
    url = sys.argv[sys.argv.index("--postgis") + 1] if "--postgis" in sys.argv else None
    found = rows(place, large=MILLION if "--million" in sys.argv else LARGE, index_url=url)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
