"""A raster of another grid reprojected onto the pixels of a tile."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT

_RASTERIZING = threading.Lock()  # rasterio mutes a warning of its own in-memory datasets, not safely in threads
WARP_TOLERANCE_PX = 1e-10  # the transformation is not interpolated between pixels; 0 is refused


def covered_by(ground: Geometry, geobox: GeoBox) -> NDArray[np.bool_]:
    """Whether the centre of each pixel (y, x) lies on a piece of ground in the CRS of the geobox."""
    with _RASTERIZING:
        burnt = rasterize([ground.geom], out_shape=geobox.shape, transform=geobox.affine, dtype="uint8")
    return burnt.astype(bool)


def warp(
    source: Any, layer: int, nodata: float, geobox: GeoBox, resampling: str, out: NDArray[Any],  # noqa: ANN401, an open rasterio dataset
) -> tuple[int, NDArray[np.bool_]]:  # fmt: skip
    """Reproject into out (y, x), exactly and with one scale for the whole file, so that any crop gives the same pixels. A float `out` gets NaN for nodata.

    The bytes of decoded source pixels, and where (y, x) the file has pixels.
    """
    missing = np.nan if out.dtype.kind == "f" else nodata
    footprint = GeoBox(source.shape, source.transform, CRS(source.crs)).extent.to_crs(
        geobox.crs, resolution=abs(source.transform.a) * 16
    )
    covered = covered_by(footprint, geobox)
    if not covered.any():
        out[...] = missing
        return 0, covered
    across, down = geobox.resolution.x, -geobox.resolution.y
    scale = {"XSCALE": source.transform.a / across, "YSCALE": -source.transform.e / down}
    with WarpedVRT(
        source,
        crs=str(geobox.crs),
        transform=geobox.affine,
        height=out.shape[0],
        width=out.shape[1],
        resampling=Resampling[resampling],
        src_nodata=nodata,
        nodata=missing,
        tolerance=WARP_TOLERANCE_PX,
        **({"dtype": out.dtype.name} if out.dtype.kind == "f" else {}),
        **({key: repr(value) for key, value in scale.items()} if source.crs.is_projected else {}),
    ) as warped:
        warped.read(layer, out=out)
    share = covered.sum() * across * down / abs(source.transform.a * source.transform.e)
    return int(share * np.dtype(source.dtypes[layer - 1]).itemsize), covered
