"""What training is planned to take: known in its parts, growing with what it depends on, refused beyond the budget."""

import pytest

from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.learning.training_memory import (
    PROCESS_BYTES,
    TableSize,
    TrainingMemory,
    TrainingRows,
    check_memory,
    forest_nodes,
    table_memory,
    training_memory,
)
from tests.products.table_recipes import recipe_of

TABLE = "name: sides\nversion: 1\nkind: model\nestimator: {}\ntable: {{target: kind, features: [x, y], classes: {{left: [a], right: [b]}}{}}}\n"


def recipe(**estimator: object) -> ModelRecipe:
    document = {
        "name": "model", "version": 1, "kind": "model", "features": "mangrove_features", "map": {"name": "model_map"},
        "samples": {"classes": ["water", "land"]}, "estimator": estimator or {"random_forest": {}},
    }  # fmt: skip
    return ModelRecipe.model_validate(document)


def test_the_plan_grows_with_rows_and_features_by_more_than_their_table() -> None:
    for kind in ("random_forest", "gradient_boosting", "linear", "knn", "kmeans"):
        few, many, wide = (
            training_memory(recipe(**{kind: {}}), TrainingRows(n, n), n_features, 2)
            for n, n_features in ((1000, 40), (1_001_000, 40), (1_001_000, 80))
        )
        assert few and many and wide
        assert few.rows_bytes == pytest.approx(PROCESS_BYTES, rel=0.01)
        assert many.rows_bytes - few.rows_bytes > 2 * 4 * 40 * 1_000_000
        assert wide.rows_bytes - many.rows_bytes > 2 * 4 * 40 * 1_000_000


def test_rows_that_wait_to_be_drawn_and_the_cell_that_is_read_count() -> None:
    drawn, waiting, read = (
        training_memory(recipe(), rows, 40, 1)
        for rows in (TrainingRows(10**5, 10**5), TrainingRows(10**5, 10**6), TrainingRows(10**5, 10**6, 10**6))
    )
    assert drawn and waiting and read
    assert waiting.rows_bytes - drawn.rows_bytes > 8 * 40 * 900_000 // 2
    assert read.rows_bytes - waiting.rows_bytes == 4 * 40 * 10**6


def test_trees_are_planned_at_the_most_nodes_of_their_depth_and_leaves() -> None:
    forest = recipe(random_forest={"max_depth": 4}).estimator.random_forest
    assert forest and (forest_nodes(forest, 10**6), forest_nodes(forest, 10)) == (32, 6)
    planned = [training_memory(recipe(random_forest={"trees": n}), TrainingRows(1000, 1000), 4, 1) for n in (1, 10)]
    assert planned[0] and planned[1] and planned[1].trees_bytes == 10 * planned[0].trees_bytes > 0
    assert planned[0].host_bytes == planned[0].rows_bytes + planned[0].trees_bytes


def test_networks_of_patches_and_chips_are_not_planned() -> None:
    for estimator in ({"unet": {}}, {"chips": {}}):
        assert training_memory(recipe(**estimator), TrainingRows(1000, 1000), 4, 1) is None
    assert check_memory("training", None, 1, "less") == (
        "the memory that training takes is not planned: it is decided by the network",
    )


def test_a_table_is_planned_with_what_is_drawn_of_it() -> None:
    size = TableSize(3_000_000, 40)
    few, all_ = (table_memory(recipe_of(TABLE.format("linear", f", max_per_class: {n}")), size, 2) for n in (10, 10**7))
    assert few and all_ and all_.rows_bytes - few.rows_bytes > 3_000_000 * 2 * 8
    assert few.rows_bytes >= PROCESS_BYTES + 2 * 3_000_000 * 40
    assert few.trees_bytes == 0
    forest = table_memory(recipe_of(TABLE.format("random_forest", "")), size, 2)
    assert forest and forest.trees_bytes > 0


def test_what_rows_take_beyond_the_budget_is_refused_and_trees_are_told() -> None:
    planned = TrainingMemory(3_000_000_000, 2_000_000_000)
    with pytest.raises(
        RequestError, match=r"this needs 3\.0 GB, 2\.9 GB may be used: do less, or raise NEOCUBE_MEMORY"
    ):
        check_memory("this", planned, 2_900_000_000, "do less")
    (told,) = check_memory("this", planned, 4_000_000_000, "do less")
    assert "5.0 GB where its trees grow as large as they can, which is more than the 4.0 GB" in told
    assert check_memory("this", planned, 5_000_000_000, "do less") == check_memory("this", planned, None, "less") == ()
