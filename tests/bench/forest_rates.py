"""A forest over the pixels of a cube: ours beside scikit-learn and ONNX Runtime, with the same threads, equal to 1e-6.

`python tests/bench/forest_rates.py` prints the rows as JSON, in about a minute.
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rounds import row_of, take_turns
from sklearn.ensemble import RandomForestClassifier

from products.learning.forest import Forest, forest_from_sklearn
from products.learning.onnx_model import onnx_graph

ROUNDS = 5
TREES, DEPTH, MIN_LEAF = 100, 16, 2  # as products/definitions/mangrove_extent.recipe.yaml has them
FEATURES, CLASSES, SAMPLES = 20, 3, 12_000
ROWS, COLUMNS, STRIP_PX = 512, 1024, 128  # strips as those of maps
EQUAL = 1e-6
OURS = "ours"
Floats = NDArray[np.float32]


def rows() -> list[dict[str, Any]]:
    """The rows of the table."""
    threads = len(os.sched_getaffinity(0))
    fitted, cube = learned(threads), pixels(ROWS * COLUMNS, 1)[0].T.reshape(FEATURES, ROWS, COLUMNS)
    forest = forest_from_sklearn(fitted, [f"f{i}" for i in range(FEATURES)], [f"c{i}" for i in range(CLASSES)])
    table = np.ascontiguousarray(cube.reshape(FEATURES, -1).T)
    session = _session(forest, threads)
    peers: dict[str, Callable[[], Any]] = {
        f"scikit-learn predict_proba, {threads} threads": partial(fitted.predict_proba, table),
        f"ONNX Runtime, {threads} threads": lambda: session.run(["probabilities"], {"features": table})[0],
    }
    limit = "copying the features once"
    ways: dict[str, Callable[[], Any]] = {
        OURS: partial(probabilities, forest, cube, threads),
        **peers,
        limit: cube.copy,
    }
    ours = ways[OURS]().reshape(CLASSES, -1).T
    apart = {name: float(np.abs(ours - way()).max()) for name, way in peers.items()}
    assert max(apart.values()) <= EQUAL, apart
    seconds = take_turns(ways, ROUNDS)
    name = f"a forest of {TREES} trees, depth {DEPTH}, over {ROWS} x {COLUMNS} px of {FEATURES} features, beside "
    return [
        row_of(name + peer.partition(",")[0], seconds, OURS, peer, limit, largest_difference=apart[peer])
        for peer in peers
    ]


def learned(threads: int) -> RandomForestClassifier:
    """A forest of classes that overlap, so that its trees grow deep."""
    values, code = pixels(SAMPLES, 0)
    return RandomForestClassifier(
        TREES, max_depth=DEPTH, min_samples_leaf=MIN_LEAF, random_state=0, n_jobs=threads
    ).fit(values, code)  # fmt: skip


def pixels(n: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Values (n, feature) whose mean depends on the class, and class codes (n,)."""
    random = np.random.default_rng(seed)
    code = random.integers(1, CLASSES + 1, n)
    shift = np.random.default_rng(99).normal(0, 0.4, (CLASSES + 1, FEATURES))
    return (shift[code] + random.normal(size=(n, FEATURES))).astype(np.float32), code


def probabilities(forest: Forest, cube: Floats, threads: int) -> Floats:
    """Ours, (class, y, x), strip by strip as maps are made."""
    found = np.empty((len(forest.class_names), *cube.shape[1:]), np.float32)

    def strip(start: int) -> None:
        rows = slice(start, start + STRIP_PX)
        found[:, rows] = forest.probabilities(cube[:, rows].reshape(FEATURES, -1)).reshape(found[:, rows].shape)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(strip, range(0, cube.shape[1], STRIP_PX)))
    return found


def _session(forest: Forest, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(onnx_graph(forest), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(), indent=2) + "\n")
