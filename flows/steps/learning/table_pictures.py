"""The pictures of a trial on a table, by file name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flows.steps.pictures.tables import (
    MOST_SHOWN,
    ToldPixels,
    ToldQuantity,
    matrices_picture,
    pixels_picture,
    quantity_picture,
)
from products.learning.sample_table import PLACE, SampleTable
from products.learning.table_recipe import TableRecipe
from products.learning.table_trial import Answers

TRIAL, PIXELS = "trial.png", "pixels.png"
COLOURS = ("red", "green", "blue")
LEAST_FILLED = 0.5  # of the rectangle around the rows of a file: what fills less is no picture


def trial_pictures(
    frame: pd.DataFrame, table: SampleTable, recipe: TableRecipe, answers: Answers, metrics: Mapping[str, Any]
) -> dict[str, bytes]:
    """`trial.png`: confusion matrices, or quantities told beside measured ones; and of classified pixels of pictures `pixels.png`."""
    if not recipe.class_names:
        return {TRIAL: _of_quantity(table, recipe, answers, metrics)}
    groups = metrics["by_group"]
    shown = groups if 1 < len(groups) <= MOST_SHOWN else {"all": metrics["all"]}
    found = {TRIAL: matrices_picture(shown, recipe.class_names)}
    if pictures := told_pixels(frame, table, recipe, answers):
        found[PIXELS] = pixels_picture(pictures, recipe.class_names)
    return found


def pictured(frame: pd.DataFrame, recipe: TableRecipe) -> pd.DataFrame:
    """The columns of a table that its pictures are drawn from; of rows that are no pixels none."""
    wanted = (*PLACE, *COLOURS, *recipe.table.features[:1]) if set(PLACE) <= set(frame.columns) else ()
    return frame[[name for name in frame.columns if name in wanted]].copy()


def told_pixels(frame: pd.DataFrame, table: SampleTable, recipe: TableRecipe, answers: Answers) -> list[ToldPixels]:
    """The first pictures of a table whose rows are their pixels; none where rows are anything else."""
    if recipe.table.chip_px or not set(PLACE) <= set(frame.columns):
        return []
    rows = frame.iloc[table.kept].reset_index(drop=True)
    names = COLOURS if set(COLOURS) <= set(frame.columns) else recipe.table.features[:1]
    parts = list(rows.groupby("file"))[:MOST_SHOWN]
    if not all(_is_picture(part) for _, part in parts):
        return []
    return [_of_file(str(name), part, names, table, answers) for name, part in parts]


def _is_picture(part: pd.DataFrame) -> bool:
    row, column = (part[name].to_numpy() for name in PLACE[1:])
    if any(axis.dtype.kind not in "iu" or axis.min() < 0 for axis in (row, column)):
        return False
    n_around = (int(row.max()) + 1) * (int(column.max()) + 1)
    return len(part) >= LEAST_FILLED * n_around and not part.duplicated(list(PLACE[1:])).any()


def _of_file(name: str, part: pd.DataFrame, bands: tuple[str, ...], table: SampleTable, answers: Answers) -> ToldPixels:
    row, column = (part[axis].to_numpy() for axis in PLACE[1:])
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    image = np.full((len(bands), *shape), np.nan, np.float32)
    image[:, row, column] = part[list(bands)].to_numpy(dtype=np.float32).T
    numbers = part.index.to_numpy()

    def as_codes(codes: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        found = np.zeros(shape, np.uint8)
        found[row, column] = codes[numbers].astype(np.uint8)
        return found

    return ToldPixels(name, image, as_codes(table.target), as_codes(answers.told))


def _of_quantity(table: SampleTable, recipe: TableRecipe, answers: Answers, metrics: Mapping[str, Any]) -> bytes:
    told, low, high, by_baseline = (
        np.exp(each) for each in (answers.told, answers.low, answers.high, answers.by_baseline)
    )
    interval = metrics["interval"]
    unseen = "did not see it" if recipe.leave_out == "row" else f"saw none of its {recipe.table.group}"
    title = (
        f"{table.n_rows} rows, each predicted by a model that {unseen};\n"
        f"intervals of {interval['asked']:.0%} hold {interval['covered']:.0%} of them"
    )
    return quantity_picture(ToldQuantity(recipe.table.target, table.target, told, low, high, by_baseline), title)
