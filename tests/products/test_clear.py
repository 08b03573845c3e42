"""Each observation of a pixel has one fate, by the published mask tables and the written precedence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.pixel.clear import (
    cause_table,
    cloudy,
    count_causes,
    keep_one_scene,
    mark_grown,
    mark_likely,
    mark_persistent,
    note_extremes,
    note_saturation,
    refine,
    small_clouds,
    unbalanced,
)
from products.sensors import SENSORS
from products.window.morphology import dilate

BIT_CAUSES = {
    "fill": Cause.NODATA, "cloud": Cause.CLOUD, "cloud_shadow": Cause.SHADOW, "cirrus": Cause.CIRRUS, "snow": Cause.SNOW,
    "dilated_cloud": Cause.DILATED, "clear": Cause.USED, "water": Cause.USED,
}  # fmt: skip
SCL_WORDS = {
    "no data": Cause.NODATA, "saturated": Cause.SATURATED, "cloud shadows": Cause.SHADOW, "cloud medium": Cause.CLOUD,
    "cloud high": Cause.CLOUD, "thin cirrus": Cause.CIRRUS, "snow": Cause.SNOW,
}  # fmt: skip


def causes(*scenes: list[int]) -> np.ndarray:
    return np.array(scenes, np.uint8)[:, None, :]


@pytest.mark.parametrize("name", list(BIT_CAUSES))
def test_qa_pixel_bits_lie_where_the_published_table_says(shared_data: Path, name: str) -> None:
    tables = json.loads((shared_data / "reference" / "facts" / "landsat_c2_l2_tables.json").read_text())
    field = next(field for field in tables["qa_pixel"] if field["name"] == name)

    assert cause_table("qa_pixel")[1 << field["offset"]] == BIT_CAUSES[name]


def test_scl_classes_mean_what_the_published_table_says(shared_data: Path) -> None:
    classes = json.loads((shared_data / "reference" / "facts" / "sentinel2_l2a_tables.json").read_text())["SCL"]
    for value, words in classes.items():
        expected = next((cause for start, cause in SCL_WORDS.items() if words.startswith(start)), Cause.USED)
        assert cause_table("scl")[int(value)] == expected, words


def test_the_published_landsat_values_decode() -> None:
    named = {
        1: Cause.NODATA,
        21824: Cause.USED,
        21952: Cause.USED,
        22280: Cause.CLOUD,
        23888: Cause.SHADOW,
        30048: Cause.SNOW,
    }

    assert {value: Cause(int(cause_table("qa_pixel")[value])) for value in named} == named


@given(st.integers(0, 65535))
def test_of_several_bits_the_first_cause_by_precedence_counts(value: int) -> None:
    bits = {0: Cause.NODATA, 3: Cause.CLOUD, 4: Cause.SHADOW, 2: Cause.CIRRUS, 5: Cause.SNOW, 1: Cause.DILATED}
    present = [cause for bit, cause in bits.items() if value >> bit & 1]

    assert cause_table("qa_pixel")[value] == min(present, default=Cause.USED)


def test_what_is_kept_counts_as_used() -> None:
    snow = cause_table("qa_pixel", ("snow",))

    assert snow[1 << 5] == Cause.USED
    assert snow[1 << 5 | 1 << 3] == Cause.CLOUD
    assert cause_table("scl", ("snow",))[11] == Cause.USED
    assert cause_table("scl", ("cirrus",))[10] == Cause.USED
    assert cause_table("scl")[10] == Cause.CIRRUS
    assert cause_table("qa_pixel", ("cloud",))[[1 << 3, 1 << 3 | 1 << 4, 1 << 3 | 1]].tolist() == [0, 4, 2]
    assert cause_table("scl", ("cloud",))[[3, 8, 9, 10]].tolist() == [4, 0, 0, 5]


def test_an_unknown_scl_class_is_no_data() -> None:
    assert (cause_table("scl")[12:256] == Cause.NODATA).all()


def test_another_mask_band_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the mask band qa_pixel or scl, got 'fmask'"):
        cause_table("fmask")


def test_the_first_scene_of_a_pass_that_has_data_gives_the_pixel() -> None:
    both = causes([0, 3, 2, 1, 255, 2, 1, 255], [0, 0, 0, 0, 0, 1, 2, 255])
    keep_one_scene(both)

    assert both[0, 0].tolist() == [0, 3, 255, 255, 255, 255, 1, 255]
    assert both[1, 0].tolist() == [255, 255, 0, 0, 0, 1, 255, 255]


@given(st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 8, 255]), min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_pass_is_at_most_one_observation_of_a_pixel(scenes: list[list[int]]) -> None:
    before, after = causes(*scenes), causes(*scenes)
    keep_one_scene(after)
    expected = (before != NOT_EXPECTED).any(axis=0)

    np.testing.assert_array_equal((after != NOT_EXPECTED).sum(axis=0), expected)


def test_clouds_and_shadows_grow_by_a_disk_and_nothing_else_does() -> None:
    wide = np.zeros((1, 9, 9), np.uint8)
    wide[0, 4, 4], wide[0, 0, 0], wide[0, 8, 8] = Cause.CLOUD, Cause.SNOW, Cause.CIRRUS
    grown = dilate(cloudy(wide), 2)

    assert grown.shape == (5, 5)
    assert grown.sum() == 13
    assert grown[2, 0] == grown[0, 2] == 1


def test_only_clear_pixels_become_dilated() -> None:
    one = causes([0, 1, 2, 3, 7, 255])
    mark_grown(one, np.ones((1, 6), np.uint8))

    assert one[0, 0].tolist() == [Cause.DILATED, 1, 2, 3, 7, 255]


def test_clouds_into_which_the_disk_does_not_fit_are_small() -> None:
    wide = np.zeros((20, 20), np.uint8)
    wide[4:9, 4:9], wide[12, 12], wide[14, 6] = Cause.CLOUD, Cause.CLOUD, Cause.SHADOW
    wide[0, 0] = Cause.CLOUD
    small = small_clouds(wide, 1)

    assert small[12, 12] and small.sum() == 5
    assert small[
        4:9:4, 4:9:4
    ].all()  # a disk does not reach into corners; in the border, of which nothing can be said, nothing is small


def test_what_is_cloud_nearly_always_is_persistent() -> None:
    scenes = causes(*([[3, 3, 0, 3]] * 9 + [[0, 3, 0, 2]]))
    mark_persistent(scenes, np.ones(len(scenes), np.bool_), 0.9, 8, int(Cause.PERSISTENT_CLOUD))

    assert scenes[0, 0].tolist() == [11, 11, 0, 11]
    assert scenes[9, 0].tolist() == [0, 11, 0, 2]
    few = causes(*([[3]] * 7))
    mark_persistent(few, np.ones(len(few), np.bool_), 0.9, 8, int(Cause.PERSISTENT_CLOUD))
    assert (few == Cause.CLOUD).all()
    half = causes(*([[3]] * 8 + [[0]] * 2))
    mark_persistent(half, np.ones(len(half), np.bool_), 0.9, 8, int(Cause.PERSISTENT_CLOUD))
    assert (half[:8] == Cause.CLOUD).all()


def test_numbers_beyond_the_range_are_out_of_range_unless_something_worse() -> None:
    mask = np.array([[0, 0, 0, 0, 8, 3]], np.uint8)
    extremes = np.zeros((1, 6), np.uint8)
    for band in ([500, 99, 501, 0, 99, 99], [300, 300, 300, 300, 300, 300]):
        note_extremes(np.array([band], np.uint16), 100, 500, 65535, extremes)
    refine(mask, extremes)

    assert mask[0].tolist() == [0, Cause.OUT_OF_RANGE, Cause.OUT_OF_RANGE, Cause.NODATA, Cause.DILATED, Cause.CLOUD]


OLI = SENSORS["oli"]


def noted(*bands: list[int], saturation: list[int] | None = None, saturated: int = 65535) -> np.ndarray:
    extremes = np.zeros((1, len(bands[0])), np.uint8)
    for band in bands:
        note_extremes(np.array([band], np.uint16), 0, 65535, saturated, extremes)
    if saturation:
        note_saturation(np.array([saturation], np.uint16), OLI.saturated_bits(["green"]), OLI.lost_bits, extremes)
    return extremes


def test_bands_refine_what_the_mask_calls_clear() -> None:
    mask = np.array([[0, 0, 0, 0, 3, 8]], np.uint8)
    refine(mask, noted([9, 0, 9, 65535, 0, 0], [9, 9, 9, 9, 9, 9], saturation=[0, 4, 4, 0, 4, 0]))

    assert mask[0].tolist() == [0, Cause.NODATA, Cause.SATURATED, Cause.SATURATED, Cause.CLOUD, Cause.NODATA]


def test_a_band_that_is_not_read_may_be_saturated_and_ground_that_is_hidden_is_not_seen() -> None:
    cirrus_band, red, hidden = 1 << 8, 1 << 3, 1 << 11
    mask = np.zeros((1, 4), np.uint8)
    refine(mask, noted([9] * 4, saturation=[cirrus_band, red, 4, hidden]))

    assert mask[0].tolist() == [Cause.USED, Cause.USED, Cause.SATURATED, Cause.NODATA]


def test_saturation_bits_are_those_of_the_published_table_and_of_each_sensor(shared_data: Path) -> None:
    tables = json.loads((shared_data / "reference" / "facts" / "landsat_c2_l2_tables.json").read_text())
    offsets = {field["name"]: field["offset"] for field in tables["qa_radsat"]}
    numbers = {"tm": (1, 2, 3, 4, 5, 7), "etm": (1, 2, 3, 4, 5, 7), "oli": (1, 2, 3, 4, 5, 6, 7)}
    for name, of_bands in numbers.items():
        sensor = SENSORS[name]
        assert [band for band, _ in sensor.saturation_bits] == list(sensor.reflectance)
        assert [bit for _, bit in sensor.saturation_bits] == [offsets[f"band{number}"] for number in of_bands]
        assert sensor.saturated_bits(sensor.reflectance) == sum(1 << offsets[f"band{number}"] for number in of_bands)
    assert 1 << offsets["occlusion"] == OLI.lost_bits
    assert SENSORS["msi"].saturated_bits(["red"]) == 0


def test_a_probable_cloud_is_a_cloud_where_nothing_comes_before_it() -> None:
    mask = np.arange(12, dtype=np.uint8)[None]
    mark_likely(mask, np.full((1, 12), 40, np.uint16), 40)
    changed = [Cause.USED, Cause.SHADOW, Cause.CIRRUS, Cause.SNOW, Cause.SATURATED, Cause.DILATED]
    assert np.flatnonzero(mask[0] != np.arange(12)).tolist() == changed
    assert (mask[0, changed] == Cause.CLOUD).all()

    less = np.zeros((1, 3), np.uint8)
    mark_likely(less, np.array([[39, 101, 255]], np.uint16), 40)
    assert not less.any()


def test_without_a_saturation_band_only_the_largest_number_is_saturated() -> None:
    mask = np.zeros((1, 2), np.uint8)
    refine(mask, noted([65535, 65534]))

    assert mask[0].tolist() == [Cause.SATURATED, Cause.USED]


def test_where_a_file_holds_no_more_than_15_bit_its_largest_number_is_saturated() -> None:
    mask = np.zeros((1, 3), np.uint8)
    refine(mask, noted([65535, 32767, 32766], saturated=32767))

    assert mask[0].tolist() == [Cause.SATURATED, Cause.SATURATED, Cause.USED]


def test_the_order_of_the_bands_changes_no_cause() -> None:
    bands = [[0, 65535, 9, 9], [65535, 0, 9, 65535], [9, 9, 9, 9]]
    masks = [np.zeros((1, 4), np.uint8) for _ in range(2)]
    refine(masks[0], noted(*bands))
    refine(masks[1], noted(*reversed(bands)))

    assert masks[0].tolist() == masks[1].tolist() == [[Cause.NODATA, Cause.NODATA, Cause.USED, Cause.SATURATED]]


@settings(deadline=None)  # the first example compiles the kernel
@given(st.lists(st.lists(st.sampled_from([*map(int, Cause), 255]), min_size=5, max_size=5), min_size=1, max_size=6))
def test_accounts_balance_for_any_fates(scenes: list[list[int]]) -> None:
    stack = causes(*scenes)
    accounts = np.zeros((len(ACCOUNT_NAMES), 1, 5), np.uint16)
    count_causes(stack, accounts)

    assert unbalanced(accounts) == 0
    np.testing.assert_array_equal(accounts[0], (stack != NOT_EXPECTED).sum(axis=0))
    np.testing.assert_array_equal(accounts[1 + Cause.CLOUD], (stack == Cause.CLOUD).sum(axis=0))


def test_accounts_that_do_not_balance_are_counted() -> None:
    accounts = np.zeros((len(ACCOUNT_NAMES), 2, 2), np.uint16)
    accounts[0, 0, 1] = 3

    assert unbalanced(accounts) == 1
