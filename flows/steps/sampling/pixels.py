"""Labelled pixels of published cells as one table: placed, read, drawn, in an order that depends on nothing but place and time."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.sampling.label_sources import OpenLabels
from flows.steps.sampling.sampled_cells import SampledCells
from flows.steps.storage import Storage
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from products.learning.designs import draw, on_lattice, shortlist
from products.learning.label_places import Places, each_once, joined
from products.learning.outliers import outliers
from products.learning.place_kernels import centres_in_order
from products.learning.samples import OUTLIER, pixel_priority
from products.learning.samples_recipe import SamplesRecipe

OWN_COLUMNS = (
    "x", "y", "cell", "period", "start", "class", "code", "label_fraction", "labels", "priority", "geometry", OUTLIER,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """`table` has a row for each pixel and time: x, y (metres, CRS of the cube), number of the cell, start, code, label_fraction, number of its labels,
    priority, a column for each feature and, where outliers are told, `is_outlier`."""

    table: pd.DataFrame
    dropped: Counter[str]
    notes: tuple[str, ...]


def draw_pixels(
    storage: Storage, recipe: SamplesRecipe, cells: SampledCells, sources: Sequence[OpenLabels], threads: int
) -> Drawn:
    """The pixels that the recipe draws of some cells under some labels; RequestError if the labels lie elsewhere, or a class is not there."""
    check_names(cells.column_names)
    dropped, available = Counter[str](), Counter[int]()
    kept: pd.DataFrame | None = None
    for tile, of_tile in cells.by_tile:
        places, lost = chosen_places(recipe, cells.grid, tile, sources)
        dropped += lost
        for number in of_tile if len(places) else ():
            rows = cell_rows(storage, cells, number, places, recipe.seed, threads)
            dropped["without_features"] += len(places) - len(rows)
            available += Counter(rows["code"].tolist())
            together = rows if kept is None else pd.concat([kept, rows], ignore_index=True)
            kept = shortlist(together, recipe.design, recipe.classes)
    dropped["outside"] = outside(cells, sources)
    if kept is None or kept.empty:
        raise RequestError(nothing_found(recipe, cells, sources, dropped))
    check_every_class(recipe, available)
    table = draw(kept, available, recipe.design, recipe.classes).sort_values(
        ["start", "y", "x", "cell"], ignore_index=True
    )
    dropped["not_drawn"] = sum(available.values()) - len(table)
    notes = notes_on(cells, sources)
    if recipe.clean.outliers is not None:
        values, codes = table[list(cells.column_names)].to_numpy(), table["code"].to_numpy()
        table[OUTLIER] = outliers(values, codes, recipe.clean.outliers, recipe.seed)
        dropped["outlier"] = n_outliers = int(table[OUTLIER].sum())
        notes += (
            f"{n_outliers} outliers of their class are in the table, as is_outlier: models test with them and learn from none",
        )
    return Drawn(table, +dropped, notes)


def chosen_places(
    recipe: SamplesRecipe, grid: PixelGrid, tile: Tile, sources: Sequence[OpenLabels]
) -> tuple[Places, Counter[str]]:
    """The labelled pixels of a tile, of a systematic design those on its lattice, and how many labels were dropped by cause."""
    places, dropped = tile_places(recipe, grid, tile, sources)
    if recipe.design.systematic:
        rows, columns = tile.row * grid.tile_px + places.row, tile.column * grid.tile_px + places.column
        chosen = on_lattice(rows, columns, recipe.design.systematic.step_px, recipe.seed)
        dropped["off_lattice"] = len(places) - int(chosen.sum())
        places = places.where(chosen)
    return places, dropped


def tile_places(
    recipe: SamplesRecipe, grid: PixelGrid, tile: Tile, sources: Sequence[OpenLabels], margin_px: int = 0
) -> tuple[Places, Counter[str]]:
    """The labelled pixels of a tile with a margin under all sources, each once, and how many labels were dropped by cause."""
    geobox, dropped, parts = grid.geobox(tile, margin_px), Counter[str](), []
    for number, source in enumerate(sources):
        if source.overlaps(geobox):
            found, lost = source.places(geobox, number)
            parts.append(found)
            dropped += lost
    places, lost = each_once(joined(parts), geobox.shape[1])
    dropped += lost
    if dropped["contradicting"] and recipe.clean.contradicting == "error":
        raise RequestError(
            f"{dropped['contradicting']} labels contradict others at the same pixel of the tile {tile.label}: correct them, "
            "or let them be left out and counted with clean: {contradicting: drop}"
        )
    return places, dropped


def cell_rows(
    storage: Storage, cells: SampledCells, number: int, places: Places, seed: int, threads: int
) -> pd.DataFrame:
    """The rows of the places of one cell, known by its number, that have all features."""
    cell = cells.cells[number]
    pixels = cells.in_order(places.row, places.column, threads)
    with ThreadPoolExecutor(1) as beside:
        about = beside.submit(_about, cells, number, places, pixels.order, seed)
        values, complete = cells.values_in_order(storage, cell, pixels, threads)
    columns = about.result()
    if not complete.all():
        columns, values = {name: column[complete] for name, column in columns.items()}, values[:, complete]
    table = pd.DataFrame(values.T, columns=list(cells.column_names), copy=False)
    return pd.concat([pd.DataFrame(columns, copy=False), table], axis=1)


def _about(
    cells: SampledCells, number: int, places: Places, order: NDArray[np.int64], seed: int
) -> dict[str, NDArray[Any]]:
    """What is known of places, in an order, without their features."""
    cell, n = cells.cells[number], order.size
    x, y = np.empty((2, n), np.float64)
    centres_in_order(order, places.row, places.column, tuple(cells.grid.geobox(cell.tile).affine)[:6], x, y)
    return {
        "x": x,
        "y": y,
        "cell": np.full(n, number, np.int32),
        "start": np.full(n, np.datetime64(cell.time.start.replace(tzinfo=None), "us")),
        "code": places.code.take(order),
        "label_fraction": places.fraction.take(order),
        "labels": places.source.take(order),
        "priority": pixel_priority(x, y, cell.time.start.toordinal(), seed),
    }


def named_table(
    drawn: Drawn, recipe: SamplesRecipe, cells: SampledCells, sources: Sequence[OpenLabels]
) -> pd.DataFrame:
    """The table as it is stored: cells by id, times by label, classes by name, labels by file."""
    table = drawn.table
    ids, times = [str(each.cell.id) for each in cells.cells], [each.label for each in cells.cells]
    labels = sorted(set(times))
    time_of_cell = np.array([labels.index(time) for time in times], np.int32)
    files = list(dict.fromkeys(source.source.file.name for source in sources))
    file_of = np.array([files.index(source.source.file.name) for source in sources], np.int32)
    about = {
        "x": table["x"],
        "y": table["y"],
        "cell": named(table["cell"], ids),
        "period": named(time_of_cell[table["cell"]], labels),
        "start": table["start"],
        "class": named(table["code"].to_numpy().astype(np.int32) - 1, recipe.classes),
        "code": table["code"],
        "label_fraction": table["label_fraction"],
        "labels": named(file_of[table["labels"]], files),
    }
    told = [OUTLIER] if OUTLIER in table else []
    return pd.concat([pd.DataFrame(about), table[told + list(cells.column_names)]], axis=1)


def named(numbers: Any, names: Sequence[str]) -> "pd.Series[Any]":  # noqa: ANN401
    """Names by their numbers, as a column that stores each name once."""
    return pd.Series(pd.Categorical.from_codes(np.asarray(numbers, np.int32), pd.Index(list(names))))


def centres(
    geobox: GeoBox, row: NDArray[np.int64], column: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Easting and northing of pixel centres, metres."""
    affine = geobox.affine
    return affine.c + (column + 0.5) * affine.a, affine.f + (row + 0.5) * affine.e


def check_names(names: Sequence[str]) -> None:
    """RequestError where a feature is called as a column that every table of samples has."""
    for name in names:
        if name in OWN_COLUMNS:
            raise RequestError(f"a feature is called {name!r}, as a column of the sample table: rename it")


def outside(cells: SampledCells, sources: Sequence[OpenLabels]) -> int:
    """How many shapes of all sources lie on no cell."""
    grids = [cells.grid.geobox(tile) for tile in cells.tiles]
    return sum(source.n_outside(grids) for source in sources)


def notes_on(cells: SampledCells, sources: Sequence[OpenLabels]) -> tuple[str, ...]:
    """What was decided about labels: reprojected, repaired, of another epoch."""
    notes = []
    for source in sources:
        file, crs = source.source.file.name, source.source.crs
        if crs != cells.grid.crs:
            notes.append(f"the labels {file} were reprojected from {crs} to {cells.grid.crs}")
        if source.n_repaired:
            notes.append(f"{source.n_repaired} shapes of {file} had crossing edges and were repaired")
        notes += epoch_notes(cells, source)
    return tuple(notes)


def epoch_notes(cells: SampledCells, source: OpenLabels) -> list[str]:
    """That labels of one year are used for others, a cell being of the year that it is made for; RequestError unless they are known to be stable."""
    epoch, file = source.spec.epoch, source.source.file.name
    years = sorted({cells.recipe.step_of(each.time).start.year for each in cells.cells})
    if epoch is None or years == [epoch]:
        return []
    if not source.spec.stable_across:
        raise RequestError(
            f"the labels {file} are of the epoch {epoch}, the cells of {', '.join(map(str, years))}: name label rasters of other "
            "epochs in stable_across, so that only what does not change is used, or leave epoch out"
        )
    others = ", ".join(source.spec.stable_across)
    return [f"the labels {file} of {epoch} are used for {', '.join(map(str, years))} where they agree with {others}"]


def check_every_class(recipe: SamplesRecipe, available: Counter[int]) -> None:
    """RequestError unless every class has a pixel."""
    missing = [name for code, name in enumerate(recipe.classes, start=1) if not available[code]]
    if missing:
        there = ", ".join(f"{name}: {available[c]}" for c, name in enumerate(recipe.classes, start=1) if available[c])
        raise RequestError(
            f"no labelled pixels of the class {', '.join(missing)} (there are {there}): expected some of each; "
            "widen the area, lower edge_px, or remove the class"
        )


def nothing_found(
    recipe: SamplesRecipe, cells: SampledCells, sources: Sequence[OpenLabels], dropped: Counter[str]
) -> str:
    """Why there is no pixel at all."""
    grids = [cells.grid.geobox(tile) for tile in cells.tiles]
    if not any(source.overlaps(geobox) for source in sources for geobox in grids):
        files = ", ".join(f"{source.source.file} ({source.source.crs})" for source in sources)
        return (
            f"the labels {files} share no ground with the area {cells.area.name!r}: "
            "expected labels inside it; check their CRS and coordinates"
        )
    causes = ", ".join(f"{cause}: {count}" for cause, count in sorted((+dropped).items())) or "no pixel is labelled"
    return f"no labelled pixel of {recipe.name} is left ({causes}): lower edge_px or min_label_fraction, or label more ground"
