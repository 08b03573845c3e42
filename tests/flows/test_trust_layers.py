"""How far to trust a map, of pixels that a model maps although they lack a feature, or that it does not map."""

import numpy as np
import pytest

from flows.steps.learning.applicability_file import trust_layers
from products.learning.applicability import applicability
from products.learning.trust_layers import NOT_MAPPED, inside_share

SIDE_PX = 20


def test_a_model_is_not_applicable_to_a_pixel_that_is_mapped_without_one_of_its_features() -> None:
    random = np.random.default_rng(3)
    names, fold = ("a", "b", "c"), np.arange(300) % 3
    area = applicability(names, random.normal(0, 1, (300, 3)).astype(np.float32), fold, dict.fromkeys(names, 1.0), 0)
    features = random.normal(0, 1, (3, SIDE_PX, SIDE_PX)).astype(np.float32)
    percent = np.full((1, 2, SIDE_PX, SIDE_PX), 50, np.uint8)
    everywhere = np.ones((SIDE_PX, SIDE_PX), np.bool_)
    whole = inside_share(trust_layers(area, features, percent, 1)["applicable"][0], everywhere)
    assert whole is not None and whole > 0.9
    features[1, :10] = np.nan
    features[:, 10:12], percent[:, :, 10:12] = np.nan, NOT_MAPPED
    layers = trust_layers(area, features, percent, 1)
    applicable = layers["applicable"][0]
    assert np.isnan(layers["dissimilarity"][0, :12]).all() and (layers["uncertainty"][0, :10] == 100).all()
    assert (applicable[:10] == 0).all() and (applicable[10:12] == NOT_MAPPED).all() and (applicable[12:] < 2).all()
    assert inside_share(applicable, everywhere) == pytest.approx(whole * 8 / 18, abs=0.04)
