"""The GPU leaf agrees with the CPU leaf and the float64 reference: on the host, with its kernels compiled as C++, and on a GPU where one is."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.feature_program import programs
from products.feature_spec import KNOWN_BANDS
from products.formula import parse_formula
from products.pixel import reference
from products.pixel.gpu_strips import StripShape, device_bytes
from products.pixel.gpu_temporal import temporal_features_gpu
from products.pixel.temporal import COUNT, IQR, KURTOSIS, MAX, MEAN, MIN, RANGE, SKEWNESS, STD, temporal_features
from tests.gpu_here import has_gpu
from tests.products.host_cupy import use_host_cupy
from tests.products.scene_series import Block, Causes, hazy_series, scene_series

BANDS = ("blue", "green", "red", "nir", "swir1")
TEXTS = ("(nir - red) / (nir + red)", "-(blue ** 2) + 3 * green - swir1 ** 0.5", "nir / (blue - blue)", "nir")
PLACE = {(band, ()): place for place, band in enumerate(BANDS)}
PROGRAMS = programs([(parse_formula(text, KNOWN_BANDS), ()) for text in TEXTS], PLACE)
REDUCERS = np.array(
    [[0.1, 0.5, 0.9, STD], [MIN, MAX, MEAN, COUNT], [0.5, MEAN, MIN, STD], [RANGE, IQR, SKEWNESS, KURTOSIS]], np.float32
)
ANY = [0, 1, 2]  # the places of the geomedian's bands
N_FEATURES = len(ANY) + 3 + 16

# reflectance against the reference
TOLERANCES = {"geomedian": 2e-5, "mads": 5e-5, "index": 5e-5, "shape": 2e-3}
BETWEEN_LEAVES = {"geomedian": 4e-6, "mads": 4e-6, "index": 2e-6, "shape": 1e-3}

Leaf = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def leaf(request: pytest.FixtureRequest, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Leaf:
    if request.param == "gpu" and not has_gpu():
        pytest.skip("no CUDA device, or cupy is not installed")
    if request.param == "host":
        use_host_cupy(monkeypatch, compiled)
    return temporal_features_gpu


def arguments(block: Block, causes: Causes, min_observations: int = 1) -> tuple[Any, ...]:
    gain = np.tile(np.float32([2.75e-5, 1e-4, 2.7e-5, 1e-4, 1e-4]), (block.shape[1], 1))
    bias = np.tile(np.float32([-0.2, 0.0, -0.2, -0.1, 0.0]), (block.shape[1], 1))
    return block, causes, gain, bias, np.array([3, 0, 2]), True, PROGRAMS, REDUCERS, min_observations


def series(seed: int, n_scenes: int, shape: tuple[int, int] = (2, 21), used: float = 0.7) -> tuple[Block, Causes]:
    return scene_series(seed, len(BANDS), n_scenes, shape, used)


def limits(tolerances: dict[str, float]) -> list[float]:
    return (
        [tolerances["geomedian"]] * 3
        + [tolerances["mads"]] * 3
        + [tolerances["index"]] * 14
        + [tolerances["shape"]] * 2
    )


def assert_agreement(leaf: Leaf, given: tuple[Any, ...], between: dict[str, float] = BETWEEN_LEAVES) -> Any:
    """The features of the leaf, after comparison with the other leaf and the reference."""
    made, cpu, exact = leaf(*given), temporal_features(*given, threads=1), reference.temporal_features(*given)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(made), np.isnan(cpu))
    for layer, (near, nearest) in enumerate(zip(limits(TOLERANCES), limits(between), strict=True)):
        np.testing.assert_allclose(made[layer], exact[layer], rtol=1e-5, atol=near, err_msg=f"feature {layer}")
        np.testing.assert_allclose(made[layer], cpu[layer], rtol=1e-5, atol=nearest, err_msg=f"feature {layer}")
    return made


@pytest.mark.parametrize("n_scenes", [1, 2, 3, 6, 23, 41])
def test_every_feature_agrees(n_scenes: int, leaf: Leaf) -> None:
    assert_agreement(leaf, arguments(*series(n_scenes, n_scenes)))


@pytest.mark.parametrize("n_scenes", [3, 4, 6, 10, 20, 600])
def test_observations_near_a_line_agree(n_scenes: int, leaf: Leaf) -> None:
    near = {"geomedian": 2e-5, "mads": 2e-5, "index": 2e-6, "shape": 1e-3}
    assert_agreement(leaf, arguments(*hazy_series(n_scenes, len(BANDS), n_scenes, (1, 12))), near)


@pytest.mark.parametrize("n_scenes", [70, 300, 880])
def test_stacks_over_several_lanes_and_beyond_the_registers_agree(n_scenes: int, leaf: Leaf) -> None:
    assert_agreement(leaf, arguments(*series(n_scenes, n_scenes, (1, 13))))


@pytest.mark.parametrize("n_scenes", [4, 90])
def test_pixels_without_observations_or_with_one_agree(n_scenes: int, leaf: Leaf) -> None:
    block, causes = series(4, n_scenes)
    causes[:, 0, :7] = 2
    causes[1, 0, :3] = 0
    made = assert_agreement(leaf, arguments(block, causes))

    assert np.isnan(made[:, 0, 3:7]).all()
    np.testing.assert_allclose(made[3:6, 0, :3], 0, atol=2e-4)
    assert np.isfinite(made[:13, 0, :3]).all()


def test_no_scene_at_all_is_nan(leaf: Leaf) -> None:
    made = leaf(*arguments(np.zeros((5, 0, 2, 5), np.uint16), np.zeros((0, 2, 5), np.uint8)))
    assert made.shape == (N_FEATURES, 2, 5)
    assert np.isnan(made).all()


def test_fewer_observations_than_asked_for_are_nan(leaf: Leaf) -> None:
    block, causes = series(5, 8)
    made = assert_agreement(leaf, arguments(block, causes, min_observations=6))
    np.testing.assert_array_equal(np.isnan(made[0]), (causes == 0).sum(axis=0) < 6)


@pytest.mark.parametrize("n_scenes", [9, 80])
def test_equal_observations_have_no_deviation(n_scenes: int, leaf: Leaf) -> None:
    block, causes = series(6, n_scenes, used=0.8)
    block[:] = block[:, :1]
    made = assert_agreement(leaf, arguments(block, causes))

    np.testing.assert_array_equal(made[[9]][np.isfinite(made[[9]])], 0)
    np.testing.assert_allclose(made[4][np.isfinite(made[4])], 0, atol=1e-6)


def test_a_majority_of_equal_observations_is_the_median(leaf: Leaf) -> None:
    block, causes = series(7, 11, used=1.1)
    block[:, :6] = block[:, :1]
    made = assert_agreement(leaf, arguments(block, causes))
    np.testing.assert_allclose(made[0], block[3, 0] * 1e-4 - 0.1, atol=2e-5)


@pytest.mark.parametrize("dn", [1, 32_767, 32_768, 65_535])
def test_numbers_up_to_65535_are_not_wrapped(dn: int, leaf: Leaf) -> None:
    made = assert_agreement(leaf, arguments(np.full((5, 4, 1, 3), dn, np.uint16), np.zeros((4, 1, 3), np.uint8)))
    np.testing.assert_allclose(made[0], dn * 1e-4 - 0.1, rtol=1e-5)


def test_saturated_observations_among_others_agree(leaf: Leaf) -> None:
    block, causes = series(8, 30)
    block[:, ::5] = 65_535
    assert_agreement(leaf, arguments(block, causes))


def test_a_band_that_some_scenes_lack_is_missing_in_their_indices_only(leaf: Leaf) -> None:
    given = list(arguments(*series(9, 20)))
    given[2], given[4], given[5] = given[2].copy(), np.array([0, 2, 3]), False
    given[2][::2, BANDS.index("swir1")] = np.nan
    made, exact = leaf(*given), reference.temporal_features(*given)

    np.testing.assert_array_equal(np.isnan(made), np.isnan(exact))
    np.testing.assert_allclose(made, exact, rtol=1e-5, atol=5e-5)
    assert np.isfinite(made[:10]).mean() > 0.9


def test_the_order_of_observations_does_not_matter(leaf: Leaf) -> None:
    block, causes = series(10, 25)
    order = np.random.default_rng(0).permutation(25)
    here, there = leaf(*arguments(block, causes)), leaf(*arguments(block[:, order], causes[order]))

    np.testing.assert_allclose(here[:6], there[:6], atol=BETWEEN_LEAVES["geomedian"])
    np.testing.assert_array_equal(here[6:9], there[6:9])


def test_strips_and_crops_give_the_same_bits_as_the_whole(leaf: Leaf) -> None:
    block, causes = series(11, 12, (7, 21))
    given = arguments(block, causes)
    whole = leaf(*given)
    bytes_of_two_rows = device_bytes(StripShape(5, 12, N_FEATURES, 21, 2))

    np.testing.assert_array_equal(leaf(*given, memory_bytes=bytes_of_two_rows), whole)
    np.testing.assert_array_equal(leaf(*arguments(block[..., 3:, 5:18], causes[..., 3:, 5:18])), whole[:, 3:, 5:18])


def test_indices_alone_and_a_geomedian_alone_agree(leaf: Leaf) -> None:
    given = arguments(*series(12, 15))
    alone = leaf(*given[:4], np.array([], np.int64), False, *given[6:])
    geomedian = leaf(*given[:5], False, given[6][:0], REDUCERS[:0], 1)

    np.testing.assert_array_equal(alone, leaf(*given)[6:])
    np.testing.assert_array_equal(geomedian, leaf(*given)[:3])


def test_a_device_that_is_full_gets_smaller_strips(
    compiled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = arguments(*series(13, 12, (7, 21)))
    use_host_cupy(monkeypatch, compiled, largest=2 * 5 * 12 * 21 * 2)
    with caplog.at_level(logging.WARNING):
        made = temporal_features_gpu(*given, memory_bytes=2**30)

    assert caplog.messages == [
        "the device has too little memory for strips of 7 rows: trying 4",
        "the device has too little memory for strips of 4 rows: trying 2",
    ]
    use_host_cupy(monkeypatch, compiled)
    np.testing.assert_array_equal(made, temporal_features_gpu(*given))


def test_mads_without_a_geomedian_are_refused() -> None:
    given = list(arguments(*series(14, 3)))
    given[4] = np.array([], np.int64)
    with pytest.raises(RequestError, match="expected a geomedian of some bands beside them"):
        temporal_features_gpu(*given)
