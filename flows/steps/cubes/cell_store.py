"""The Zarr group of one cell: written once, read back, compared by digest."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from zarr.abc.buffer import Buffer
from zarr.codecs import BloscCodec, BloscShuffle
from zarr.storage import MemoryStore

from flows.steps.cubes.geozarr import geozarr_attributes, level_geobox
from flows.steps.cubes.shards import (
    CHUNK_CODEC,
    CHUNK_LEVEL,
    BrokenShard,
    decode_shard,
    encode_shard,
    is_shard_of,
)
from flows.steps.index.derived_rows import CONTENT_DIGEST
from flows.steps.storage import Storage
from products.identity import CellKey
from products.period import Period
from products.pixel.precision import round_mantissa
from products.template import ArrayTemplate, CellTemplate, StoredArray
from products.time_axis import time_coordinates
from products.window.overviews import level_sides, overviews

COMPRESSOR = BloscCodec(cname=CHUNK_CODEC, clevel=CHUNK_LEVEL, shuffle=BloscShuffle.shuffle)
Arrays = Mapping[str, NDArray[Any]]


class DigestMismatch(RuntimeError):
    """What was read back is not what was written."""


def arrays_digest(arrays: Arrays, threads: int = 1) -> str:
    """SHA-256 over name, dtype and shape of each array, by name, and the SHA-256 of the C-order little-endian bytes of each of its (y, x) layers."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(threads) as pool:
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
            for part in pool.map(_layer_digest, array.reshape(-1, *array.shape[-2:])):
                digest.update(part)
    return digest.hexdigest()


def with_overviews(template: CellTemplate, arrays: Arrays, threads: int = 1) -> Arrays:
    """The arrays of a tile and of its overviews by their paths in the cell: what a cell stores. They follow from the tile alone."""
    found = dict(arrays)
    for array in template.arrays:
        content = arrays[array.name]
        levels = overviews(content.reshape(-1, *content.shape[-2:]), array.overview, array.fill_value, threads)
        for level, made in enumerate(levels, start=1):
            if isinstance(bits := array.attributes.get("precision_bits"), int):
                round_mantissa(made, bits, threads)
            found[f"{level}/{array.name}"] = made.reshape(*content.shape[:-2], *made.shape[-2:])
    return found


def _layer_digest(layer: NDArray[Any]) -> bytes:
    return hashlib.sha256(layer.view(np.uint8).data).digest()


def write_shards(storage: Storage, path: str, template: CellTemplate, arrays: Arrays, threads: int = 1) -> None:
    """Write the pixels of a cell at `path`, with its overviews, replacing the leavings of a writer that died there."""
    storage.remove(path)
    for stored in template.stored(arrays[template.arrays[0].name].shape[-1]):
        storage.write_parts(shard_path(path, stored), encode_shard(stored.template, arrays[stored.path], threads))


def write_metadata(
    storage: Storage, path: str, template: CellTemplate, key: CellKey, geobox: GeoBox, attributes: Mapping[str, Any]
) -> None:
    """Make a Zarr group of the shards of a cell at `path`: its metadata and coordinates, and those of its overviews."""
    levels = len(level_sides(geobox.shape[0]))
    said = {**attributes, **geozarr_attributes(geobox, template, levels)}
    objects: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(objects), zarr_format=3, attributes=said)
    groups = [group] + [
        group.create_group(str(level), attributes=geozarr_attributes(level_geobox(geobox, level), template))
        for level in range(1, levels + 1)
    ]
    for stored in template.stored(geobox.shape[0]):
        create_array(groups[stored.level], stored.template, stored.shape, stored.shape, stored.tile_px)
    write_coordinates(group, template, geobox, [key.period])
    storage.write_group(path, objects)


def stored_digest(storage: Storage, path: str) -> str:
    """The digest that the cell at `path` was written with; DigestMismatch if its metadata are damaged."""
    try:
        return str(zarr.open_group(storage.zarr_store(path), mode="r").attrs[CONTENT_DIGEST])
    except (ValueError, KeyError) as error:
        raise DigestMismatch(f"{path} does not read back: its metadata are damaged: {error}") from error


def create_array(
    group: zarr.Group, array: ArrayTemplate, shape: tuple[int, ...], shard: tuple[int, ...], tile_px: int
) -> zarr.Array[Any]:
    """An empty array of a cell (shape = shard) or of a cube (many shards)."""
    return group.create_array(
        array.name,
        shape=shape,
        shards=shard,
        chunks=array.chunks(tile_px),
        dtype=array.dtype,
        fill_value=array.fill_value,
        compressors=COMPRESSOR,
        dimension_names=array.dims,
        attributes={**array.attributes, "grid_mapping": "spatial_ref"},
        config={"write_empty_chunks": True},
    )


def write_coordinates(group: zarr.Group, template: CellTemplate, geobox: GeoBox, periods: Sequence[Period]) -> None:
    """Those of time, y, x, spatial_ref and the names of the layers; the group names those that are not dimensions, as xarray does."""
    times = time_coordinates(template, periods)
    beside = [time.name for time in times if time.name != time.dim]
    group.attrs["coordinates"] = " ".join([*beside, "spatial_ref"])
    for time in times:
        if isinstance(time.values, tuple):
            _put_names(group, time.name, time.values, time.dim)
        else:
            _put(group, time.name, time.values, (time.dim,), time.attributes)
    for axis in ("y", "x"):
        coordinate = geobox.coordinates[axis]
        attributes = {"units": "metre", "standard_name": f"projection_{axis}_coordinate"}
        _put(group, axis, np.asarray(coordinate.values, "float64"), (axis,), attributes)
    for array in template.arrays:
        if array.layer_dim:
            _put_names(group, array.layer_dim, array.layers, array.layer_dim)
    crs = geobox.crs
    transform = " ".join(f"{value:.17g}" for value in geobox.affine.to_gdal())
    reference = {**crs.proj.to_cf(), "spatial_ref": crs.proj.to_wkt(), "GeoTransform": transform, "proj:code": str(crs)}
    _put(group, "spatial_ref", np.asarray(crs.epsg or 0, "int32"), (), reference)


def verify_written(storage: Storage, path: str, template: CellTemplate, arrays: Arrays, threads: int = 1) -> None:
    """DigestMismatch unless the store gives back, to the bit, the arrays that a cell at `path` was written of."""
    for stored in template.stored(arrays[template.arrays[0].name].shape[-1]):
        content = np.ascontiguousarray(arrays[stored.path])
        try:
            is_same = is_shard_of(stored.template, storage.view(shard_path(path, stored)), content, threads)
        except BrokenShard as error:
            raise DigestMismatch(f"{path} does not read back: {error}") from error
        if not is_same:
            raise DigestMismatch(
                f"{path} reads back with other values in {stored.path} than were written: the store changed bytes"
            )


def verify_cell(
    storage: Storage, path: str, template: CellTemplate, tile_px: int, digest: str, threads: int = 1
) -> None:
    """DigestMismatch unless the arrays at `path`, as the store gives them back, have the digest."""
    try:
        arrays = {
            stored.path: decode_shard(stored.template, storage.view(shard_path(path, stored)), stored.shape, threads)
            for stored in template.stored(tile_px)
        }
    except BrokenShard as error:
        raise DigestMismatch(f"{path} does not read back: {error}") from error
    found = arrays_digest(arrays, threads)
    if found != digest:
        raise DigestMismatch(
            f"{path} reads back with digest {found[:12]}, written as {digest[:12]}: the store lost or changed bytes"
        )


def shard_path(path: str, stored: StoredArray) -> str:
    """The place of the one shard of an array of the cell at `path`."""
    return "/".join((path, stored.path, "c", *("0" for _ in stored.template.dims)))


def _put(
    group: zarr.Group, name: str, values: NDArray[Any], dims: tuple[str, ...], attributes: Mapping[str, Any]
) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, dimension_names=dims or None, attributes=dict(attributes)
    )
    array[...] = values


def _put_names(group: zarr.Group, name: str, names: tuple[str, ...], dim: str) -> None:
    array = group.create_array(name, shape=(len(names),), dtype=str, dimension_names=(dim,))
    array[...] = np.asarray(names, dtype=object)
