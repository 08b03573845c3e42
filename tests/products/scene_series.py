"""Scenes of pixels whose numbers spread little or much about a level."""

import numpy as np
from numpy.typing import NDArray

Block, Causes = NDArray[np.uint16], NDArray[np.uint8]


def scene_series(
    seed: int, n_bands: int, n_scenes: int, shape: tuple[int, int], used: float = 0.7
) -> tuple[Block, Causes]:
    """Numbers (band, scene, y, x) and causes (scene, y, x), 0 where a pixel is used, which so large a share is, and 3 elsewhere."""
    random = np.random.default_rng(seed)
    level = random.integers(8_000, 14_000, (n_bands, 1, *shape))
    spread = random.choice([50, 500, 3000], (1, 1, *shape))
    block = (level + random.normal(0, 1, (n_bands, n_scenes, *shape)) * spread).clip(1, 65535).astype(np.uint16)
    return block, (random.random((n_scenes, *shape)) > used).astype(np.uint8) * 3


def hazy_series(
    seed: int, n_bands: int, n_scenes: int, shape: tuple[int, int], noise: float = 10.0
) -> tuple[Block, Causes]:
    """The same ground under more and less haze: numbers whose bands rise and fall together, so that each pixel's observations lie near a line."""
    random = np.random.default_rng(seed)
    level = random.integers(3_000, 14_000, (n_bands, 1, *shape))
    bright = 1 + 0.12 * random.normal(0, 1, (1, n_scenes, *shape))
    block = (level * bright + random.normal(0, noise, (n_bands, n_scenes, *shape))).clip(1, 65535).astype(np.uint16)
    return block, np.zeros((n_scenes, *shape), np.uint8)
