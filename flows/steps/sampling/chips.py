"""Chips as plain Zarr v3: `data` (sample, layer, [time,] y, x), `mask` and `label`, with where and when each was cut."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from flows.steps.cubes.cell_store import COMPRESSOR
from flows.steps.sampling.chip_windows import ChipWindows, pixels_by_tile
from flows.steps.sampling.pixels import centres
from flows.steps.sampling.sample_files import CHIPS, SampleFiles
from flows.steps.sampling.sampled_cells import SampledCells
from flows.steps.storage import Storage
from products.errors import RequestError
from products.learning.samples_recipe import SamplesRecipe
from products.time_axis import EPOCH, MICROSECONDS

PER_SHARD = 64  # samples in a file; each is a chunk of its own
ARRAYS = ("data", "mask", "label")


@dataclass(frozen=True, slots=True)
class ChipBatch:
    """Chips: data (n, layer, [time,] y, x) float32 with NaN as missing, mask (n, [time,] y, x), label (n, y, x), centres in metres and cell numbers, (n,)."""

    data: NDArray[np.float32]
    mask: NDArray[np.bool_]
    label: NDArray[np.uint8]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    cell: NDArray[np.int64]

    def __len__(self) -> int:
        return self.x.size

    def part(self, chosen: slice | NDArray[np.bool_]) -> "ChipBatch":
        """Some of the chips."""
        return ChipBatch(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class ChipFacts:
    """Of the chips that were written: centres in metres, cell numbers and the code of the most frequent class (n,); labelled pixels by code; their digest."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    cell: NDArray[np.int64]
    code: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    digest: str


def cut_chips(
    storage: Storage, cells: SampledCells, windows: Sequence[ChipWindows], dropped: Counter[str], threads: int
) -> Iterator[ChipBatch]:
    """The chips of each cell; those without a single pixel that has all its layers are left out and counted."""
    for each in windows:
        batch = read_chips(storage, cells, each, threads)
        seen = np.asarray(batch.mask.reshape(len(batch), -1).any(axis=1))
        dropped["without_features"] += int((~seen).sum())
        if seen.any():
            yield batch.part(seen)


def read_chips(storage: Storage, cells: SampledCells, windows: ChipWindows, threads: int) -> ChipBatch:
    """Chips of one time: pixels beyond the tile come from the cells beside it, NaN where there is none."""
    cell, size, n_chips = cells.cells[windows.cell], windows.labels.shape[-1], windows.row.size
    n_layers = len(cells.column_names)
    flat = np.full((n_layers, n_chips, size, size), np.nan, np.float32)
    beside = {each.tile: each for each in cells.cells if each.label == cell.label}
    for tile, inside, row, column in pixels_by_tile(windows, cell.tile, cells.grid.tile_px):
        if tile in beside:
            flat[:, inside] = cells.values(storage, beside[tile], row, column, threads)
    n_times = n_layers // len(cells.layer_names)
    by_time = flat.reshape(n_times, -1, n_chips, size, size)
    mask = np.asarray(np.isfinite(by_time).all(axis=1)).swapaxes(0, 1)
    data = by_time.transpose(2, 1, 0, 3, 4)
    if cells.template.steps is None:
        data, mask = data[:, :, 0], mask[:, 0]
    half = size // 2
    x, y = centres(cells.grid.geobox(cell.tile), windows.row + half, windows.column + half)
    return ChipBatch(data, mask, windows.labels, x, y, np.full(n_chips, windows.cell, np.int64))


def write_chips(
    files: SampleFiles, cells: SampledCells, recipe: SamplesRecipe, batches: Iterator[ChipBatch], most: int
) -> ChipFacts:
    """Write at most `most` chips, shard after shard, and what is known of them; nothing is held but a shard and a batch."""
    size, group = recipe.chips.size_px if recipe.chips else 0, _empty_group(files, cells, recipe, most)
    digest, n_written = hashlib.sha256(), 0
    pixels, about = np.zeros(256, np.int64), list[ChipBatch]()
    arrays: dict[str, Any] = {name: group[name] for name in ARRAYS}
    for batch in regrouped(batches, PER_SHARD):
        part = slice(n_written, n_written + len(batch))
        for name in ARRAYS:
            content = getattr(batch, name)
            arrays[name][part] = content
            digest.update(np.ascontiguousarray(content).view(np.uint8).data)
        n_written += len(batch)
        pixels += np.bincount(batch.label.ravel(), minlength=256)
        about.append(replace(batch, data=batch.data[:0], mask=batch.mask[:0]))
    if n_written == 0:
        raise RequestError(
            f"no chip of {size} x {size} pixels has labels and features: expected some; lower size_px or min_labelled"
        )
    for name in ARRAYS:
        arrays[name].resize((n_written, *arrays[name].shape[1:]))
    facts = ChipFacts(
        np.concatenate([each.x for each in about]),
        np.concatenate([each.y for each in about]),
        np.concatenate([each.cell for each in about]),
        np.concatenate([_main_class(each.label) for each in about]),
        pixels,
        "",
    )
    _write_coordinates(group, cells, facts)
    for values in (facts.x, facts.y, facts.cell):
        digest.update(values.view(np.uint8).data)
    return replace(facts, digest=digest.hexdigest())


def regrouped(batches: Iterator[ChipBatch], size: int) -> Iterator[ChipBatch]:
    """The same chips in batches of `size`, the last one smaller."""
    waiting: list[ChipBatch] = []
    for batch in batches:
        waiting.append(batch)
        while sum(map(len, waiting)) >= size:
            together = joined_chips(waiting)
            yield together.part(slice(0, size))
            waiting = [together.part(slice(size, None))]
    if sum(map(len, waiting)):
        yield joined_chips(waiting)


def joined_chips(batches: Sequence[ChipBatch]) -> ChipBatch:
    """All chips of some batches."""
    names = [field.name for field in fields(ChipBatch)]
    return ChipBatch(*(np.concatenate([getattr(batch, name) for batch in batches]) for name in names))


def _empty_group(files: SampleFiles, cells: SampledCells, recipe: SamplesRecipe, most: int) -> zarr.Group:
    assert recipe.chips is not None
    size, steps = recipe.chips.size_px, cells.template.steps
    layer, time = cells.stack.layer_dim or "feature", () if steps is None else ("time",)
    n_times = () if steps is None else (steps.n_steps,)
    place = files.storage.zarr_store(files.path(CHIPS))
    group = zarr.create_group(place, zarr_format=3, attributes=_attributes(cells, recipe))
    shapes: dict[str, tuple[tuple[int, ...], str, tuple[str, ...], Any]] = {
        "data": ((len(cells.layer_names), *n_times, size, size), "float32", (layer, *time, "y", "x"), float("nan")),
        "mask": ((*n_times, size, size), "bool", (*time, "y", "x"), False),
        "label": ((size, size), "uint8", ("y", "x"), 0),
    }
    for name, (shape, dtype, dims, fill) in shapes.items():
        group.create_array(
            name, shape=(most, *shape), shards=(PER_SHARD, *shape), chunks=(1, *shape), dtype=dtype, fill_value=fill,
            compressors=COMPRESSOR, dimension_names=("sample", *dims), config={"write_empty_chunks": True},
        )  # fmt: skip
    _put(group, layer, np.array(cells.layer_names, dtype=object), layer)
    return group


def _write_coordinates(group: zarr.Group, cells: SampledCells, facts: ChipFacts) -> None:
    """Centre, cell, period and start of each chip."""
    of_chip = [cells.cells[number] for number in facts.cell]
    _put(group, "centre_x", facts.x, "sample", units="metre")
    _put(group, "centre_y", facts.y, "sample", units="metre")
    _put(group, "cell", np.array([str(each.cell.id) for each in of_chip], dtype=object), "sample")
    _put(group, "period", np.array([each.label for each in of_chip], dtype=object), "sample")
    starts = [(each.time.start - EPOCH) // timedelta(microseconds=1) for each in of_chip]
    _put(group, "start", np.array(starts, np.int64), "sample", **MICROSECONDS)


def _put(group: zarr.Group, name: str, values: NDArray[Any], dim: str, **attributes: str) -> None:
    dtype: Any = str if values.dtype == object else values.dtype
    array = group.create_array(
        name, shape=values.shape, dtype=dtype, dimension_names=(dim,), attributes=dict(attributes)
    )
    array[...] = values


def _attributes(cells: SampledCells, recipe: SamplesRecipe) -> dict[str, Any]:
    codes = list(range(1, len(recipe.classes) + 1))
    return {
        "title": recipe.title or recipe.name,
        "proj:code": cells.grid.crs,
        "resolution_m": cells.grid.resolution_m,
        "flag_values": codes,
        "flag_meanings": " ".join(recipe.classes),
    }


def _main_class(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class code that most labelled pixels of each chip have, (n,)."""
    flat = label.reshape(label.shape[0], -1)
    counts = np.stack([(flat == code).sum(axis=1) for code in range(1, int(flat.max()) + 1)])
    return (counts.argmax(axis=0) + 1).astype(np.uint8)
