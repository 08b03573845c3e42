"""Cubes as lazy xarray datasets."""

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401 - gives the datasets `.odc`
import xarray
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from sqlalchemy import select
from zarr.abc.store import Store

from datacube_config.connection import Index
from datacube_config.schema import cube_pointer
from flows.steps.areas import find_area
from flows.steps.cubes.cube_times import LAYER_DIMS, edges_of, periods_of
from flows.steps.cubes.geozarr import LAYERS, SELF, without_geozarr
from flows.steps.cubes.held_tiles import LEAST_CHUNK_PX, HeldTiles, scattered_tiles
from flows.steps.storage import storage_at
from products.errors import RequestError
from products.learning.maps import MAP_CLASS, PROBABILITY
from products.learning.trust_layers import APPLICABLE, UNCERTAINTY
from products.period import Period, parse_period
from products.registry import YAML, read_recipe, recipe_names, scene_recipe
from products.scene_recipe import SceneRecipe
from products.template import FILL_VALUE

GRID_MAPPING = "spatial_ref"
BESIDE_TIME = ("period_end", "time_end", "pass_id", "platform")
MAP_LAYERS = (MAP_CLASS, PROBABILITY, APPLICABLE, UNCERTAINTY)


@dataclass(frozen=True, slots=True)
class CubePointer:
    """The snapshot that is current for a product, version, area and CRS."""

    product: str
    version: int
    area: str
    crs: str
    snapshot_url: str


def open_snapshot(url: str, options: Mapping[str, Any] | None = None, level: int = 0) -> xarray.Dataset:
    """A snapshot or a cell as stored, dask-lazy by shards, CRS known to odc-geo and rioxarray; `options` are s3fs's.

    Integers stay integers, and `_FillValue` says which of them means missing. A `level` above 0 is an overview of a snapshot.
    """
    stored = stored_snapshot(url, options, level)
    return by_shards(stored, scattered_tiles(url, options, stored))


def open_variables(
    url: str, options: Mapping[str, Any] | None = None, level: int = 0, asked: Callable[[xarray.Dataset], xarray.Dataset] | None = None
) -> xarray.Dataset:  # fmt: skip
    """What a researcher opens: a snapshot with one variable per feature, NaN where a layer of a map has no value; or what is `asked` of it as stored.

    Dask comes last: whatever is chosen of an array of its chunks lists all that are left, which of sites across oceans are millions.
    """
    stored = stored_snapshot(url, options, level)
    held = scattered_tiles(url, options, stored)
    cube = asked(stored) if asked else stored
    return by_shards(features_apart(xarray.decode_cf(cube, decode_times=False, decode_coords=False)), held)


def stored_snapshot(url: str, options: Mapping[str, Any] | None = None, level: int = 0) -> xarray.Dataset:
    """What `open_snapshot` opens, without Dask: of a cube that spans oceans to be cut first, as Dask takes minutes to list all that it may have."""
    place = storage_at(url, options)
    try:
        stored = _as_stored(place.zarr_store(place.root, read_only=True), str(level) if level else None)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no cube at {url}: expected a Zarr v3 group") from error
    stored = stored.set_coords([name for name in (GRID_MAPPING, *BESIDE_TIME) if name in stored.variables])
    stored.coords.to_dataset().load()
    stored.attrs = without_geozarr(stored.attrs)
    for name, array in stored.data_vars.items():
        array.attrs.pop("grid_mapping", None)
        array.encoding["grid_mapping"] = GRID_MAPPING
        if name in MAP_LAYERS:  # older maps have no attribute that says it
            array.attrs.setdefault(FILL_VALUE, array.dtype.type(array.encoding["fill_value"]))
    return stored


def by_shards(stored: xarray.Dataset, held: HeldTiles | None = None) -> xarray.Dataset:
    """A snapshot as stored, or a part of it that begins at shards, dask-lazy by shards; with tiles `held` here and there, in larger chunks between them."""
    sides = held.chunks(stored.sizes["y"], stored.sizes["x"]) if held else None
    return stored.assign({name: array.chunk(_lazy_chunks(array, sides)) for name, array in stored.data_vars.items()})


def asked_snapshot(url: str, options: Mapping[str, Any] | None = None) -> xarray.Dataset:
    """The snapshot that somebody names; RequestError where there is none."""
    return by_shards(asked_stored(url, options))


def asked_stored(url: str, options: Mapping[str, Any] | None = None) -> xarray.Dataset:
    """The `stored_snapshot` that somebody names; RequestError where there is none."""
    try:
        return stored_snapshot(url, options)
    except FileNotFoundError as error:
        raise RequestError(
            f"no cube at {url}: expected a snapshot, as `neocube build` or `neocube pin` names it"
        ) from error


def count_overviews(url: str, options: Mapping[str, Any] | None = None) -> int:
    """The levels above 0 that a snapshot says it has."""
    place = storage_at(url, options)
    said: Any = place.open_group(place.root).attrs.asdict().get("multiscales", {"layout": [SELF]})
    return len(said["layout"]) - 1


def geobox_of(cube: xarray.Dataset, crs: str) -> GeoBox:
    """The grid of a snapshot in its CRS by name, which is stored as WKT."""
    stored = cube.odc.geobox
    return GeoBox(stored.shape, stored.affine, CRS(crs))


def features_apart(cube: xarray.Dataset) -> xarray.Dataset:
    """The cube with one variable per feature in place of `features`, or per band in place of `reflectance`, each with its unit.

    Mappings in the attributes become JSON text, as no file format but Zarr takes them.
    """
    said: Mapping[str, Mapping[str, str]] = cube.attrs.get(LAYERS, {})
    kept = {name: each for name, each in cube.attrs.items() if name != LAYERS}
    texts = {name: json.dumps(each) for name, each in kept.items() if isinstance(each, Mapping)}
    cube = cube.drop_attrs(deep=False).assign_attrs(kept | texts)
    for stack in list(cube.data_vars.values()):
        for dim in LAYER_DIMS:
            if dim in stack.dims:
                named = enumerate(map(str, stack[dim].values))
                apart = {n: stack.isel({dim: layer}, drop=True).assign_attrs(said.get(n, {})) for layer, n in named}
                cube = cube.drop_vars([str(stack.name), dim]).assign(apart)
    return cube


def within(cube: xarray.Dataset, asked: Period, recipe: SceneRecipe | None = None) -> xarray.Dataset:
    """The cells of a cube whose middle lies in a period, or the passes and steps that begin in it; RequestError if there is none.

    With its recipe, a cell that is longer than its step, as composites that overlap, belongs where the step does: as `build` takes the period.
    """
    first, last = (np.datetime64(instant.replace(tzinfo=None), "ns") for instant in (asked.start, asked.end))
    dim = "time" if "time" in cube.dims else "period"
    begins, ends = edges_of(cube, dim)
    belongs = begins
    if dim == "period":
        middles = [middle_of(span, recipe).replace(tzinfo=None) for span in periods_of(cube, dim)]
        belongs = np.array(middles, "datetime64[ns]")
    kept = np.flatnonzero((belongs >= first) & (belongs < last))
    if kept.size == 0:
        held = f"{np.datetime_as_string(begins.min(), 'D')} to {np.datetime_as_string(ends.max(), 'D')} (end excluded)"
        what = "cell" if dim == "period" else "time"
        raise RequestError(f"the cube holds no {what} of {asked.label}: it has {begins.size}, from {held}")
    chosen = cube.isel({dim: _without_gaps(kept)})
    if dim == "time" and "period" in cube.dims:
        overlaps = (cube["period"].values < last) & (cube["period_end"].values > first)
        chosen = chosen.isel(period=_without_gaps(np.flatnonzero(overlaps)))
    return chosen


def _without_gaps(numbers: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """Numbers that follow each other as a slice, by which Zarr reads faster than by a list."""
    is_run = numbers.size > 0 and numbers[-1] - numbers[0] == numbers.size - 1
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if is_run else numbers


def as_asked(cube: xarray.Dataset, period: str, is_alone: bool) -> xarray.Dataset:
    """The cube of a request as it asked for it: whole where it has these cells alone, else, as it has what joined it too, `within` the period."""
    return cube if is_alone else within(cube, parse_period(period))


def middle_of(cell: Period, recipe: SceneRecipe | None) -> datetime:
    """The middle of a cell, or of its step by a known recipe where that is shorter."""
    spans = (cell, recipe.step_of(cell)) if recipe else (cell,)
    shortest = min(spans, key=lambda span: span.end - span.start)
    return shortest.start + (shortest.end - shortest.start) / 2


def find_cube(index: Index, product: str, area: str, crs: str | None = None) -> CubePointer:
    """The pointer of the newest version; RequestError that lists what there is."""
    column = cube_pointer.c
    query = select(column.product, column.version, column.area, column.crs, column.snapshot_url)
    with index.engine.connect() as connection:
        rows = connection.execute(query.order_by(column.product, column.area, column.version.desc(), column.crs))
        known = [CubePointer(*row) for row in rows]
    of_area = [pointer for pointer in known if (pointer.product, pointer.area) == (product, area)]
    if not of_area:
        cubes = ", ".join(sorted({f"{pointer.product} over {pointer.area}" for pointer in known}))
        raise RequestError(f"no cube of {product!r} over {area!r}: there is {cubes or 'none yet, run `neocube build`'}")
    newest = [pointer for pointer in of_area if pointer.version == of_area[0].version]
    chosen = [pointer for pointer in newest if crs is None or pointer.crs == crs]
    if len(chosen) != 1:
        zones = ", ".join(pointer.crs for pointer in newest)
        raise RequestError(f"expected crs= as one of {zones} for {product} over {area}, got {crs}")
    return chosen[0]


def snapshot_asked_for(index: Index, cube: str, area: str | None, crs: str | None = None) -> str:
    """The URL of the snapshot that a product's name with an area, or a path or URL ending in .zarr, means; RequestError."""
    if cube.rstrip("/").endswith(".zarr"):
        if area or crs:
            raise RequestError(f"expected no area and CRS with a snapshot's path, got {area or crs} with {cube}")
        return cube
    if area is None:
        raise RequestError(f"expected an area with a product's name, as {cube} --area AREA, or a path ending in .zarr")
    return find_cube(index, product_named(cube), find_area(area).name, crs).snapshot_url


def product_named(text: str) -> str:
    """The product that a name, or the path of its recipe, means; RequestError where there is no such file."""
    return scene_recipe(text).name if text.endswith(YAML) else text


def known_recipe(text: str, version: int) -> SceneRecipe | None:
    """The recipe that a name or a path means, if its cells are made of scenes and it is of the version."""
    if not text.endswith(YAML) and text not in recipe_names():
        return None
    recipe = read_recipe(text)
    return recipe if isinstance(recipe, SceneRecipe) and recipe.version == version else None


def _as_stored(store: Store, group: str | None) -> xarray.Dataset:
    """Cubes have consolidated metadata, cells do not."""
    try:
        return _opened(store, group, consolidated=True)
    except ValueError:
        return _opened(store, group, consolidated=False)


def _opened(store: Store, group: str | None, consolidated: bool) -> xarray.Dataset:
    return xarray.open_zarr(
        store, group=group, consolidated=consolidated, chunks=None, zarr_format=3, mask_and_scale=False
    )


def _lazy_chunks(array: xarray.DataArray, sides: tuple[tuple[int, ...], ...] | None) -> dict[Hashable, Any]:
    """One layer; along y and x the sides given, else of whole shards, of so many that a chunk is no smaller than LEAST_CHUNK_PX."""
    shards = map(int, (array.encoding.get("shards") or array.encoding["chunks"])[-2:])
    along = sides or [side * -(-LEAST_CHUNK_PX // side) for side in shards]
    return dict.fromkeys(array.dims[:-2], 1) | dict(zip(array.dims[-2:], along, strict=True))
