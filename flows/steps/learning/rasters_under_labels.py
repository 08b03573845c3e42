"""What rasters hold under labelled points and polygons, as a table of samples: match-ups, training areas, series of scenes.

For people who prepare labels, by `from flows import under_labels, at_steps, clear_series`: no command calls it.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import rasterio
import rasterio.transform
import rasterio.warp
from numpy.typing import NDArray
from rasterio.features import rasterize

from flows.steps.vector_files import read_vector_file
from products.errors import RequestError


def under_labels(labels: Path, bands: Mapping[str, tuple[Path, int]]) -> pd.DataFrame:
    """The columns of a vector file and of `bands`, name -> (raster, band from 1), with NaN for nodata and outside; one row a point, or a pixel of a polygon.

    A pixel belongs to a polygon that holds its centre; `place` numbers points and polygons from 0, so that all pixels of one are left out together.
    """
    frame = read_vector_file(labels)
    if frame.crs is None:
        raise RequestError(f"{labels} names no CRS: expected labels that say where they are")
    place, x, y = _pixels_of(frame, next(iter(bands.values()))[0])
    table = pd.DataFrame(frame.drop(columns="geometry")).iloc[place].reset_index(drop=True).assign(place=place)
    for name, (path, band) in bands.items():
        table[name] = values_at(path, band, x, y, str(frame.crs))
    return table


def _pixels_of(
    frame: geopandas.GeoDataFrame, raster: Path
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The numbers (n,) of labels, and x and y (n,) of their pixels in the CRS of the labels."""
    kinds = set(frame.geom_type)
    if kinds <= {"Point"}:
        return np.arange(len(frame)), frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    if not kinds <= {"Polygon", "MultiPolygon"}:
        raise RequestError(f"the labels hold {', '.join(sorted(kinds))}: expected points, or polygons")
    with rasterio.open(raster) as file:
        shapes = [(shape, number) for number, shape in enumerate(frame.to_crs(file.crs).geometry, start=1)]
        burnt = rasterize(shapes, out_shape=file.shape, transform=file.transform, dtype="int32")
        row, column = np.nonzero(burnt)
        x, y = rasterio.transform.xy(file.transform, row, column)
        x, y = rasterio.warp.transform(file.crs, str(frame.crs), x, y)
    return burnt[row, column].astype(np.int64) - 1, np.asarray(x), np.asarray(y)


def values_at(path: Path, band: int, x: NDArray[np.float64], y: NDArray[np.float64], crs: str) -> NDArray[np.float64]:
    """(n,) of one band of a raster at points of a CRS; NaN for its nodata and outside of it."""
    with rasterio.open(path) as file:
        x, y = map(np.asarray, rasterio.warp.transform(crs, file.crs, x, y))
        inverse = ~file.transform
        column, row = (np.floor(each).astype(np.int64) for each in inverse @ (x, y))
        inside = (row >= 0) & (row < file.height) & (column >= 0) & (column < file.width)
        values = file.read(band).astype(np.float64)
        found = np.full(x.shape, np.nan)
        found[inside] = values[row[inside], column[inside]]
        return np.where(found == file.nodata, np.nan, found) if file.nodata is not None else found


def clear_series(
    points: Path, scenes: Sequence[Mapping[str, Path]], quality: str, cloud_bit: int
) -> dict[str, NDArray[np.float64]]:
    """(scene, point) of each band at points, NaN where the scene has no pixel, its quality band has the cloud bit, or is fill (bit 0)."""
    frame = read_vector_file(points)
    x, y = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    bands: dict[str, list[NDArray[np.float64]]] = {}
    for scene in scenes:
        flags = values_at(scene[quality], 1, x, y, str(frame.crs))
        unclear = ~np.isfinite(flags) | ((np.nan_to_num(flags).astype(np.int64) & (1 | 1 << cloud_bit)) > 0)
        for name in set(scene) - {quality}:
            values = values_at(scene[name], 1, x, y, str(frame.crs))
            bands.setdefault(name, []).append(np.where(unclear, np.nan, values))
    return {name: np.stack(values) for name, values in sorted(bands.items())}


def reduced(points: Path, series: Mapping[str, NDArray[np.float64]], percentiles: Sequence[int]) -> pd.DataFrame:
    """The columns of points, and of each band `NAME_p50`, … over the scenes that are clear there, and `n_clear`; NaN where none is."""
    table = pd.DataFrame(read_vector_file(points).drop(columns="geometry"))
    for name, values in series.items():
        seen = np.isfinite(values).any(axis=0)
        for percentile in percentiles:
            column = np.full(values.shape[1], np.nan)
            column[seen] = np.nanpercentile(values[:, seen], percentile, axis=0)
            table[f"{name}_p{percentile}"] = column
    counts = [np.isfinite(values).sum(axis=0) for values in series.values()]
    return table.assign(n_clear=np.min(counts, axis=0))


def at_steps(points: Path, series: Mapping[str, NDArray[np.float64]], days: Sequence[date], steps: int) -> pd.DataFrame:
    """The columns of points, and of each band `NAME_1`, `NAME_2`, …: at so many steps from the first to the last of the scenes' days.

    Straight lines between clear scenes, before the first and after the last of them their values; NaN where none is clear.
    """
    table = pd.DataFrame(read_vector_file(points).drop(columns="geometry"))
    known = np.array([day.toordinal() for day in days], dtype=np.float64)
    order, asked = np.argsort(known, kind="stable"), np.linspace(known.min(), known.max(), steps)
    columns: dict[str, NDArray[np.float64]] = {}
    for name, values in series.items():
        found = np.full((steps, values.shape[1]), np.nan)
        for place, course in enumerate(values[order].T):
            clear = np.isfinite(course)
            if clear.any():
                found[:, place] = np.interp(asked, known[order][clear], course[clear])
        columns |= {f"{name}_{step}": found[step - 1] for step in range(1, steps + 1)}
    return pd.concat([table, pd.DataFrame(columns, index=table.index)], axis=1)
