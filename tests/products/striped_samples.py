"""Samples of a known ground: three classes in stripes, which some features tell apart."""

from collections.abc import Mapping, Sequence

import numpy as np

from products.devices import choose_backend
from products.learning.samples import Samples, labelled_pixels
from products.learning.splits import BlockSplit, split_blocks


def striped(
    names: Sequence[str], levels: Mapping[str, Sequence[float]], noise: float, folds: int
) -> tuple[Samples, BlockSplit]:
    """Pixels of three stripes of 20 rows: features have noise and, where given, a level in each class; in blocks of 300 m."""
    codes = np.repeat(np.array([1, 2, 3], np.uint8), 20)[:, None] * np.ones((1, 60), np.uint8)
    features = np.random.default_rng(0).normal(0, noise, (len(names), 60, 60)).astype(np.float32)
    for name, level in levels.items():
        features[names.index(name)] += np.array(level, np.float32)[codes - 1]
    axis = 15 + 30.0 * np.arange(60)
    samples = labelled_pixels(choose_backend("cpu"), features, codes, axis, axis, 0, tuple(names), 0)
    code = samples.column("code").astype(np.int64)
    x, y = samples.column("x").astype(float), samples.column("y").astype(float)
    return samples, split_blocks(x, y, code, 300, folds, 30, 0)
