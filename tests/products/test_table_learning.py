"""Models of tables: recipes that are refused, rows that become samples, scores of known matrices, and trials whose outcome is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from products.errors import RequestError
from products.learning.accuracy import balanced_accuracy, confusion
from products.learning.sample_table import drawn, evaluated, held_out, sample_table, scaled
from products.learning.table_card import table_card, table_notes
from products.learning.table_scores import (
    kappa,
    quantity_scores,
    resampled,
    share_better,
    with_interval,
)
from products.learning.table_trial import fitted, tried, unfitted
from products.registry import features_recipe, learned_recipe, parse_recipe, table_recipe
from tests.products.table_recipes import recipe_of

CLASSES = """
name: two_kinds
version: 1
kind: model
table:
  target: kind
  classes: {low: [a], high: [b, c]}
  features: [x, y]
  group: place
estimator: linear
"""
QUANTITY = """
name: an_amount
version: 1
kind: model
table: {target: amount, features: [x, y], group: place}
leave_out: row
estimator: linear
baseline: y - x
"""


def rows_of_kinds(n: int = 90) -> pd.DataFrame:
    """Three places, of which each moves x and y; `kind` tells on which side of x + y = 0 a row lies in its place."""
    random = np.random.default_rng(3)
    x, y = random.normal(0, 1, (2, n))
    place = np.arange(n) % 3
    kind = np.where(x + y > 0, np.where(x > 1, "b", "c"), "a")
    return pd.DataFrame({"x": x, "y": y, "kind": kind, "place": [f"place {number}" for number in place]})


def rows_of_amounts(n: int = 40) -> pd.DataFrame:
    """ln(amount) = x - y / 2 with a little noise."""
    random = np.random.default_rng(5)
    x, y = random.uniform(1, 2, (2, n))
    return pd.DataFrame({"x": x, "y": y, "amount": np.exp(x - y / 2 + random.normal(0, 0.01, n)), "place": "here"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            CLASSES.replace("[x, y]", "[x, kind]"),
            "mine.yaml, line 5, table: the column 'kind' is a feature and target or group too",
        ),
        (CLASSES.replace("[x, y]", "[x, place]"), "the column 'place' is a feature and target or group too"),
        (CLASSES.replace("[x, y]", "[x, x]"), "the feature 'x' stands twice"),
        (CLASSES.replace("[b, c]", "[b, a]"), "the value 'a' stands twice in classes"),
        (CLASSES.replace(", high: [b, c]", ""), "classes names one class: expected two or more"),
        (CLASSES + "baseline: x\n", "baseline is what a quantity is compared with"),
        (CLASSES.replace("group: place", "gruop: place"), r"unknown key 'gruop'; near ones: group"),
        (QUANTITY + "water: {reflectance: land_surface}\n", "land surface reflectance over water: .* set insist: true"),
        (QUANTITY.replace("an_amount", "an amount"), "an amount"),
    ],
)
def test_a_recipe_that_would_read_its_answer_or_means_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parse_recipe(text, "mine.yaml")


def test_a_table_recipe_is_told_from_recipes_of_cubes(tmp_path: Any) -> None:
    path = tmp_path / "mine.recipe.yaml"
    path.write_text(CLASSES)
    assert table_recipe(str(path)).class_names == ("low", "high")
    with pytest.raises(RequestError, match="'two_kinds' is learned from a table: give its files, --table FILE"):
        learned_recipe(str(path))
    with pytest.raises(RequestError, match="'two_kinds' is of kind model: expected kind features"):
        features_recipe(str(path))
    with pytest.raises(RequestError, match="'mangrove_extent' names no `table`"):
        table_recipe("mangrove_extent")


def test_the_digest_knows_what_is_learned_and_no_words() -> None:
    one = recipe_of(CLASSES)
    assert recipe_of(CLASSES + "title: Other words\n").digest() == one.digest()
    assert recipe_of(CLASSES.replace("linear", "random_forest")).digest() != one.digest()


def test_rows_without_a_value_are_dropped_and_counted_and_classes_get_their_codes() -> None:
    frame = pd.DataFrame({
        "x": [1.0, np.nan, 3.0, 4.0], "y": [1.0, 2.0, 3.0, np.inf], "kind": ["a", "b", "c", "a"], "place": list("ppqq"),
    })  # fmt: skip
    table = sample_table(frame, recipe_of(CLASSES))
    assert table.target.tolist() == [1.0, 2.0]
    assert (table.group_names, table.group.tolist(), table.n_dropped) == (("p", "q"), [0, 1], 2)
    assert table.values.tolist() == [[1.0, 1.0], [3.0, 3.0]]


def test_true_and_false_are_classes() -> None:
    frame = rows_of_kinds().assign(kind=lambda rows: rows["kind"] == "a")
    spec = recipe_of(CLASSES.replace("low: [a]", "low: [true]").replace("high: [b, c]", "high: [false]"))
    assert sample_table(frame, spec).target.tolist() == [1.0 if each else 2.0 for each in frame["kind"]]


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        (CLASSES, {"x": None}, r"the table has no column 'x'"),
        (
            CLASSES.replace("  group:", "  formulas: {s: kind + 1}\n  group:"),
            {},
            "'kind \\+ 1' names 'kind', the target or group",
        ),
        (
            QUANTITY.replace("y - x", "amount * 2"),
            {},
            "names 'amount', the target or group of the table: a model would read",
        ),
        (CLASSES, {"kind": "z"}, "kind holds 'z': expected the values of classes, a, b, c"),
        (CLASSES, {"x": np.nan}, "no row of the table has a value in every column"),
        (QUANTITY, {"amount": 0.0}, "amount is 0 in a row: expected quantities above 0"),
    ],
)
def test_a_table_that_does_not_fit_the_recipe_is_refused(text: str, change: dict[str, Any], said: str) -> None:
    frame = rows_of_kinds() if "classes" in text else rows_of_amounts()
    for name, value in change.items():
        frame = frame.drop(columns=name) if value is None else frame.assign(**{name: value})
    with pytest.raises(RequestError, match=said):
        sample_table(frame, recipe_of(text))


def test_logarithms_over_the_median_forget_the_gain_of_a_group() -> None:
    values = np.random.default_rng(1).uniform(0.1, 0.9, (40, 3))
    group = np.arange(40) % 2
    gained = values * np.where(group == 1, 2.5, 1.0)[:, None]
    np.testing.assert_allclose(scaled(gained, group, "log_over_median"), scaled(values, group, "log_over_median"))
    np.testing.assert_allclose(scaled(values, group, "log"), np.log(values))
    assert scaled(values, group, "none") is values
    assert scaled(np.array([[-1.0]]), np.zeros(1, np.int64), "log")[0, 0] == pytest.approx(np.log(1e-3))


def test_a_formula_over_columns_is_arithmetic_and_nothing_else() -> None:
    frame = pd.DataFrame({"nir": [0.5, 0.0], "red": [0.1, 0.0]})
    found = evaluated("-(red - nir) / (nir + red) ** 1 * 2 / 2", frame)
    assert found[0] == pytest.approx(0.4 / 0.6) and np.isnan(found[1])
    with pytest.raises(RequestError, match="names an unknown band 'rde'"):
        evaluated("nir - rde", frame)


def test_formulas_are_features_beside_the_columns_and_are_not_scaled() -> None:
    text = CLASSES.replace("group: place", "group: place\n  scale: log\n  formulas: {sum: x + y}")
    frame = rows_of_kinds().assign(x=1.0, y=2.0)
    assert sample_table(frame, recipe_of(text)).values[0].tolist() == [0.0, np.log(2.0), 3.0]


def test_each_row_is_held_out_once_and_a_group_with_all_its_rows() -> None:
    table, recipe = sample_table(rows_of_kinds(), recipe_of(CLASSES)), recipe_of(CLASSES)
    masks = list(held_out(table, recipe))
    assert len(masks) == 3 and (np.sum(masks, axis=0) == 1).all()
    assert all(np.unique(table.group[mask]).size == 1 for mask in masks)
    by_row = list(held_out(table, recipe.model_copy(update={"leave_out": "row"})))
    assert len(by_row) == table.n_rows and (np.sum(by_row, axis=0) == 1).all()
    alone = sample_table(rows_of_kinds().assign(place="one"), recipe)
    with pytest.raises(RequestError, match="the table has one group, 'one': expected two or more"):
        next(held_out(alone, recipe))


def test_at_most_so_many_rows_of_a_class_are_drawn_and_the_same_again() -> None:
    table = sample_table(rows_of_kinds(), recipe_of(CLASSES))
    rows = drawn(table, np.ones(table.n_rows, np.bool_), 10, 1)
    assert np.unique(table.target[rows], return_counts=True)[1].tolist() == [10, 10]
    assert np.array_equal(rows, drawn(table, np.ones(table.n_rows, np.bool_), 10, 1))


def known_answers() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    random = np.random.default_rng(2)
    truth = random.integers(1, 4, 300)
    return truth, np.where(random.random(300) < 0.7, truth, random.integers(1, 4, 300))


def test_balanced_accuracy_and_kappa_are_those_of_scikit_learn() -> None:
    truth, guess = known_answers()
    matrix = confusion(truth, guess, 3)
    assert balanced_accuracy(matrix) == pytest.approx(balanced_accuracy_score(truth, guess))
    assert kappa(matrix) == pytest.approx(cohen_kappa_score(truth, guess))
    assert kappa(np.array([[5, 0], [0, 0]])) == 0


def test_the_bootstrap_of_a_matrix_is_that_of_its_rows() -> None:
    truth, guess = known_answers()
    random = np.random.default_rng(0)
    rows = random.integers(0, truth.size, (2000, truth.size))
    by_rows = [float(kappa(confusion(truth[each], guess[each], 3))) for each in rows]
    by_cells = kappa(resampled(confusion(truth, guess, 3)[None], random))
    assert np.std(by_cells) == pytest.approx(np.std(by_rows), rel=0.1)
    assert np.mean(by_cells) == pytest.approx(np.mean(by_rows), abs=0.005)


def test_ten_groups_and_more_are_drawn_whole() -> None:
    matrices = np.zeros((12, 2, 2), np.int64)
    matrices[::2, 0, 0], matrices[1::2, 1, 0] = 50, 50
    again = resampled(matrices, np.random.default_rng(0))
    assert set(np.unique(again % 50)) == {0} and (again.sum(axis=(1, 2)) == 600).all()
    told = with_interval(matrices, np.random.default_rng(0))["balanced_accuracy"]
    assert told["value"] == 0.5 and told["interval_95"] == [0.5, 0.5]


def test_scores_of_a_quantity_are_known() -> None:
    truth = np.array([1.0, 2.0, 4.0])
    scores = quantity_scores(truth, truth * np.array([2.0, 0.5, 1.0]))
    assert scores == {"median_symmetric_accuracy_percent": 100.0, "bias_factor": 1.0, "rmse": pytest.approx(0.8165)}
    assert quantity_scores(truth, truth * 1.5)["bias_factor"] == 1.5
    assert share_better(truth, truth * 1.1, truth * 2.0, np.random.default_rng(0)) == 1.0


def test_what_can_be_told_is_told_in_places_never_seen() -> None:
    recipe = recipe_of(CLASSES)
    metrics = tried(sample_table(rows_of_kinds(), recipe), recipe)
    low, high = metrics["all"]["balanced_accuracy"]["interval_95"]
    assert 0.9 < low <= metrics["all"]["balanced_accuracy"]["value"] <= high <= 1
    assert set(metrics["by_group"]) == {"place 0", "place 1", "place 2"}
    assert metrics["rows"] == 90 and metrics["all"]["pixels"] == 90


@pytest.mark.parametrize("estimator", ["random_forest", "linear"])
def test_the_classifier_of_all_rows_is_kept_as_arrays_that_answer_as_scikit_learn_does(estimator: Any) -> None:
    recipe = recipe_of(CLASSES.replace("estimator: linear", f"estimator: {estimator}"))
    table = sample_table(rows_of_kinds(), recipe)
    model = fitted(table, recipe)
    known = unfitted(recipe, 1).fit(table.values, table.target.astype(int)).predict_proba(table.values)
    assert model.feature_names == (*recipe.table.features, *recipe.table.formulas)
    np.testing.assert_allclose(model.probabilities(table.values.T.astype(np.float32)).T, known, atol=2e-4)


def test_a_group_that_leaves_one_class_to_learn_from_is_named() -> None:
    frame = rows_of_kinds()
    frame["place"] = np.where(frame["kind"] == "a", "marsh", frame["place"])
    recipe = recipe_of(CLASSES)
    with pytest.raises(
        RequestError, match=r"without the group 'marsh' all rows are of the class high: .* add rows of other classes"
    ):
        tried(sample_table(frame, recipe), recipe)
    by_row = recipe.model_copy(update={"leave_out": "row"})
    alone = pd.concat([frame[frame["kind"] == "a"], frame[frame["kind"] == "b"][:1]], ignore_index=True)
    with pytest.raises(RequestError, match=f"without row {len(alone)} all rows are of the class low"):
        tried(sample_table(alone, by_row), by_row)


def test_a_class_with_all_its_rows_in_one_random_fold_is_named() -> None:
    frame = rows_of_kinds()
    frame["kind"] = np.where(frame.index < 2, "b", "a")
    recipe = recipe_of(CLASSES)
    said = set[str]()
    for seed in range(12):
        seeded = recipe.model_copy(update={"seed": seed})
        try:
            tried(sample_table(frame, seeded), seeded)
        except RequestError as error:
            said.add(str(error))
    assert len(said) == 1 and "without a fold of rows dealt at random all rows are of the class low" in said.pop()


@pytest.mark.parametrize(("leave_out", "named"), [("group", "the group 'big' 1 row"), ("row", "row 1 2 rows")])
def test_what_leaves_a_quantity_too_few_rows_to_learn_from_is_named(leave_out: Any, named: str) -> None:
    rows = rows_of_amounts(4 if leave_out == "group" else 3)
    frame = rows.assign(place=np.where(rows.index < len(rows) - 1, "big", "small"))
    recipe = recipe_of(QUANTITY).model_copy(update={"leave_out": leave_out})
    with pytest.raises(
        RequestError, match=f"without {named} of a quantity can be learned from: expected three or more"
    ):
        tried(sample_table(frame, recipe), recipe)


@pytest.mark.parametrize("estimator", ["random_forest", "linear"])
def test_a_quantity_is_learned_from_three_rows(estimator: str) -> None:
    recipe = recipe_of(QUANTITY.replace("estimator: linear", f"estimator: {estimator}"))
    assert tried(sample_table(rows_of_amounts(4), recipe), recipe)["rows"] == 4


def test_random_folds_flatter_what_only_places_tell() -> None:
    """The class is the place's, x tells the place, and the next place is always of the other class."""
    number = np.repeat(np.arange(10), 12)
    frame = pd.DataFrame({"place": [f"p{each:02}" for each in number], "kind": np.where(number % 2 == 1, "a", "b")})
    frame = frame.assign(x=number + np.random.default_rng(4).normal(0, 0.1, 120))
    recipe = recipe_of(CLASSES.replace("linear", "random_forest").replace("[x, y]", "[x]"))
    metrics = tried(sample_table(frame, recipe), recipe)
    assert metrics["random_folds"]["balanced_accuracy"] > 0.9
    assert metrics["all"]["balanced_accuracy"]["value"] < 0.3
    assert metrics["by_group"] == {}


def test_a_quantity_is_told_within_its_interval_and_better_than_by_its_baseline() -> None:
    recipe = recipe_of(QUANTITY)
    metrics = tried(sample_table(rows_of_amounts(), recipe), recipe)
    assert metrics["model"]["median_symmetric_accuracy_percent"] < 2
    assert metrics["baseline"]["median_symmetric_accuracy_percent"] > 5
    assert metrics["share_better_than_baseline"] == 1.0
    assert metrics["interval"]["covered"] >= 0.8 and metrics["interval"]["mean_factor"] < 1.05


def test_the_card_flags_land_surface_reflectance_and_calls_few_rows_a_smoke_test() -> None:
    recipe = recipe_of(QUANTITY + "water: {reflectance: land_surface, insist: true}\n")
    metrics = tried(sample_table(rows_of_amounts(), recipe), recipe)
    notes = table_notes(recipe, metrics, 1)
    assert notes[0].startswith("FLAGGED: land surface reflectance over water")
    assert any("40 rows of one place: a smoke test" in note for note in notes)
    card = table_card(recipe, "number", ["mine.csv"], notes, metrics)
    assert "| baseline | " in card and "Intervals of 90% hold " in card and "FLAGGED" in card


def test_the_card_of_classes_tells_intervals_and_what_random_folds_would_have_said() -> None:
    recipe = recipe_of(CLASSES)
    frame = rows_of_kinds()
    table = sample_table(frame[frame.place != "place 2"], recipe)
    metrics = tried(table, recipe)
    notes = table_notes(recipe, metrics, len(table.group_names))
    assert any("Two groups are one pair" in note for note in notes)
    card = table_card(recipe, "number", ["a.csv", "b.csv"], notes, metrics)
    assert "| place 0 | " in card and " to " in card and "Folds dealt at random would have said" in card
