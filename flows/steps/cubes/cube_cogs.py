"""A cube as cloud-optimised GeoTIFFs: one a period and array, its layers as named bands."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import rasterio
import rasterio.shutil
import xarray
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from flows.steps.cubes.cube_stac import georeferenced
from flows.steps.cubes.cube_times import CubeTime, times_of
from flows.steps.cubes.geozarr import LAYERS

COG_OPTIONS: Final = {"driver": "COG", "compress": "DEFLATE", "blocksize": 512, "bigtiff": "IF_SAFER"}
ROWS_AT_ONCE: Final = 1024
CAUSE: Final = "cause"
OBSERVED: Final = "observed"
MAIN_ARRAYS: Final = ("features", "reflectance", "series")


def write_cogs(cube: xarray.Dataset, folder: Path, name: str, tail: str = "") -> None:
    """`<name>_<time><tail>.tif` of the features or bands, and `<name>_<time><tail>_<array>.tif` of every other array; a time is a period, a pass or a step.

    Float bands have NaN as nodata and averages as overviews; others, where a value says missing, that one, and every n-th pixel.
    """
    geobox = georeferenced(cube)
    for time in times_of(cube):
        for array, layers in time.arrays.data_vars.items():
            suffix = "" if array in MAIN_ARRAYS else f"_{array}"
            tags = _tags(cube, time)
            target = folder / f"{name}_{time.label.replace('/', '_')}{tail}{suffix}.tif"
            write_cog(layers, geobox, target, tags, cube.attrs.get(LAYERS, {}))


def write_cog(
    layers: xarray.DataArray, geobox: GeoBox, target: Path, tags: dict[str, str], said: Mapping[str, Mapping[str, str]]
) -> None:
    """A COG of ([layer], y, x), read and written some rows at a time; `said` are units and long names by layer."""
    stack = layers if layers.ndim == 3 else layers.expand_dims("layer")
    names = [str(value) for value in stack[stack.dims[0]].values] if layers.ndim == 3 else [str(layers.name)]
    is_float = layers.dtype.kind == "f"
    profile = {"count": len(names), "dtype": str(layers.dtype), "nodata": _nodata(layers), "crs": str(geobox.crs)}
    shape = {"width": geobox.width, "height": geobox.height, "transform": geobox.affine, "bigtiff": "IF_SAFER"}
    plain = target.with_suffix(".plain")
    with rasterio.open(plain, "w", driver="GTiff", interleave="band", **profile, **shape) as file:
        for band, rows, pixels in _strips(stack):
            file.write(pixels, band, window=Window(0, rows, geobox.width, pixels.shape[0]))
        file.update_tags(**tags)
        file.descriptions = tuple(names)
        attributes = [{**layers.attrs, **said.get(each, {})} for each in names]
        file.units = tuple(each.get("units", "") for each in attributes)
        for band, each in enumerate(attributes, start=1):
            file.update_tags(band, **({"long_name": each["long_name"]} if "long_name" in each else {}))
    rasterio.shutil.copy(plain, target, **COG_OPTIONS, overview_resampling="AVERAGE" if is_float else "NEAREST")
    plain.unlink()


def _strips(stack: xarray.DataArray) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """(band from 1, first row, pixels), band by band."""
    for band in range(stack.shape[0]):
        for rows in range(0, stack.sizes["y"], ROWS_AT_ONCE):
            yield band + 1, rows, stack[band, rows : rows + ROWS_AT_ONCE].values


def _nodata(layers: xarray.DataArray) -> float | None:
    """The value that says missing; none where 0 is a number of observations."""
    if layers.dtype.kind == "f":
        return float("nan")
    fill = layers.encoding.get("fill_value")
    return None if CAUSE in layers.dims or layers.name == OBSERVED or fill is None else float(fill)


def _tags(cube: xarray.Dataset, time: CubeTime) -> dict[str, str]:
    product, version = cube.attrs["neocube:product"], str(cube.attrs["neocube:version"])
    span = {"start_datetime": time.first.isoformat(), "end_datetime": time.end.isoformat()}
    return {"title": str(cube.attrs["title"]), "product": product, "version": version, **span}
