"""A window of a raster, of local TIFF files straight from their blocks: decompressed and put where they belong, without GDAL's cache and copies between."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import deflate
import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from flows.steps.loading.source_grid import IsNeeded
from products.window.predictor import undo_differences

Rectangle = tuple[int, int, int, int]  # top, left, bottom and right, in pixels of the file
LEAST_ROWS = 64  # of blocks that are asked for together: strips may have one row
LITTLE_ENDIAN = (b"II*\x00", b"II+\x00")  # TIFF and BigTIFF
UNSIGNED: Mapping[str, type[np.uint8] | type[np.uint16]] = {"uint8": np.uint8, "uint16": np.uint16, "int16": np.uint16}


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a block lies in the image, in pixels, and in the file, in bytes."""

    row: int
    column: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """The blocks of a layer that hold a window; `shape` of a block in pixels, as unsigned integers of a type."""

    path: str
    shape: tuple[int, int]
    dtype: type[np.uint8] | type[np.uint16]
    is_differenced: bool
    blocks: tuple[_Block, ...]


def read_window(
    source: Any, layer: int, window: Window, out: NDArray[Any], is_needed: IsNeeded | None = None, nodata: float = 0,  # noqa: ANN401, an open rasterio dataset
) -> None:  # fmt: skip
    """The pixels of a window that lies in the file into out (y, x), the same whoever decodes them; OSError, or an error of rasterio, if it cannot be read.

    Blocks of other files than local TIFF, compressed by deflate, of 8 or 16 bit integers, are read by GDAL. What is not needed becomes nodata, unread: each
    block that is read here, and what GDAL would read around those that are. `is_needed` is asked for a `Rectangle`.
    """
    layout = block_layout(source, layer, window, out)
    if layout is None:
        _read_by_gdal(source, layer, window, out, is_needed, nodata)
        return
    with open(layout.path, "rb", buffering=0) as file:  # noqa: PTH123, the name is GDAL's
        for block in layout.blocks:
            shared = _shared(block.row, block.column, layout.shape, window)
            part = out[_inside(window, shared)]
            if is_needed is None or is_needed(*shared):
                pixels = _decompressed(file.fileno(), layout, block, source.height)
                _put(pixels, layout, shared[0] - block.row, shared[1] - block.column, part)
            else:
                part[...] = nodata


def _read_by_gdal(
    source: Any, layer: int, window: Window, out: NDArray[Any], is_needed: IsNeeded | None, nodata: float,  # noqa: ANN401
) -> None:  # fmt: skip
    """One window that holds all needed blocks; the rest becomes nodata."""
    if is_needed is None:
        source.read(layer, window=window, out=out)
        return
    around = _around(source.block_shapes[layer - 1], window, is_needed)
    if around is None:
        out[...] = nodata
        return
    top, left, bottom, right = around
    inside = _inside(window, around)
    fill_around(out, inside, nodata)
    source.read(layer, window=Window(left, top, right - left, bottom - top), out=out[inside])


def _around(shape: tuple[int, int], window: Window, is_needed: IsNeeded) -> Rectangle | None:
    """The smallest part of a window around the blocks of a shape, low ones taken together, that are needed; None where none is."""
    height, width = max(shape[0], LEAST_ROWS // shape[0] * shape[0]), shape[1]
    parts = (
        _shared(top, left, (height, width), window)
        for top in range(window.row_off // height * height, window.row_off + window.height, height)
        for left in range(window.col_off // width * width, window.col_off + window.width, width)
    )
    needed = [part for part in parts if is_needed(*part)]
    if not needed:
        return None
    tops, lefts, bottoms, rights = zip(*needed, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def _shared(row: int, column: int, shape: tuple[int, int], window: Window) -> Rectangle:
    """The part of a block of a shape, whose first pixel is given, that lies in a window."""
    bottom = min(row + shape[0], window.row_off + window.height)
    right = min(column + shape[1], window.col_off + window.width)
    return max(row, window.row_off), max(column, window.col_off), bottom, right


def _inside(window: Window, part: Rectangle) -> tuple[slice, slice]:
    """Where a part of a window lies among its pixels (y, x)."""
    top, left, bottom, right = part
    return np.s_[top - window.row_off : bottom - window.row_off, left - window.col_off : right - window.col_off]


def fill_around(out: NDArray[Any], inside: tuple[slice, slice], value: float) -> None:
    """Fill out (y, x) but for a rectangle."""
    rows, columns = inside
    out[: rows.start], out[rows.stop :] = value, value
    out[rows, : columns.start], out[rows, columns.stop :] = value, value


def block_layout(source: Any, layer: int, window: Window, out: NDArray[Any]) -> BlockLayout | None:  # noqa: ANN401
    """None where GDAL is to read."""
    name, kind = source.name, source.dtypes[layer - 1]
    if source.driver != "GTiff" or kind not in UNSIGNED or not _holds(out, kind) or not _is_little_endian(name):
        return None
    structure = {**source.tags(ns="IMAGE_STRUCTURE"), **source.tags(layer, ns="IMAGE_STRUCTURE")}
    predictor = structure.get("PREDICTOR", "1")
    is_single = source.count == 1 or structure.get("INTERLEAVE") == "BAND"
    if (
        structure.get("COMPRESSION") != "DEFLATE"
        or predictor not in ("1", "2")
        or "NBITS" in structure
        or not is_single
    ):
        return None
    shape = source.block_shapes[layer - 1]
    blocks = _blocks(source, layer, window, shape)
    return None if blocks is None else BlockLayout(name, shape, UNSIGNED[kind], predictor == "2", blocks)


def _holds(out: NDArray[Any], kind: str) -> bool:
    return out.dtype == kind or (out.dtype == np.uint16 and kind == "uint8")


def _is_little_endian(name: str) -> bool:
    """Whether a name is that of a local file that begins as TIFF in our order of bytes does."""
    if name.startswith("/vsi") or not os.path.isfile(name):  # noqa: PTH113, the name is GDAL's
        return False
    with open(name, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(4) in LITTLE_ENDIAN


def _blocks(source: Any, layer: int, window: Window, shape: tuple[int, int]) -> tuple[_Block, ...] | None:  # noqa: ANN401
    """The blocks of a window; None if one has no place in the file, and is without data."""
    height, width = shape
    found: list[_Block] = []
    for down in range(window.row_off // height, -(-(window.row_off + window.height) // height)):
        for across in range(window.col_off // width, -(-(window.col_off + window.width) // width)):
            offset, size = (
                source.get_tag_item(f"BLOCK_{what}_{across}_{down}", "TIFF", bidx=layer) for what in ("OFFSET", "SIZE")
            )
            if not offset or not size:
                return None
            found.append(_Block(down * height, across * width, int(offset), int(size)))
    return tuple(found)


def _decompressed(file: int, layout: BlockLayout, block: _Block, image_height: int) -> NDArray[Any]:
    """The pixels of a block (y, x), as stored. The last strip of an image ends with it, a tile is always whole."""
    height, width = layout.shape
    stored, row_bytes = os.pread(file, block.size, block.offset), width * np.dtype(layout.dtype).itemsize
    try:
        content = deflate.zlib_decompress(stored, height * row_bytes)
    except deflate.DeflateError as error:
        raise OSError(f"the block of row {block.row} and column {block.column} cannot be decompressed") from error
    rows = min(height, image_height - block.row)
    if len(content) not in (height * row_bytes, rows * row_bytes):
        raise OSError(
            f"the block of row {block.row} and column {block.column} holds {len(content)} bytes, expected {height * row_bytes}"
        )
    return np.frombuffer(content, layout.dtype).reshape(-1, width)


def _put(pixels: NDArray[Any], layout: BlockLayout, row: int, column: int, out: NDArray[Any]) -> None:
    """The pixels of a block (y, x), as stored, from a row and column on into out (y, x)."""
    target = out.view(np.uint16) if out.dtype == np.int16 else out
    if layout.is_differenced:
        undo_differences(pixels, row, column, target)
    else:
        target[...] = pixels[row : row + target.shape[0], column : column + target.shape[1]]
