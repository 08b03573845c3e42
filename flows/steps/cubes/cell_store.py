"""The Zarr group of one cell: written once, read back, compared by digest."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from zarr.codecs import BloscCodec, BloscShuffle

from flows.steps.cubes.shards import CHUNK_CODEC, CHUNK_LEVEL, BrokenShard, decode_shard, encode_shard
from flows.steps.storage import Storage
from products.identity import CellKey
from products.template import ArrayTemplate, CellTemplate

COMPRESSOR = BloscCodec(cname=CHUNK_CODEC, clevel=CHUNK_LEVEL, shuffle=BloscShuffle.shuffle)
DAY_UNITS = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}
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


def _layer_digest(layer: NDArray[Any]) -> bytes:
    return hashlib.sha256(layer.view(np.uint8).data).digest()


def write_cell(
    storage: Storage,
    path: str,
    template: CellTemplate,
    key: CellKey,
    geobox: GeoBox,
    arrays: Arrays,
    attributes: Mapping[str, Any],
    threads: int = 1,
) -> None:
    """Write a cell's group at `path`, replacing the leavings of a writer that died there."""
    storage.remove(path)
    group = zarr.create_group(storage.zarr_store(path), zarr_format=3, attributes=dict(attributes))
    for array in template.arrays:
        content = arrays[array.name]
        create_array(group, array, content.shape, content.shape, content.shape[-1])
        storage.write_parts(_shard_path(path, array), encode_shard(array, content, threads))
    start, end = day_number(key.period.start), day_number(key.period.end)
    write_coordinates(group, template, geobox, [start], [end])


def stored_digest(storage: Storage, path: str) -> str:
    """The digest that the cell at `path` was written with."""
    return str(zarr.open_group(storage.zarr_store(path), mode="r").attrs["neocube:content_digest"])


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


def write_coordinates(
    group: zarr.Group, template: CellTemplate, geobox: GeoBox, starts: list[float], ends: list[float]
) -> None:
    """period, period_end, y, x, spatial_ref and the names of the layers."""
    for name, days in (("period", starts), ("period_end", ends)):
        _put(group, name, np.asarray(days, "float64"), ("period",), DAY_UNITS)
    for axis in ("y", "x"):
        coordinate = geobox.coordinates[axis]
        attributes = {"units": "metre", "standard_name": f"projection_{axis}_coordinate"}
        _put(group, axis, np.asarray(coordinate.values, "float64"), (axis,), attributes)
    for array in template.arrays:
        if array.layer_dim:
            _put_names(group, array.layer_dim, array.layers)
    crs = geobox.crs
    transform = " ".join(f"{value:.17g}" for value in geobox.affine.to_gdal())
    reference = {**crs.proj.to_cf(), "spatial_ref": crs.proj.to_wkt(), "GeoTransform": transform, "proj:code": str(crs)}
    _put(group, "spatial_ref", np.asarray(crs.epsg or 0, "int32"), (), reference)


def verify_cell(
    storage: Storage, path: str, template: CellTemplate, tile_px: int, digest: str, threads: int = 1
) -> None:
    """DigestMismatch unless the arrays at `path`, as the store gives them back, have the digest."""
    try:
        arrays = {
            array.name: decode_shard(array, storage.read_bytes(_shard_path(path, array)), array.shape(tile_px), threads)
            for array in template.arrays
        }
    except BrokenShard as error:
        raise DigestMismatch(f"{path} does not read back: {error}") from error
    found = arrays_digest(arrays, threads)
    if found != digest:
        raise DigestMismatch(
            f"{path} reads back with digest {found[:12]}, written as {digest[:12]}: the store lost or changed bytes"
        )


def _shard_path(path: str, array: ArrayTemplate) -> str:
    return "/".join((path, array.name, "c", *("0" for _ in array.dims)))


def day_number(instant: Any) -> float:  # noqa: ANN401
    """Days since 1970-01-01 UTC."""
    return float(instant.timestamp() / 86400)


def _put(
    group: zarr.Group, name: str, values: NDArray[Any], dims: tuple[str, ...], attributes: Mapping[str, Any]
) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, dimension_names=dims or None, attributes=dict(attributes)
    )
    array[...] = values


def _put_names(group: zarr.Group, name: str, names: tuple[str, ...]) -> None:
    array = group.create_array(name, shape=(len(names),), dtype=str, dimension_names=(name,))
    array[...] = np.asarray(names, dtype=object)
