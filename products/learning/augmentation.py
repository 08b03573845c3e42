"""Changes of training patches that keep what is true: geometry by mirrors and quarter turns, radiometry in the units of the features."""

import numpy as np
import numpy.typing as npt

from products.learning.loop_spec import AugmentedSpec

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


def augmented(features: Floats, codes: Codes, spec: AugmentedSpec, draw: np.random.Generator) -> tuple[Floats, Codes]:
    """A patch (feature, y, x) and its codes (y, x), changed as the recipe asks; a missing feature stays missing."""
    if "flip" in spec.augment:
        flips = tuple(axis for axis in (-2, -1) if draw.random() < 0.5)
        features, codes = np.flip(features, flips), np.flip(codes, flips)
    if "rotate" in spec.augment:
        turns = int(draw.integers(4))
        features, codes = np.rot90(features, turns, (-2, -1)), np.rot90(codes, turns, (-2, -1))
    if "mirror" in spec.augment and draw.random() < 0.5:
        features, codes = features[..., ::-1], codes[..., ::-1]
    if "brightness" in spec.augment:
        shift = draw.uniform(-spec.brightness_shift, spec.brightness_shift, (features.shape[0], 1, 1))
        features = features + shift.astype(np.float32)
    if "noise" in spec.augment:
        features = features + draw.normal(0, spec.noise_std, features.shape).astype(np.float32)
    return features, codes
