"""One 30 m mangrove year of Landsat 5, 7 and 8 and 100 Sentinel-2 passes: from a disk and from a store at 50 ms, beside odc-stac and geomad.

`python tests/bench/year_rates.py` prints the rows as JSON: a quarter of a gigabyte of archive written once, then some eight minutes.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dask
import geomad
import numpy as np
import odc.stac
import pystac
import xarray as xr
from far_store import counted, far_store
from numpy.typing import NDArray
from rounds import row_of, take_turns
from year_archive import LEFT, SIDE_M, TOP, tile_geobox, write_year_archive

from flows.build_here import build
from flows.plan_cells import plan
from products.registry import DEFINITIONS

ROUNDS = 1  # the peer takes three minutes from a disk
ROUND_TRIP_S = 0.05
BUCKET = "year"
OURS = "ours"
BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")
SCALES = {"landsat-c2-l2": (2.75e-5, -0.2), "sentinel-2-l2a": (1e-4, 0.0)}
MASKS = {"landsat-c2-l2": "qa_pixel", "sentinel-2-l2a": "scl"}
RESAMPLING = {"landsat-c2-l2": "cubic", "sentinel-2-l2a": "average"}
CHUNKS_PX = (256, 512)  # of the peer, which reads what lies around each; the better one stands in the row
REMOTE_THREADS = 16


def rows(root: Path) -> list[dict[str, Any]]:
    """The rows of the table."""
    items = write_year_archive(root / "year")
    near, chunk_px = _near(root, items)
    return [near, _far(root, items, chunk_px)]


def usual_way(items: list[pystac.Item], target: Path, threads: int, chunk_px: int) -> None:
    """odc.stac.load of each collection by pass, masked and scaled, geomad's geomedian and MADs of both together, to_zarr; dask threads."""
    shutil.rmtree(target, ignore_errors=True)
    stack = xr.concat([_observations(items, collection, chunk_px) for collection in SCALES], "time")
    pixels = stack.transpose("y", "x", "band", "time").chunk({"band": -1, "time": -1})
    made = xr.apply_ufunc(
        _statistics, pixels, input_core_dims=[["band", "time"]], output_core_dims=[["feature"]], dask="parallelized",
        output_dtypes=["float32"], dask_gufunc_kwargs={"output_sizes": {"feature": len(BANDS) + 3}},
    )  # fmt: skip
    with dask.config.set(scheduler="threads", num_workers=threads):
        made.transpose("feature", "y", "x").drop_vars(["spatial_ref"], errors="ignore").to_dataset(
            name="features"
        ).to_zarr(target, mode="w")


def _observations(items: list[pystac.Item], collection: str, chunk_px: int) -> xr.DataArray:
    """float32 (band, time, y, x), NaN where it is masked."""
    mask = MASKS[collection]
    cube = odc.stac.load(
        [item for item in items if item.collection_id == collection],
        bands=[*BANDS, mask], geobox=tile_geobox(), groupby="solar_day", chunks={"x": chunk_px, "y": chunk_px},
        resampling={"*": RESAMPLING[collection], mask: "nearest"},
    )  # fmt: skip
    clear = (cube[mask] == 4) if mask == "scl" else (cube[mask] == 21824)
    scale, offset = (np.float32(term) for term in SCALES[collection])
    stack = xr.concat([cube[band].where(clear & (cube[band] != 0)) * scale + offset for band in BANDS], "band")
    return stack.astype("float32")


def _statistics(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """(y, x, band, time) to (y, x, feature): geomad's defaults."""
    block = np.ascontiguousarray(block)
    median = geomad.nangeomedian_pcm(block, num_threads=1)
    deviations = [mad(block, median, num_threads=1) for mad in (geomad.smad_pcm, geomad.emad_pcm, geomad.bcmad_pcm)]
    return np.concatenate([median, np.stack(deviations, -1)], axis=-1).astype(np.float32)


def _near(root: Path, items: Path) -> tuple[dict[str, Any], int]:
    """The row, and the chunks in which the peer was faster."""
    threads = len(os.sched_getaffinity(0))
    found = _read_items(items, str(items.parent))
    peers = {
        f"odc.stac.load by solar day in chunks of {chunk_px} px + geomad geomedian and MADs + to_zarr, {threads} threads": chunk_px
        for chunk_px in CHUNKS_PX
    }
    ways = {OURS: _ours(root, "near", items)} | {
        peer: partial(usual_way, found, root / "peer_year.zarr", threads, chunk_px) for peer, chunk_px in peers.items()
    }
    name = "one 30 m mangrove year of 512 px, Landsat 5, 7 and 8 and 100 Sentinel-2 passes with warping and overlaps"
    ways[OURS]()  # compiles
    seconds = take_turns(ways, ROUNDS)
    peer = min(peers, key=lambda each: sum(seconds[each]))
    row = row_of(name, seconds, OURS, peer, cells_per_hour=_per_hour(seconds[OURS]), **_size(root, "near"))
    return row, peers[peer]


def _far(root: Path, items: Path, chunk_px: int) -> dict[str, Any]:
    with far_store(items.parent, ROUND_TRIP_S) as url:
        moved = root / "year_items" / "items.json"
        moved.parent.mkdir(exist_ok=True)
        moved.write_text(items.read_text().replace('"./', f'"s3://{BUCKET}/'))
        for name, value in _environment(url).items():
            os.environ[name] = value
        found = _read_items(moved, f"s3://{BUCKET}")
        peer = f"odc.stac.load in chunks of {chunk_px} px + geomad + to_zarr from there, {REMOTE_THREADS} threads"
        counts: dict[str, list[dict[str, int]]] = {OURS: [], peer: []}

        def counting(name: str, way: Callable[[], None]) -> None:
            counted(url)
            way()
            counts[name].append(counted(url))

        build_there = _ours(root, "far", moved)
        ways: dict[str, Callable[[], None]] = {
            OURS: partial(counting, OURS, build_there),
            peer: partial(counting, peer, partial(usual_way, found, root / "peer_far.zarr", REMOTE_THREADS, chunk_px)),
        }
        seconds = take_turns(ways, ROUNDS)
        size = _size(root, "far")
    name = f"the same mangrove year from an object store at {ROUND_TRIP_S * 1000:.0f} ms"
    return row_of(
        name, seconds, OURS, peer, cells_per_hour=_per_hour(seconds[OURS]), **size, ours_asked=counts[OURS][-1],
        peer_asked=counts[peer][-1],
    )  # fmt: skip


def _ours(root: Path, name: str, items: Path) -> Callable[[], None]:
    """`neocube build` of the year as one new cell of a new version each time, in a home of its own."""
    home = root / f"home_{name}"
    os.environ["NEOCUBE_HOME"] = str(home)
    for command in (["init"], ["ingest", str(items)]):
        subprocess.run([sys.executable, "-m", "flows.cli", *command], check=True, stdout=subprocess.DEVNULL)

    def run() -> None:
        os.environ["NEOCUBE_HOME"] = str(home)
        report = build(_new_recipe(root), _area(), "2020")
        assert (report["built"], report["failed"], report["unread"]) == (1, [], []), report

    return run


def _new_recipe(root: Path) -> str:
    """`mangrove_features` on the tile, under a version that was never built."""
    text = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
    version = int(time.time() * 1000) % 2_000_000_000
    text = text.replace("crs: utm", 'crs: "EPSG:32647"').replace("tile_px: 256", "tile_px: 512")
    recipe = root / "year.recipe.yaml"
    recipe.write_text(text.replace("version: 1", f"version: {version}"))
    assert "tile_px: 512" in recipe.read_text()
    return str(recipe)


def _area() -> str:
    """A patch inside the one tile."""
    box = tile_geobox()[200:300, 200:300].extent.to_crs("EPSG:4326").boundingbox
    assert tile_geobox().boundingbox.bbox == (LEFT, TOP - SIDE_M, LEFT + SIDE_M, TOP)
    return f"{box.left},{box.bottom},{box.right},{box.top}"


def _read_items(path: Path, base: str) -> list[pystac.Item]:
    documents = json.loads(path.read_text().replace('"./', f'"{base}/'))["features"]
    return [pystac.Item.from_dict(document) for document in documents]


def _size(root: Path, name: str) -> dict[str, int]:
    """Scenes, files and decoded bytes of the cell, as its plan says."""
    os.environ["NEOCUBE_HOME"] = str(root / f"home_{name}")
    (cell,) = plan(_new_recipe(root), _area(), "2020").cells
    return {"scenes": len(cell.scenes), "bytes_read": cell.bytes_read}


def _per_hour(seconds: list[float]) -> int:
    return round(3600 * len(seconds) / sum(seconds))


def _environment(url: str) -> dict[str, str]:
    """For neocube, and for GDAL as odc-stac leaves it."""
    return {
        "NEOCUBE_S3_ENDPOINT_URL": url, "NEOCUBE_S3_ANONYMOUS": "true", "NEOCUBE_S3_REGION": "eu-west-2",
        "NEOCUBE_REMOTE_THREADS": str(REMOTE_THREADS), "AWS_S3_ENDPOINT": url.removeprefix("http://"), "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute()), indent=2) + "\n")
