"""Landsat scenes as files, for tests that load pixels."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid5

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from products.identity import NAMESPACE
from products.scene import BandFile, Scene


def write_scene(
    folder: Path, name: str, layers: Mapping[str, NDArray[Any]], ground: GeoBox, acquired: datetime,
    *, platform: str = "landsat-8", sensor: str = "oli", pass_id: str | None = None,
) -> Scene:  # fmt: skip
    """A scene whose layers (band: DN (y, x), written as uint16) lie on a ground, a file for each; by default it is a pass of its own."""
    height, width = ground.shape
    bands = {}
    for band, pixels in layers.items():
        path, nodata = folder / f"{name}_{band}.tif", 1 if band == "qa_pixel" else 0
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": str(ground.crs), "nodata": nodata}
        with rasterio.open(path, "w", **profile, height=height, width=width, transform=ground.affine) as file:
            file.write(pixels.astype(np.uint16), 1)
        bands[band] = BandFile(str(path), 2.75e-5, -0.2, nodata)
    return Scene(
        uuid5(NAMESPACE, name), name, f"landsat_{sensor}_c2_l2", "landsat-c2-l2", sensor, platform, acquired, name, "1",
        pass_id or name, ground.extent.to_crs("EPSG:4326"), bands,
    )  # fmt: skip
