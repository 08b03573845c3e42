"""A few features of a large table at a time, where all of them at once would be a copy of the table."""

import itertools

import numpy as np

FEATURES_AT_ONCE = 4


def feature_parts(n_features: int) -> list[slice]:
    """Slices of four to seven of the features, or of all where they are fewer.

    No slice is of one among several: numpy adds a single column in another order than one of a table, so its sum has other last bits.
    """
    ends = np.linspace(0, n_features, max(1, n_features // FEATURES_AT_ONCE) + 1).astype(int).tolist()
    return [slice(first, end) for first, end in itertools.pairwise(ends)]
