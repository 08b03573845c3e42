"""The tile of the first row as stackstac and as eo-learn load it, with geomad's geomedian and MADs and nothing more."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import dask
import geomad
import numpy as np
import pandas as pd
import stackstac
import xarray as xr
from eolearn.core import EOPatch, FeatureType, MapFeatureTask, MergeFeatureTask, OverwritePermission, SaveTask
from eolearn.features.feature_manipulation import SpatialResizeTask
from eolearn.features.utils import ResizeLib, ResizeMethod, ResizeParam
from eolearn.io import ImportFromTiffTask
from eolearn.mask import MaskFeatureTask
from numpy.typing import NDArray
from sentinelhub import CRS, BBox
from tile_archive import BANDS, SIDE_PX, tile_geobox

CHUNK_PX = 512
PATCH_PX = 1024
REFLECTANCE = [band for band in BANDS if band != "scl"]
NAME_OF_DATE = "S2A_47NPD_%Y%m%d_0_L2A"
NOT_CLEAR = [number for number in range(12) if number != 4]


def _to_datetime(to_datetime: Any, values: Any, *, infer_datetime_format: bool, **others: Any) -> Any:
    """pandas 3 has no `infer_datetime_format`, which stackstac 0.5 asks for; it does as that said."""
    return to_datetime(values, **others)


def stackstac_way(items: Path, target: Path, threads: int) -> None:
    """stackstac.stack in its own float32, SCL mask, geomad per chunk, to_zarr, which refuses the attributes of stackstac; dask threads."""
    shutil.rmtree(target, ignore_errors=True)
    documents = json.loads(items.read_text().replace('"href": "', f'"href": "{items.parent}/'))["features"]
    box = tile_geobox().boundingbox
    with mock.patch("stackstac.prepare.pd.to_datetime", partial(_to_datetime, pd.to_datetime)):
        cube = stackstac.stack(
            documents, assets=list(BANDS), epsg=32647, resolution=10, bounds=box.bbox, chunksize=CHUNK_PX, dtype=np.dtype("float32"),
            fill_value=np.float32("nan"), rescale=False, xy_coords=False, properties=False, band_coords=False,
        ).drop_attrs()  # fmt: skip
    stack = cube.sel(band=REFLECTANCE).where(cube.sel(band="scl", drop=True) == 4) * np.float32(1e-4)
    pixels = stack.transpose("y", "x", "band", "time").chunk({"band": -1, "time": -1})
    made = xr.apply_ufunc(
        _statistics, pixels, input_core_dims=[["band", "time"]], output_core_dims=[["feature"]], dask="parallelized",
        output_dtypes=["float32"], dask_gufunc_kwargs={"output_sizes": {"feature": len(REFLECTANCE) + 3}},
    )  # fmt: skip
    with dask.config.set(scheduler="threads", num_workers=threads):
        made.transpose("feature", "y", "x").drop_vars(["time"], errors="ignore").to_dataset(name="features").to_zarr(
            target, mode="w"
        )


def eolearn_way(items: Path, target: Path, threads: int) -> None:
    """Patches of 1024 px, so many at once as threads, each on one, as its EOExecutor has them: ImportFromTiffTask of each band, SpatialResizeTask to 10 m,
    MaskFeatureTask by SCL, geomad in a MapFeatureTask, SaveTask.
    """
    shutil.rmtree(target, ignore_errors=True)
    folders = sorted(path.name for path in items.parent.iterdir() if path.is_dir())
    times = [datetime.strptime(name, NAME_OF_DATE) for name in folders]
    save = SaveTask(str(target), features=[(FeatureType.DATA_TIMELESS, "features")], overwrite_permission=OverwritePermission.OVERWRITE_PATCH)  # fmt: skip

    def make(row: int, column: int) -> None:
        box = tile_geobox()[row : row + PATCH_PX, column : column + PATCH_PX].boundingbox.bbox
        patch = EOPatch(bbox=BBox(box, CRS("32647")), timestamps=times)
        save.execute(_computed(_loaded(patch, items.parent, folders)), eopatch_folder=f"{row}_{column}")

    corners = range(0, SIDE_PX, PATCH_PX)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(make, *zip(*product(corners, corners), strict=True)))


def _loaded(patch: EOPatch, archive: Path, folders: list[str]) -> EOPatch:
    finest = {"resize_type": ResizeParam.NEW_SIZE, "height_param": PATCH_PX, "width_param": PATCH_PX}
    for band in BANDS:
        feature = (FeatureType.MASK if band == "scl" else FeatureType.DATA, band)
        dtype = np.uint8 if band == "scl" else np.float32
        read = ImportFromTiffTask(feature, str(archive), image_dtype=dtype, timestamp_size=len(folders))
        # a list of files fails in eo-learn 1.5 where the patch has times already; a form of their names does not
        read.execute(patch, filename=f"{NAME_OF_DATE}/{band}.tif")
        if BANDS[band] != 10:
            nearest = {"resize_method": ResizeMethod.NEAREST, "resize_library": ResizeLib.CV2}
            SpatialResizeTask(features=[feature], **finest, **nearest).execute(patch)
    return patch


def _computed(patch: EOPatch) -> EOPatch:
    bands = [(FeatureType.DATA, band) for band in REFLECTANCE]
    MergeFeatureTask(bands, (FeatureType.DATA, "bands")).execute(patch)
    for feature in bands:
        del patch[feature]
    MaskFeatureTask((FeatureType.DATA, "bands"), (FeatureType.MASK, "scl"), NOT_CLEAR).execute(patch)

    def reduce(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _statistics(values.transpose(1, 2, 3, 0) * np.float32(1e-4))

    return MapFeatureTask((FeatureType.DATA, "bands"), (FeatureType.DATA_TIMELESS, "features"), reduce).execute(patch)


def _statistics(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """(y, x, band, time) to (y, x, feature): geomad's defaults."""
    block = np.ascontiguousarray(block)
    median = geomad.nangeomedian_pcm(block, num_threads=1)
    mads = [mad(block, median, num_threads=1) for mad in (geomad.smad_pcm, geomad.emad_pcm, geomad.bcmad_pcm)]
    return np.concatenate([median, np.stack(mads, axis=-1)], axis=-1).astype(np.float32)
