"""The memory that learning from single pixels and from tables takes, before it begins. Pure.

What libraries hold inside is not derived: PROCESS_BYTES, READ_TIMES and the bytes of a row come from resident peaks of forests, boosting and linear models on
250,000 pixels of 40 features, and of a linear model on a table of 1,000,000 (2026-11-28); those of torch, and of neighbours and clusters, are estimates.
"""

from dataclasses import dataclass

from products.errors import RequestError
from products.learning.estimator_spec import RandomForestSpec
from products.learning.recipe import ModelRecipe
from products.learning.table_recipe import TableRecipe
from products.learning.table_trial import LEAST_LEAF, TREES

# resident set of a process with all libraries of training loaded and the index open, before it reads a row (Linux, Python 3.11), 0.48 to 0.53 GB measured;
# torch and Lightning add to that
PROCESS_BYTES, NETWORK_BYTES = 560_000_000, 500_000_000
OWN_ROW_BYTES = 40  # place, time, class and priority of a pixel
SORTED_ROW_BYTES = 120  # the keys that pixels are drawn by, sorted
AUDITED_ROW_BYTES = 420  # places in trees and blocks, a few features in float64, hashes
FOREST_ROW_BYTES, JOB_ROW_BYTES = 40, 60  # of a row that is trained on: once, and for each tree that grows at the time
# of a node, and for each class: as scikit-learn has it, as arrays, and laid out to be walked
NODE_BYTES, CLASS_NODE_BYTES = 140, 36
DISTINCT = 0.64  # of the rows of a bootstrap sample
# a table as it is read, put together and kept by the reader; class, group and answer of a row
READ_TIMES, TABLE_ROW_BYTES = 3, 80
NETWORK_BATCH_BYTES = 400_000_000  # activations and gradients of a batch of series, and the worker's buffers


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Peak resident bytes: of the process and what it holds of rows, which is known, and of trees, which is the most that they can take.

    Trees are as large as that where labels are noise; of classes that can be told apart they have a tenth of the nodes or less.
    """

    rows_bytes: int
    trees_bytes: int

    @property
    def host_bytes(self) -> int:
        """The peak that training keeps under."""
        return self.rows_bytes + self.trees_bytes


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows that are learned from and tested, labelled rows that are held at once before these are drawn, and pixels of a cell that is read beside."""

    used: int
    held: int
    read: int = 0


def training_memory(recipe: ModelRecipe, rows: TrainingRows, n_features: int, n_jobs: int) -> TrainingMemory | None:
    """The peak of learning a recipe of single pixels or series; None of networks of patches and chips.

    The table of pixels; beside it, drawing holds it twice more, the audit a little of each row, and the estimator a copy of the rows that it is fitted to. What
    networks of patches and chips take is decided inside torch, by the encoder, the batch and the processor: that is not planned.
    """
    if recipe.has_network or recipe.estimator.chips:
        return None
    row = 4 * n_features + OWN_ROW_BYTES
    drawing = rows.held * (2 * row + SORTED_ROW_BYTES) + rows.used * row + rows.read * 4 * n_features
    learning = rows.used * (row + max(AUDITED_ROW_BYTES, _fit_row_bytes(recipe, n_features, n_jobs)))
    forest = recipe.estimator.random_forest
    trees = forest.trees * forest_nodes(forest, rows.used) * node_bytes(len(recipe.class_names)) if forest else 0
    return TrainingMemory(_process_bytes(recipe.is_network) + max(drawing, learning), trees)


def _process_bytes(is_network: bool) -> int:
    return PROCESS_BYTES + (NETWORK_BYTES + NETWORK_BATCH_BYTES if is_network else 0)


def _fit_row_bytes(recipe: ModelRecipe, n_features: int, n_jobs: int) -> int:
    """Bytes of a row that an estimator is fitted to, with the copy that is made of it."""
    n_classes, kind = len(recipe.class_names), recipe.estimator.kind
    if recipe.is_network:
        return 4 * n_features * 2 + 16 * n_features
    return (
        4 * n_features
        + {
            "random_forest": FOREST_ROW_BYTES + JOB_ROW_BYTES * n_jobs,
            "gradient_boosting": 9 * n_features + 60 * n_classes,
            "linear": 8 * n_features + 60 * n_classes,
            "knn": 24 * n_features,
            "kmeans": 16 * n_features,
        }[kind]
    )


def forest_nodes(forest: RandomForestSpec, n_rows: int) -> int:
    """The most nodes of a tree: of its depth, or with `min_leaf` rows in each leaf."""
    return min(2 ** (forest.max_depth + 1), max(1, int(2 * DISTINCT * n_rows / forest.min_leaf)))


def node_bytes(n_classes: int) -> int:
    """Bytes of a node of a forest."""
    return NODE_BYTES + CLASS_NODE_BYTES * n_classes


@dataclass(frozen=True, slots=True)
class TableSize:
    """Rows of the files of a table, and bytes of a row in memory."""

    rows: int
    row_bytes: int


def table_memory(recipe: TableRecipe, size: TableSize, n_jobs: int) -> TrainingMemory | None:
    """The peak of trying a recipe on a table; None of a network of chips, which is decided inside torch.

    The table as it is read, with what readers keep of it; then the features of its rows, and a copy of what an estimator is fitted to.
    """
    spec = recipe.table
    if recipe.estimator.chips:
        return None
    n_features = len(spec.feature_names)
    value = 8 if recipe.estimator.linear else 4
    fitted = min(size.rows, len(spec.classes) * spec.max_per_class) if spec.classes else size.rows
    trees = 0
    if recipe.estimator.is_network:
        fit = fitted * 7 * 4 * n_features
    elif recipe.estimator.linear:
        fit = fitted * 5 * 8 * n_features
    else:
        fit = fitted * (4 * n_features + FOREST_ROW_BYTES + JOB_ROW_BYTES * n_jobs)
        trees = TREES * int(2 * DISTINCT * fitted / LEAST_LEAF) * node_bytes(max(1, len(spec.classes)))
    read = READ_TIMES * size.rows * size.row_bytes
    learning = size.rows * (value * n_features + TABLE_ROW_BYTES) + fit
    return TrainingMemory(_process_bytes(recipe.estimator.is_network) + read + learning, trees)


def check_memory(what: str, planned: TrainingMemory | None, budget_bytes: int | None, do: str) -> tuple[str, ...]:
    """What is to be said of a plan; RequestError where what it holds of rows is beyond what may be used. `do` says what makes it smaller."""
    if planned is None:
        return (f"the memory that {what} takes is not planned: it is decided by the network",)
    if budget_bytes is None:
        return ()
    if planned.rows_bytes > budget_bytes:
        raise RequestError(
            f"{what} needs {planned.rows_bytes / 1e9:.1f} GB, {budget_bytes / 1e9:.1f} GB may be used: {do}, or raise NEOCUBE_MEMORY_LIMIT_BYTES"
        )
    if planned.host_bytes > budget_bytes:
        return (
            f"{what} needs {planned.rows_bytes / 1e9:.1f} GB, and {planned.host_bytes / 1e9:.1f} GB where its trees grow as large as they can, "
            f"which is more than the {budget_bytes / 1e9:.1f} GB that may be used",
        )
    return ()
