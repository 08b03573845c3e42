"""A mask by a model beside the delivered one: classes, decisions, agreement, windows, and what a recipe may ask."""

import numpy as np
import pytest

from products.errors import RequestError
from products.pixel.causes import NOT_EXPECTED, Cause
from products.pixel.model_mask import (
    AGREED,
    DISAGREED,
    UNJUDGED,
    Decide,
    agreeing_share,
    agreement,
    decided,
    model_causes,
    window_spans,
    without_cloud,
)
from products.registry import DEFINITIONS, parse_recipe
from products.spec import FeaturesRecipe

TEXT = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
USED, CLOUD, SHADOW, CIRRUS, SNOW, DILATED = (
    Cause.USED, Cause.CLOUD, Cause.SHADOW, Cause.CIRRUS, Cause.SNOW, Cause.DILATED,
)  # fmt: skip
UNTOUCHED = [Cause.UNREAD, Cause.NODATA, Cause.SATURATED, Cause.SLC_GAP, NOT_EXPECTED]


def row(*causes: int) -> np.ndarray:
    return np.array([causes], np.uint8)


def asked(clear: str, old: str = "title", new: str = "title") -> FeaturesRecipe:
    recipe = parse_recipe(TEXT.replace("clear: {dilate_px: 2}", f"clear: {clear}").replace(old, new), "mine.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    return recipe


def test_the_classes_of_the_model_are_causes_of_ours() -> None:
    assert model_causes(row(0, 1, 2, 3)).tolist() == [[USED, CLOUD, CIRRUS, SHADOW]]
    with pytest.raises(ValueError, match="expected classes 0 to 3 of the model, got 7"):
        model_causes(row(0, 7))


@pytest.mark.parametrize(
    ("decide", "expected"),
    [
        ("model", [USED, USED, USED, SNOW, CLOUD, CLOUD, SHADOW, CIRRUS, CLOUD]),
        ("either", [USED, CLOUD, DILATED, SNOW, CLOUD, CLOUD, CLOUD, CIRRUS, CLOUD]),
        ("both", [USED, USED, USED, SNOW, USED, USED, SHADOW, CIRRUS, SNOW]),
    ],
)
def test_what_counts_is_what_the_recipe_decides(decide: Decide, expected: list[int]) -> None:
    delivered = row(USED, CLOUD, DILATED, SNOW, USED, DILATED, CLOUD, CIRRUS, SNOW)
    model = row(USED, USED, USED, USED, CLOUD, CLOUD, SHADOW, CIRRUS, CLOUD)
    assert decided(delivered, model, decide).tolist() == [expected]


@pytest.mark.parametrize("decide", ["model", "either", "both"])
def test_what_a_mask_of_clouds_cannot_know_stays(decide: Decide) -> None:
    for seen in (USED, CLOUD, SHADOW, CIRRUS):
        assert decided(row(*UNTOUCHED), row(*[seen] * 5), decide).tolist() == [UNTOUCHED]


def test_a_model_whose_cloud_is_dropped_sees_the_sky_that_the_delivered_mask_has_there() -> None:
    model = row(CLOUD, CLOUD, CLOUD, CLOUD, SHADOW, CIRRUS, USED)
    delivered = row(SHADOW, CIRRUS, SNOW, DILATED, USED, SHADOW, SHADOW)
    assert without_cloud(model, delivered).tolist() == [[SHADOW, CIRRUS, USED, USED, SHADOW, CIRRUS, USED]]


def test_agreement_is_about_sky_and_no_sky_and_only_where_the_delivered_mask_speaks() -> None:
    delivered = row(CLOUD, CLOUD, USED, USED, DILATED, SNOW, Cause.NODATA, NOT_EXPECTED)
    model = row(SHADOW, USED, USED, CIRRUS, USED, CLOUD, CLOUD, USED)
    expected = [AGREED, DISAGREED, AGREED, DISAGREED, AGREED, DISAGREED, UNJUDGED, UNJUDGED]
    assert agreement(delivered, model).tolist() == [expected]


def test_the_agreeing_share_is_of_judged_scenes_and_unknown_without_any() -> None:
    scenes = np.array([[[AGREED, AGREED, UNJUDGED]], [[DISAGREED, UNJUDGED, UNJUDGED]]], np.uint8)
    np.testing.assert_array_equal(agreeing_share(scenes), np.array([[0.5, 1.0, np.nan]], np.float32))


def test_windows_lie_at_fixed_places_wherever_one_looks() -> None:
    assert window_spans(-128, 512) == window_spans(0, 384) == window_spans(383, 1) == [(-128, 384)]
    assert window_spans(-129, 514) == [(-640, -128), (-128, 384), (384, 896)]
    assert window_spans(-641, 1) == [(-1152, -640)]


def test_model_and_version_are_part_of_what_makes_a_cell() -> None:
    plain, short = asked("{dilate_px: 2}"), asked("{dilate_px: 2, model: omnicloudmask}")
    written = asked("{dilate_px: 2, model: omnicloudmask, model_version: 4, decide: model}")
    assert short.digest() == written.digest() != plain.digest()
    assert short.model_dump(mode="json", exclude_defaults=True)["sources"][0]["clear"]["model_version"] == 4
    assert asked("{dilate_px: 2, model: omnicloudmask, decide: both}").digest() != short.digest()
    assert short.mask_models == ("omnicloudmask",) and plain.mask_models == ()


@pytest.mark.parametrize(
    ("clear", "old", "new", "message"),
    [
        ("{decide: both}", "title", "title", "model_version and decide go with a model"),
        ("{model: fmask}", "title", "title", "Input should be 'omnicloudmask'"),
        ("{model: omnicloudmask, model_version: 3}", "title", "title", "Input should be 4"),
        ("{model: omnicloudmask}", "resolution_m: 30", "resolution_m: 100", "masks pixels of 10 to 50 m, got resolution_m 100"),
        ("{dilate_px: 2}", "- count: {}", "- mask_agreement: {}", "mask_agreement needs a source with a model"),
    ],
)  # fmt: skip
def test_a_recipe_that_the_model_cannot_mask_is_refused(clear: str, old: str, new: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        asked(clear, old, new)


def test_a_product_without_the_bands_of_the_model_is_refused() -> None:
    source = "product: mine, sensor: oli, bands: {blue: b, red: r, nir: n}, scale: 1, nodata: 0, mask: {band: m, values: {2: cloud}}"
    features = "  - index: {names: [NDVI], reduce: [p50]}\n"
    text = (
        TEXT[: TEXT.index("sources:")]
        + f"sources:\n  - {{{source}, clear: {{model: omnicloudmask}}}}\nfeatures:\n{features}"
    )
    with pytest.raises(RequestError, match="the mask of omnicloudmask needs red, green, nir: mine has no green"):
        parse_recipe(text, "mine.yaml")
