"""A raster of label values, or of what decides them, on the pixels of a grid."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyproj
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioIOError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.label_ground import ground_in, meets
from products.errors import RequestError
from products.learning.label_codes import LabelValue


def opened_raster(file: LabelFile) -> Any:  # noqa: ANN401
    """The file as rasterio opens it; RequestError if it is no raster."""
    try:
        return rasterio.open(file.path)
    except RasterioIOError as error:
        raise RequestError(f"{file} is not a readable label raster: {error}") from error


def shares_ground(file: Any, geobox: GeoBox) -> bool:  # noqa: ANN401
    """Whether a raster reaches the ground of a grid, or nearly."""
    west, bottom, east, top = file.bounds
    bounds = np.array([[west, min(bottom, top), east, max(bottom, top)]])
    return bool(meets(bounds, ground_in(geobox, pyproj.CRS(file.crs.to_wkt())))[0])


def label_pixel_size(file: Any, geobox: GeoBox) -> float:  # noqa: ANN401
    """The side of a square as large as a label pixel at the centre of a grid, in units of the grid's CRS."""
    centre = geobox.extent.centroid.coords[0]
    (x,), (y,) = transform(str(geobox.crs), file.crs, [centre[0]], [centre[1]])
    right, down = file.res
    corners = np.array(transform(file.crs, str(geobox.crs), [x, x + right, x], [y, y, y - down]))
    sides = np.hypot(*(corners[:, 1:] - corners[:, :1]))
    return float(np.sqrt(sides.prod()))


def label_values(file: Any, geobox: GeoBox) -> np.ma.MaskedArray[Any, Any]:  # noqa: ANN401
    """Label values on a grid, (y, x) in the raster's dtype, the nearest; masked outside the raster and where it has none."""
    options = {"crs": str(geobox.crs), "transform": geobox.affine, "width": geobox.width, "height": geobox.height}
    add_alpha = file.nodata is None and ColorInterp.alpha not in file.colorinterp
    with WarpedVRT(file, resampling=Resampling.nearest, add_alpha=add_alpha, **options) as view:
        return view.read(1, masked=True)


def value_counts(file: LabelFile, geoboxes: Iterable[GeoBox]) -> Counter[LabelValue]:
    """How many pixels of some grids have each value of a label raster."""
    counts: Counter[LabelValue] = Counter()
    with opened_raster(file) as raster:
        for geobox in geoboxes:
            if shares_ground(raster, geobox):
                values, numbers = np.unique(label_values(raster, geobox).compressed(), return_counts=True)
                counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return counts


def class_codes(
    file: LabelFile, values: np.ma.MaskedArray[Any, Any], meaning: Mapping[LabelValue, int], keys: str = ""
) -> NDArray[np.uint8]:
    """The class code of each label value, 0 where it is masked or means none; RequestError for an unknown one. `keys` stands before the recipe's keys."""
    codes = np.zeros(values.shape, np.uint8)
    for value in np.unique(values.compressed()).tolist():
        if value != 0 and value not in meaning:
            known = ", ".join(str(each) for each in sorted(meaning, key=str))
            raise RequestError(
                f"{file} has the label value {value}: expected {known}; "
                f"say in {keys}values what it means, or list it in {keys}ignore"
            )
        codes[np.ma.getdata(values) == value] = meaning.get(value, 0)
    codes[np.ma.getmaskarray(values)] = 0
    return codes
