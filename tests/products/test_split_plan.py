"""The planned split: its buffer, held-out periods, and sites."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from products.errors import RequestError
from products.learning.split_plan import HeldRows, SplitPlan, connected_sites, plan_split
from products.learning.split_spec import SplitSpec

SIDE = 80
CODE = np.where(np.arange(SIDE * SIDE) % 2, 1, 2).astype(np.int64)


def places() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.meshgrid(15 + 30.0 * np.arange(SIDE), 15 + 30.0 * np.arange(SIDE))
    return x.ravel(), y.ravel()


def features(width_px: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(size=(3, SIDE, SIDE))
    smooth = np.stack([ndimage.uniform_filter(layer, width_px) if width_px else layer for layer in noise])
    return smooth.reshape(3, -1).T.astype(np.float32)


def planned(
    spec: SplitSpec, width_px: int = 0, receptive_m: float = 0.0, late: NDArray[np.bool_] | None = None, shown: NDArray[np.bool_] | None = None,
) -> SplitPlan:  # fmt: skip
    held = None if late is None else HeldRows(late, late if shown is None else shown)
    return plan_split(*places(), CODE, features(width_px), held, spec, receptive_m, 3)


def test_a_buffer_that_is_given_stays_and_is_told_to_suffice() -> None:
    plan = planned(SplitSpec(block_m=480, buffer_m=60))
    assert plan.split.buffer_m == 60
    assert "has a range of 0 m, the buffer is 60 m: it is within the buffer." in plan.decision


def test_a_buffer_below_the_range_is_told_to_flatter() -> None:
    plan = planned(SplitSpec(block_m=480, buffer_m=60), width_px=7)
    assert plan.variogram.range_m > 100
    assert "MORE THAN THE BUFFER" in plan.decision
    assert plan.document()["variogram"]["range_m"] == round(plan.variogram.range_m, 1)


def test_auto_widens_the_buffer_to_the_range() -> None:
    plan = planned(SplitSpec(block_m=600, buffer_m="auto"), width_px=7)
    assert plan.split.buffer_m == plan.variogram.range_m > 100
    train, test = plan.split.train_rows(plan.split.holdout), plan.split.test_rows(plan.split.holdout)
    x, y = places()
    gap = np.hypot(x[train][:, None] - x[test][None], y[train][:, None] - y[test][None]).min()
    assert gap >= plan.split.buffer_m


@pytest.mark.parametrize("n_sites", [1, 2, 3, 10])
@pytest.mark.parametrize("apart_m", [20_000, 300_000])
def test_one_smooth_field_has_one_range_at_however_many_sites_it_is_seen(n_sites: int, apart_m: float) -> None:
    side, random = 60, np.random.default_rng(n_sites)
    x, y = np.meshgrid(15 + 30.0 * np.arange(side), 15 + 30.0 * np.arange(side))
    rows, columns = np.mgrid[-10:11, -10:11]
    disc = (np.hypot(rows, columns) <= 10).astype(float)
    noise = random.normal(size=(n_sites, 3, side, side))
    fields = np.stack([[ndimage.convolve(layer, disc, mode="wrap") for layer in site] for site in noise])
    values = fields.transpose(0, 2, 3, 1).reshape(-1, 3).astype(np.float32)
    places = [
        np.concatenate([axis.ravel() + apart_m * n * step for n in range(n_sites)]) for axis, step in ((x, 1), (y, 0.5))
    ]
    code = np.tile([1, 2], values.shape[0] // 2).astype(np.int64)
    plan = plan_split(*places, code, values, None, SplitSpec(block_m=480, folds=3, buffer_m=60), 0.0, 3)
    assert plan.variogram.range_m == pytest.approx(600, rel=0.35)


def scattered(step_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Four pixels in a square, on a lattice of 6 x 6 places."""
    x, y = np.meshgrid(step_m * np.arange(6), step_m * np.arange(6))
    pixel = np.array([[0, 0], [30, 0], [0, 30], [30, 30]])
    return (15 + x.ravel()[:, None] + pixel[:, 0]).ravel(), (15 + y.ravel()[:, None] + pixel[:, 1]).ravel()


def test_a_range_that_cannot_be_measured_is_told_and_not_taken_for_none() -> None:
    x, y = scattered(5000)
    code, values = np.tile([1, 2], x.size // 2).astype(np.int64), np.random.default_rng(1).normal(size=(x.size, 2))
    plan = plan_split(x, y, code, values.astype(np.float32), None, SplitSpec(buffer_m=60), 0.0, 3)
    assert plan.variogram.range_m is None and plan.document()["variogram"]["range_m"] is None
    assert "How far the features are alike could not be measured" in plan.decision
    assert plan.decision.endswith("The buffer is 60 m; whether that is enough is NOT KNOWN.")
    with pytest.raises(
        RequestError, match=r"buffer_m: auto .* could not be measured: .*: give buffer_m in metres, or label more"
    ):
        plan_split(x, y, code, values.astype(np.float32), None, SplitSpec(buffer_m="auto"), 0.0, 3)


def test_single_pixels_far_from_each_other_have_a_variogram_of_the_ground_that_they_lie_on() -> None:
    random = np.random.default_rng(3)
    x, y = 15 + 30 * np.round(random.uniform(0, 1000, (2, 200)))
    field = np.column_stack([np.sin(x / 3000) + np.cos(y / 3000), np.cos(x / 3000) - np.sin(y / 3000)])
    code = np.tile([1, 2], 100).astype(np.int64)
    plan = plan_split(x, y, code, field.astype(np.float32), None, SplitSpec(buffer_m=60), 0.0, 3)
    assert plan.variogram.range_m is not None and plan.variogram.range_m > 2000
    assert "MORE THAN THE BUFFER" in plan.decision


def test_a_buffer_is_at_least_the_receptive_field() -> None:
    plan = planned(SplitSpec(block_m=480, buffer_m=60), receptive_m=150)
    assert plan.split.buffer_m == 150
    assert "buffer_m 60 m, widened to the receptive field" in plan.decision


def test_blocks_too_small_for_their_buffer_are_refused_with_a_size_that_will_do() -> None:
    with pytest.raises(
        RequestError, match=r"wider than twice the buffer of 250 m \(receptive field 250 m.*set block_m to 630 or more"
    ):
        planned(SplitSpec(block_m=480, buffer_m=60), receptive_m=250)


def test_the_holdout_of_held_out_periods_is_elsewhere_and_later() -> None:
    late = places()[1] % 60 < 30
    split = planned(SplitSpec(block_m=480, holdout_periods=("2020",)), late=late).split
    test, train = split.test_rows(split.holdout), split.train_rows(split.holdout)
    assert late[test].all() and not late[train].any()
    assert not np.isin(split.block[train], split.block[test]).any()
    assert not late[split.test_rows(0)].any()


def test_rows_that_show_a_held_out_period_without_being_of_it_are_neither_trained_on_nor_tested() -> None:
    row = places()[1] // 30
    late, shown = row % 3 == 0, row % 3 <= 1
    split = planned(SplitSpec(block_m=480, holdout_periods=("2020",)), late=late, shown=shown).split
    test, train = split.test_rows(split.holdout), split.train_rows(split.holdout)
    assert late[test].all() and not shown[train].any()
    assert not shown[split.test_rows(0)].any()


def test_periods_that_leave_nothing_to_test_or_to_learn_are_refused() -> None:
    with pytest.raises(RequestError, match="the class of code 1 has samples only in cells that show held-out periods"):
        planned(SplitSpec(block_m=480, holdout_periods=("2020",)), late=CODE == 1)
    holdout = planned(SplitSpec(block_m=480)).split
    nowhere = (holdout.fold != holdout.holdout) & (np.arange(CODE.size) == np.flatnonzero(holdout.fold == 0)[0])
    with pytest.raises(RequestError, match="no sample of the held-out periods lies in the held-out blocks"):
        planned(SplitSpec(block_m=480, holdout_periods=("2020",)), late=nowhere)


def test_held_out_periods_that_empty_a_fold_are_refused_with_its_number() -> None:
    split = planned(SplitSpec(block_m=480)).split
    late = (split.fold == 1) | (places()[1] % 60 < 30)
    with pytest.raises(
        RequestError,
        match=r"fold 2 of 5 has samples only in cells that show held-out periods: .* lower folds or block_m",
    ):
        planned(SplitSpec(block_m=480, holdout_periods=("2020",)), late=late)


def test_blocks_that_touch_are_one_site() -> None:
    x = np.array([50.0, 150.0, 250.0, 950.0, 1050.0, 2050.0])
    y = np.array([50.0, 150.0, 150.0, 50.0, 50.0, 50.0])
    site, names = connected_sites(x, y, 100.0)
    assert names == ("site 1", "site 2", "site 3")
    assert [len(set(site[rows])) for rows in (slice(0, 3), slice(3, 5), slice(0, 6))] == [1, 1, 3]


def test_a_recipe_takes_auto_and_years_as_numbers() -> None:
    spec = SplitSpec.model_validate({"buffer_m": "auto", "holdout_periods": [2020, "2021-03"], "accept": ["ndvi_p50"]})
    assert (spec.buffer_m, spec.holdout_periods, spec.accept) == ("auto", ("2020", "2021-03"), ("ndvi_p50",))
    with pytest.raises(ValueError, match="expected buffer_m below half of block_m"):
        SplitSpec(block_m=100, buffer_m=50)
