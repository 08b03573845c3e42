"""Pictures of trials on tables: what is drawn of classes, of quantities, and of the pixels of labelled pictures."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from numpy.typing import NDArray

from flows.steps.learning.table_pictures import PIXELS, TRIAL, told_pixels, trial_pictures
from flows.steps.pictures.tables import ToldQuantity, quantity_picture
from products.learning.sample_table import SampleTable, sample_table
from products.learning.table_recipe import TableRecipe
from products.learning.table_trial import Answers, answered, scored
from tests.products.table_recipes import recipe_of

CLASSES = """
name: two_kinds
version: 1
kind: model
table: {target: label, classes: {dark: [1], bright: [4]}, features: [x]}
estimator: linear
"""
QUANTITY = """
name: an_amount
version: 1
kind: model
table: {target: amount, features: [x]}
leave_out: row
estimator: linear
baseline: 0 - x
"""
SIDE = 12


def chips(names: tuple[str, ...] = ("one", "two")) -> pd.DataFrame:
    """Pictures whose eastern half is bright, in any order of their rows; a pixel of the first is missing."""
    row, column = (axis.ravel() for axis in np.indices((SIDE, SIDE)))
    label = np.where(column < SIDE // 2, 1, 4)
    parts = [pd.DataFrame({"x": label + 0.01 * row, "label": label, "row": row, "column": column}) for _ in names]
    frame = pd.concat([part.assign(file=name) for part, name in zip(parts, names, strict=True)], ignore_index=True)
    frame.loc[(frame.file == names[0]) & (frame.row == 3) & (frame.column == 7), "x"] = np.nan
    return frame.sample(frac=1, random_state=1)


def amounts(n: int) -> pd.DataFrame:
    x = np.linspace(1, 3, n)
    noise = np.random.default_rng(1).normal(0, 0.05, n)
    return pd.DataFrame({"x": x, "amount": np.exp(x + noise), "file": "here"})


def trial(frame: pd.DataFrame, text: str) -> tuple[SampleTable, TableRecipe, Answers, dict[str, Any]]:
    recipe = recipe_of(text)
    table = sample_table(frame, recipe)
    answers = answered(table, recipe)
    return table, recipe, answers, scored(table, recipe, answers)


def pixels(png: bytes) -> NDArray[np.float32]:
    return np.asarray(image.imread(io.BytesIO(png), format="png"))


def test_the_pixels_of_a_picture_lie_where_its_rows_say_and_what_lacks_a_value_has_no_class() -> None:
    frame = chips()
    table, recipe, answers, _ = trial(frame, CLASSES)
    first, second = told_pixels(frame, table, recipe, answers)
    expected = np.repeat([[1, 2]], SIDE, axis=0).repeat(SIDE // 2, axis=1)
    np.testing.assert_array_equal(second.true, expected)
    np.testing.assert_array_equal(second.told, expected)
    np.testing.assert_allclose(second.bands[0, 5], np.where(expected[5] == 1, 1.05, 4.05))
    assert (first.true[3, 7], first.told[3, 7]) == (0, 0) and np.isnan(first.bands[0, 3, 7])
    assert (first.told == expected).sum() == SIDE**2 - 1


@pytest.mark.parametrize("kept", [slice(None, None, 3), slice(None)])
def test_rows_that_fill_no_rectangle_or_lie_twice_are_no_picture(kept: slice) -> None:
    frame = chips().iloc[kept]
    frame = pd.concat([frame, frame]) if kept == slice(None) else frame
    assert told_pixels(frame, *trial(frame, CLASSES)[:3]) == []


def test_a_trial_on_pictures_shows_them_and_one_on_plain_rows_does_not() -> None:
    frame = chips()
    assert set(trial_pictures(frame, *trial(frame, CLASSES))) == {TRIAL, PIXELS}
    plain = frame.drop(columns=["row", "column"])
    assert set(trial_pictures(plain, *trial(plain, CLASSES))) == {TRIAL}


def test_each_group_has_its_matrix_and_many_groups_have_one_together() -> None:
    def width(names: tuple[str, ...]) -> int:
        frame = chips(names).drop(columns=["row", "column"])
        return int(pixels(trial_pictures(frame, *trial(frame, CLASSES))[TRIAL]).shape[1])

    assert width(("a", "b", "c")) > 1.4 * width(("a", "b")) > 1.4 * width(tuple("abcde"))


def test_a_quantity_is_drawn_and_the_same_trial_gives_the_same_bytes() -> None:
    table, recipe, answers, metrics = trial(amounts(30), QUANTITY)
    drawn = [trial_pictures(amounts(30), table, recipe, answers, metrics)[TRIAL] for _ in range(2)]
    assert drawn[0] == drawn[1] and pixels(drawn[0]).ndim == 3
    blue = np.abs(pixels(drawn[0])[..., :3] - [31 / 255, 119 / 255, 180 / 255]).max(axis=2) < 0.05
    assert blue.sum() > 30 * 16, "a dot and an interval for each row"


def test_many_rows_of_a_quantity_are_thinned_and_the_picture_stays_small() -> None:
    values = np.exp(np.random.default_rng(2).normal(0, 2, 20_000))
    shown = ToldQuantity("amount", values, values * 1.1, values / 1.5, values * 1.6, np.empty(0))
    assert len(quantity_picture(shown, "20000 rows")) < 200_000
