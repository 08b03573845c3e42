"""Held-out periods of cells that overlap: nothing seen in them is trained on, and their own cells are tested."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from flows.steps.learning.honest_training import planned_and_audited
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.learning.samples import join, labelled_pixels
from products.period import Period, parse_period
from products.scene_recipe import SceneRecipe
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe

CPU, SIDE = choose_backend("cpu"), 40
SHARED: dict[str, Any] = {
    "name": "coast",
    "version": 1,
    "grid": {"crs": "EPSG:32647", "resolution_m": 30, "tile_px": 64, "anchor": "landsat"},
    "sources": [{"collection": "landsat-c2-l2"}],
}


def features(**period: str) -> FeaturesRecipe:
    return FeaturesRecipe.model_validate(
        SHARED | {"kind": "features", "period": period, "features": [{"index": {"names": ["NDVI"], "reduce": ["p50"]}}]}
    )


def days(recipe: SceneRecipe, asked: str, held: str) -> tuple[set[str], set[str]]:
    """The days on which the cells start that are trained on, and those that are tested."""
    cells = recipe.periods_in(parse_period(asked))
    model = ModelRecipe.model_validate(
        {
            "name": "coast_model",
            "version": 1,
            "kind": "model",
            "features": "coast",
            "samples": {"classes": ["early", "late"], "max_per_class": 100_000},
            "split": {"block_m": 240, "folds": 4, "buffer_m": 30, "holdout_periods": [held]},
            "estimator": {"random_forest": {"trees": 5}},
            "map": {"name": "coast_map"},
        }
    )
    random, axis = np.random.default_rng(4), 500_000 + 15 + 30 * np.arange(SIDE, dtype=np.float64)
    codes = (np.arange(SIDE) // 4 % 2 + 1).astype(np.uint8)[:, None] * np.ones((1, SIDE), np.uint8)
    waves = 0.5 * codes + 0.5 * np.sin(np.arange(SIDE) / 4)
    parts = [
        labelled_pixels(
            CPU, random.normal(waves, 0.3)[None].astype(np.float32), codes, axis, axis,
            cell.start.toordinal(), ("ndvi_p50",), 0,
        )
        for cell in cells
    ]  # fmt: skip
    samples = join(CPU, parts, model.samples.max_per_class)
    split = planned_and_audited(samples, model, recipe, cells, "EPSG:32647", simulated=True).plan.split
    started = samples.column("period")
    of_rows = [started[rows] for rows in (split.train_rows(split.holdout), split.test_rows(split.holdout))]
    trained, tested = ({datetime.fromordinal(day).date().isoformat() for day in each.tolist()} for each in of_rows)
    return trained, tested


def test_centred_cells_that_reach_into_a_held_out_year_are_not_trained_on() -> None:
    trained, tested = days(features(length="P3Y", step="P1Y"), "2016/2022", "2020")
    assert trained == {"2015-01-01", "2016-01-01", "2017-01-01", "2021-01-01"}
    assert tested == {"2019-01-01"}


def test_a_cell_across_new_year_is_trained_on_only_outside_a_held_out_year() -> None:
    trained, tested = days(features(length="P1Y", start="07-01"), "2017-07-01/2022-06-30", "2020")
    assert trained == {"2017-07-01", "2018-07-01", "2021-07-01"}
    assert tested == {"2020-07-01"}


def test_cells_that_follow_one_another_are_held_out_by_their_own_year() -> None:
    trained, tested = days(features(length="P1Y"), "2018/2021", "2020")
    assert (trained, tested) == ({"2018-01-01", "2019-01-01", "2021-01-01"}, {"2020-01-01"})


def test_a_series_that_is_filled_from_a_held_out_year_is_not_trained_on() -> None:
    asked = {"kind": "series", "period": "P1Y", "step": "P3M", "indices": ["NDVI"], "fill": "linear", "margin": "P3M"}
    trained, tested = days(SeriesRecipe.model_validate(SHARED | asked), "2017/2022", "2020")
    assert (trained, tested) == ({"2017-01-01", "2018-01-01", "2022-01-01"}, {"2020-01-01"})


def test_a_class_that_only_cells_about_a_held_out_year_have_is_refused() -> None:
    with pytest.raises(RequestError, match="the class of code 1 has samples only in cells that show held-out periods"):
        days(features(length="P3Y", step="P1Y"), "2019/2021", "2020")


def test_the_step_of_a_cell_is_the_one_it_was_made_for() -> None:
    recipe = features(length="P3Y", step="P1Y")
    asked = parse_period("2020")
    assert [recipe.step_of(cell) for cell in recipe.periods_in(asked)] == [asked]
    winter = Period(datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 9, 1, tzinfo=UTC))
    season = features(length="P3M", step="P1Y", start="06-01").step_of(winter)
    assert season == Period(datetime(2020, 6, 1, tzinfo=UTC), datetime(2021, 6, 1, tzinfo=UTC))
