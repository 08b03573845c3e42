"""What others do with the same files: the limit (decoding them once) and the usual way (odc-stac, geomad, xarray to Zarr)."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import dask
import geomad
import numpy as np
import odc.stac
import pystac
import rasterio
import xarray as xr
from numpy.typing import NDArray
from tile_archive import BANDS, tile_geobox

REFLECTANCE = [band for band in BANDS if band != "scl"]


def decode_once(items: Path, threads: int) -> None:
    """Read every file of the archive whole, nothing else."""
    files = [path for band in BANDS for path in sorted(items.parent.glob(f"*/{band}.tif"))]

    def read(path: Path) -> int:
        with rasterio.open(path, sharing=False) as file:
            return int(file.read(1).nbytes)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, files))


def usual_way(items: Path, target: Path, chunk_px: int, threads: int) -> None:
    """odc.stac.load, SCL mask, geomad geomedian and three MADs per chunk, to_zarr; dask threads."""
    shutil.rmtree(target, ignore_errors=True)
    documents = json.loads(items.read_text())["features"]
    found = [pystac.Item.from_dict(document) for document in documents]
    for item in found:
        item.set_self_href(str(items))
        item.make_asset_hrefs_absolute()
    cube = odc.stac.load(found, bands=list(BANDS), geobox=tile_geobox(), chunks={"x": chunk_px, "y": chunk_px})
    clear = cube.scl == 4
    stack = xr.concat([cube[band].where(clear & (cube[band] != 0)) * np.float32(1e-4) for band in REFLECTANCE], "band")
    pixels = stack.astype("float32").transpose("y", "x", "band", "time").chunk({"band": -1, "time": -1})
    made = xr.apply_ufunc(
        _statistics, pixels, input_core_dims=[["band", "time"]], output_core_dims=[["feature"]], dask="parallelized",
        output_dtypes=["float32"], dask_gufunc_kwargs={"output_sizes": {"feature": len(REFLECTANCE) + 3}},
    )  # fmt: skip
    with dask.config.set(scheduler="threads", num_workers=threads):
        made.transpose("feature", "y", "x").drop_vars(["spatial_ref"], errors="ignore").to_dataset(
            name="features"
        ).to_zarr(target, mode="w")


def better_chunks(items: Path, target: Path, threads: int) -> dict[int, Callable[[], None]]:
    """The usual way in chunks of 512 and of 1024 pixels."""
    return {chunk: partial(usual_way, items, target, chunk, threads) for chunk in (512, 1024)}


def _statistics(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """(y, x, band, time) to (y, x, feature): geomad's defaults."""
    block = np.ascontiguousarray(block)
    median = geomad.nangeomedian_pcm(block, num_threads=1)
    deviations = [mad(block, median, num_threads=1) for mad in (geomad.smad_pcm, geomad.emad_pcm, geomad.bcmad_pcm)]
    return np.concatenate([median, np.stack(deviations, -1)], axis=-1).astype(np.float32)
