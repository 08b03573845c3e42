"""Rows of a table as samples: values, class codes or quantities, and the group that each row belongs to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from products.errors import RequestError
from products.formula import evaluate, near, parse_formula
from products.learning.table_chips import Pixels, chips_of
from products.learning.table_recipe import Scale, TableRecipe

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.bool_]
DARKEST = 1e-3
PLACE = ("file", "row", "column")  # of pixels that are cut into chips


@dataclass(frozen=True, slots=True)
class SampleTable:
    """`values` (n, feature), float64 where the estimator is linear, else float32.

    `target` (n,): class codes 1, 2, … or a quantity, and `group` (n,): numbers in `group_names`, each with a row.

    Of chips `values` are those of all pixels, feature after feature, row after row. `baseline` (n,) is what the recipe compares with; (0,) where it does not.
    `kept` (m,) are the numbers of the table's rows that have a value in every column, which are the samples unless chips are cut.
    """

    values: Floats
    target: Float64
    group: Int64
    group_names: tuple[str, ...]
    baseline: Float64
    n_dropped: int
    kept: Int64

    @property
    def n_rows(self) -> int:
        """Rows with everything."""
        return int(self.target.size)


def sample_table(frame: pd.DataFrame, recipe: TableRecipe) -> SampleTable:
    """The rows that have all columns of a recipe; RequestError for a column or class that is not there, or a quantity that is not above 0."""
    spec = recipe.table
    for name in (spec.target, spec.group, *spec.columns, *(PLACE if spec.chip_px else ())):
        if name not in frame.columns:
            raise RequestError(f"the table has no column {name!r}{near(name, [str(each) for each in frame.columns])}")
    for formula in (*spec.formulas.values(), *([recipe.baseline] if recipe.baseline else [])):
        _check_asks_no_answer(formula, frame, recipe)
    baseline = evaluated(recipe.baseline, frame) if recipe.baseline else np.empty(0)
    target = _class_codes(frame[spec.target], recipe) if spec.classes else frame[spec.target].to_numpy(np.float64)
    whole = np.isfinite(target) & frame[spec.group].notna().to_numpy()
    for column in (*_columns(frame, recipe), *([baseline] if recipe.baseline else [])):
        whole &= np.isfinite(column)
    if not whole.any():
        raise RequestError("no row of the table has a value in every column that the recipe names")
    if not spec.classes and float(target[whole].min()) <= 0:
        raise RequestError(
            f"{spec.target} is {target[whole].min():g} in a row: expected quantities above 0, they are learned as logarithms"
        )
    names, group = _named(frame.loc[whole, spec.group])
    kept = np.flatnonzero(whole)
    values = np.empty((kept.size, len(spec.feature_names)), np.float64 if recipe.estimator.linear else np.float32)
    for n, column in enumerate(_columns(frame, recipe)):
        values[:, n] = scaled(column[kept], group, spec.scale) if n < len(spec.columns) else column[kept]
    compared = baseline[kept] if recipe.baseline else baseline
    n_dropped, target = len(frame) - kept.size, target[kept]
    if spec.chip_px:
        place = (frame.loc[whole, name].to_numpy(dtype=np.int64) for name in PLACE[1:])
        _, picture = _named(frame.loc[whole, PLACE[0]])
        chips, target, of_picture = chips_of(Pixels(values, target, picture, *place), spec.chip_px)
        values = chips.reshape(len(chips), -1)
        of_group = np.array([group[picture == number][0] for number in range(int(picture.max()) + 1)])[of_picture]
        there, group = np.unique(of_group, return_inverse=True)
        names = names[there]
    return SampleTable(values, target, group.astype(np.int64), tuple(map(str, names)), compared, n_dropped, kept)


def _columns(frame: pd.DataFrame, recipe: TableRecipe) -> Iterator[Float64]:
    """The features of all rows, (n,) each, one after the other: columns, then formulas."""
    for name in recipe.table.columns:
        yield frame[name].to_numpy(dtype=np.float64)
    for formula in recipe.table.formulas.values():
        yield evaluated(formula, frame)


def _named(column: "pd.Series[Any]") -> tuple[npt.NDArray[np.str_], Int64]:
    """The different values of a column as text, sorted, and the number (n,) of each row's among them."""
    found, values = pd.factorize(column.astype(str))
    names, place = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
    return names, place[found].astype(np.int64)


def evaluated(text: str, frame: pd.DataFrame) -> Float64:
    """A formula over the columns of a table, (n,); NaN or infinite where it has no value."""
    formula = parse_formula(text, frozenset(map(str, frame.columns)))
    columns = {name: frame[name].to_numpy(dtype=np.float64) for name in formula.bands}
    return np.asarray(evaluate(formula, columns), dtype=np.float64)


def scaled(values: Float64, group: Int64, scale: Scale) -> Float64:
    """Values (n,) or (n, feature) as they are, in logarithms, or in logarithms less the median of their group."""
    if scale == "none":
        return values
    logs: Float64 = np.log(np.maximum(values, DARKEST))
    if scale == "log":
        return logs
    for number in range(int(group.max()) + 1):
        logs[group == number] -= np.median(logs[group == number], axis=0)
    return logs


def held_out(table: SampleTable, recipe: TableRecipe) -> Iterator[Rows]:
    """What is tested in turn, (n,) masks: a group, or a row, at a time; RequestError where that leaves nothing to learn from."""
    parts = table.group if recipe.leave_out == "group" else np.arange(table.n_rows)
    if int(parts.max()) < 1:
        one = f"one group, {table.group_names[0]!r}" if recipe.leave_out == "group" else "one row"
        raise RequestError(f"the table has {one}: expected two or more, of which each is left out in turn")
    for number in range(int(parts.max()) + 1):
        yield parts == number


def drawn(table: SampleTable, rows: Rows, most: int, seed: int) -> Int64:
    """The numbers of some rows in their order, int64: at most so many of each class, drawn by the seed."""
    random, found = np.random.default_rng(seed), []
    for code in np.unique(table.target[rows]):
        of_class = np.flatnonzero(rows & (table.target == code))
        found.append(random.choice(of_class, most, replace=False) if of_class.size > most else of_class)
    return np.sort(np.concatenate(found))


def _class_codes(column: "pd.Series[Any]", recipe: TableRecipe) -> Float64:
    meaning = {value: code for code, values in enumerate(recipe.table.classes.values(), start=1) for value in values}
    known = column.dropna()
    strange = known[~known.isin(list(meaning))]
    if len(strange):
        raise RequestError(
            f"{recipe.table.target} holds {strange.iloc[0]!r}: expected the values of classes, {', '.join(map(str, meaning))}"
        )
    found: Float64 = np.asarray(column.map(meaning.get, na_action="ignore"), dtype=np.float64)
    return found


def _check_asks_no_answer(text: str, frame: pd.DataFrame, recipe: TableRecipe) -> None:
    """RequestError for a formula over the target or the group."""
    for name in parse_formula(text, frozenset(map(str, frame.columns))).bands:
        if name in (recipe.table.target, recipe.table.group):
            raise RequestError(
                f"the formula {text!r} names {name!r}, the target or group of the table: a model would read its answer"
            )
