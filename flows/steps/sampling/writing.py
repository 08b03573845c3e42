"""Write the files of a training set, a table of pixels, of matches or a Zarr of chips, and say what is known of them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flows.steps.pictures.samples import samples_picture, values_picture
from flows.steps.sampling.chip_windows import chip_windows
from flows.steps.sampling.chips import cut_chips, write_chips
from flows.steps.sampling.label_sources import OpenLabels
from flows.steps.sampling.matches import Measured, match_pixels
from flows.steps.sampling.pixels import draw_pixels, named_table, notes_on, outside
from flows.steps.sampling.sample_files import PICTURE, TABLE, SampleFiles, table_bytes
from flows.steps.sampling.sampled_cells import SampledCells
from products.errors import RequestError
from products.learning.samples import OUTLIER
from products.learning.samples_recipe import SamplesRecipe


def write_pixels(
    files: SampleFiles, recipe: SamplesRecipe, cells: SampledCells, sources: Sequence[OpenLabels], threads: int
) -> dict[str, Any]:
    """A table of labelled pixels."""
    drawn = draw_pixels(files.storage, recipe, cells, sources, threads)
    table = named_table(drawn, recipe, cells, sources)
    kept = table[~table[OUTLIER]] if OUTLIER in table else table
    counts = kept["class"].value_counts()
    rows = {name: int(counts[name]) for name in recipe.classes}
    x, y, code = (kept[name].to_numpy() for name in ("x", "y", "code"))
    files.storage.write_bytes(files.path(PICTURE), samples_picture(x, y, code, recipe.classes))
    told = {"kind": "pixels", "rows": rows, "feature_names": list(cells.column_names)}
    return told | _accounts(drawn.dropped, drawn.notes) | _table_written(files, table, cells.grid.crs)


def write_matches(
    files: SampleFiles, recipe: SamplesRecipe, cells: SampledCells, measured: Measured, threads: int
) -> dict[str, Any]:
    """A table of measurements with what the cells show there."""
    assert recipe.matches is not None
    matched = match_pixels(files.storage, recipe.matches, cells, measured, threads)
    if matched.table.empty:
        causes = ", ".join(f"{cause}: {count}" for cause, count in sorted(matched.dropped.items()))
        raise RequestError(
            f"no measurement of {measured.source.file} is matched ({causes}): widen `within` or the period, or check places and times"
        )
    first = recipe.matches.values[0]
    x, y, value = (matched.table[name].to_numpy() for name in ("x", "y", first))
    files.storage.write_bytes(files.path(PICTURE), values_picture(x, y, value, first))
    rows, names = {"matched": len(matched.table)}, list(cells.layer_names)
    told = {"kind": "matches", "rows": rows, "values": list(recipe.matches.values), "feature_names": names}
    return told | _accounts(matched.dropped, matched.notes) | _table_written(files, matched.table, cells.grid.crs)


def write_set_of_chips(
    files: SampleFiles, recipe: SamplesRecipe, cells: SampledCells, sources: Sequence[OpenLabels], threads: int
) -> dict[str, Any]:
    """A Zarr of chips; `rows` counts labelled pixels of each class, `chips` the chips."""
    assert recipe.chips is not None
    notes = notes_on(cells, sources)
    windows, dropped = chip_windows(recipe, recipe.chips, cells, sources)
    dropped["outside"] = outside(cells, sources)
    batches = cut_chips(files.storage, cells, windows, dropped, threads)
    most = max(1, sum(each.row.size for each in windows))
    facts = write_chips(files, cells, recipe, batches, most)
    files.storage.write_bytes(files.path(PICTURE), samples_picture(facts.x, facts.y, facts.code, recipe.classes))
    rows = {name: int(facts.pixels[code]) for code, name in enumerate(recipe.classes, start=1)}
    told = {"kind": "chips", "chips": facts.x.size, "rows": rows, "feature_names": list(cells.layer_names)}
    return told | _accounts(dropped, notes) | {"content_digest": facts.digest}


def _table_written(files: SampleFiles, table: pd.DataFrame, crs: str) -> dict[str, Any]:
    content = table_bytes(table, crs)
    files.storage.write_bytes(files.path(TABLE), content)
    return {"content_digest": hashlib.sha256(content).hexdigest()}


def _accounts(dropped: Mapping[str, int], notes: Sequence[str]) -> dict[str, Any]:
    return {"dropped": {cause: count for cause, count in sorted(dropped.items()) if count}, "notes": list(notes)}
