"""Features are normalised in one pass, to the bits that NumPy gives."""

import numpy as np
import pytest

from products.learning.normalised import normalise


@pytest.mark.parametrize("turns", [0, 1])
def test_one_pass_gives_the_bits_of_several(turns: int) -> None:
    random = np.random.default_rng(1)
    values = np.rot90(random.normal(0.2, 0.1, (5, 40, 40)).astype(np.float32), turns, (1, 2))
    values[:, :3, 4:9], values[2, 10], values[4, 20, 20] = np.nan, np.nan, np.inf
    mean, std = random.normal(0, 1, 5).astype(np.float32), random.uniform(0.1, 2, 5).astype(np.float32)
    found = np.full((6, 40, 40), 77, np.float32)
    normalise(values, mean, std, found)
    is_there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        scaled = np.where(is_there, (values - mean[:, None, None]) / std[:, None, None], np.float32(0))
    np.testing.assert_array_equal(found[:5], scaled)
    np.testing.assert_array_equal(found[5], is_there.mean(axis=0, dtype=np.float32))
    assert set(np.unique(found[5])) == {np.float32(0), np.float32(0.8), np.float32(1)}
