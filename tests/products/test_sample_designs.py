"""Designs: how many of which class are drawn, and that drawing depends on place, time and seed only."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from products.errors import RequestError
from products.learning.designs import DesignSpec, draw, on_lattice, shortlist
from products.learning.samples import pixel_priority

CLASSES = ("mangrove", "water", "other")
COUNTS = {1: 50, 2: 200, 3: 750}


def design(**said: Any) -> DesignSpec:
    return DesignSpec.model_validate(said)


def table() -> pd.DataFrame:
    """A thousand pixels of three classes, in disorder."""
    code = np.repeat(list(COUNTS), list(COUNTS.values())).astype(np.uint8)
    place = np.random.default_rng(1).permutation(code.size)
    x, y = 30.0 * (place % 40), 30.0 * (place // 40)
    start = np.full(code.size, np.datetime64("2020-01-01", "us"))
    return pd.DataFrame({"x": x, "y": y, "start": start, "code": code, "priority": pixel_priority(x, y, 7, 3)})


def drawn(said: DesignSpec, parts: int = 1, seed: int = 0) -> pd.DataFrame:
    """The rows that a design draws of the pixels, met in parts and in any order."""
    rows = table().sample(frac=1, random_state=seed)
    kept = rows.iloc[:0]
    for number in range(parts):
        kept = shortlist(pd.concat([kept, rows.iloc[number::parts]]), said, CLASSES)
    return draw(kept, Counter(COUNTS), said, CLASSES).sort_values(["y", "x"], ignore_index=True)


EACH = [
    (design(), COUNTS),
    (design(stratified={"per_class": 100}), {1: 50, 2: 100, 3: 100}),
    (design(stratified={"per_class": {"mangrove": 10, "water": 20, "other": 30}}), {1: 10, 2: 20, 3: 30}),
    (design(balanced={}), {1: 50, 2: 50, 3: 50}),
    (design(balanced={"per_class": 20}), {1: 20, 2: 20, 3: 20}),
    (design(proportional={"n": 101}), {1: 5, 2: 20, 3: 76}),
    (design(proportional={"n": 5000}), COUNTS),
]


@pytest.mark.parametrize(("said", "expected"), EACH)
def test_a_design_draws_so_many_of_each_class(said: DesignSpec, expected: dict[int, int]) -> None:
    assert drawn(said)["code"].value_counts().to_dict() == expected


@pytest.mark.parametrize("said", [*(each for each, _ in EACH), design(random={"n": 77})])
def test_a_design_draws_the_same_whatever_the_parts_and_their_order(said: DesignSpec) -> None:
    pd.testing.assert_frame_equal(drawn(said), drawn(said, parts=7, seed=4))


def test_a_random_design_draws_n_and_favours_no_class() -> None:
    found = drawn(design(random={"n": 400}))
    assert len(found) == 400
    assert 0.6 < (found["code"] == 3).mean() < 0.9


def test_a_larger_draw_holds_the_smaller_one() -> None:
    few, many = drawn(design(random={"n": 50})), drawn(design(random={"n": 90}))
    assert set(few["priority"]) < set(many["priority"])


def test_a_lattice_takes_every_so_many_th_row_and_column_of_the_whole_grid() -> None:
    rows, columns = (each.ravel() for each in np.mgrid[-30:30, -30:30])
    chosen = on_lattice(rows, columns, 10, 3)
    assert chosen.sum() == 36
    assert np.unique(np.diff(np.unique(rows[chosen]))).tolist() == [10]
    assert (on_lattice(rows[7:], columns[7:], 10, 3) == chosen[7:]).all()
    assert not (on_lattice(rows, columns, 10, 4) == chosen).all()


def test_two_designs_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one design, got stratified and random"):
        design(stratified={}, random={"n": 3})


def test_numbers_for_other_classes_are_refused() -> None:
    with pytest.raises(RequestError, match="per_class names water: expected each class once, mangrove, water, other"):
        design(stratified={"per_class": {"water": 3}}).check(CLASSES)


def test_no_pixels_of_a_class_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one pixel of each class in per_class, got 0"):
        design(stratified={"per_class": 0})
