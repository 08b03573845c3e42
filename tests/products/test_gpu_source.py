"""The CUDA text of a recipe says what its programs say, compiles for V100 and H200 without a GPU, and keeps to registers."""

import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.feature_spec import KNOWN_BANDS
from products.formula import Formula, parse_formula
from products.pixel.gpu_source import (
    HELD_NUMBERS,
    LARGEST_GEOMEDIAN,
    LARGEST_STACK,
    SERIES_NUMBERS,
    Kernel,
    exchanges,
    held_shape,
    index_expression,
    literal,
    series_shape,
    shared_limits,
    temporal_source,
)
from products.pixel.temporal import COUNT, IQR, KURTOSIS, MAX, MEAN, MIN, RANGE, SKEWNESS, STD
from tests.products.nvrtc import compile_cuda, usage

ARCHITECTURES = ("sm_70", "sm_90")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="NVRTC is installed on Linux only")
NO_PROGRAMS, NO_REDUCERS = np.zeros((0, 1, 2)), np.zeros((0, 1), np.float32)
SPILLING = """
extern "C" __global__ void in_registers(float* x) { x[threadIdx.x] *= 2.f; }
extern "C" __global__ void in_memory(float* x, int n) {
  float held[300];
  for (int i = 0; i < 300; ++i) held[i] = x[i * n];
  for (int i = 0; i < 300; ++i) x[i] = held[(i * n) % 300];
}
"""


def table(*formulas: Formula) -> NDArray[np.float64]:
    """Programs (index, step, 2), padded with -1; bands by their place in the formula."""
    programs = np.full((len(formulas), max(len(formula.operations) for formula in formulas) + 1, 2), -1.0)
    for i, formula in enumerate(formulas):
        programs[i, : len(formula.operations)] = formula.operations
    return programs


def expression(text: str) -> str:
    return index_expression(table(parse_formula(text, KNOWN_BANDS))[0], "abcdef".__getitem__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nir", "a"),
        ("(nir - red) / (nir + red)", "((a - b) / (a + b))"),
        ("-nir + 2.5 * red", "((-a) + ((2.5f) * b))"),
        ("nir ** 2 - red ** 0.5", "(squared(a) - sqrtf(b))"),
        ("nir ** red", "powf(a, b)"),
        ("nir ** 3", "powf(a, (3.0f))"),
    ],
)
def test_a_program_becomes_an_expression(text: str, expected: str) -> None:
    assert expression(text) == expected


def test_an_operation_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected an operation of products\.formula\.Op, got 9"):
        index_expression(np.array([[0, 0], [0, 0], [9, 0]], float), "ab".__getitem__)


def test_a_statistic_that_the_gpu_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a quantile or a code of \[-9.0, .*, -1.0\], got -10"):
        temporal_source(0, False, *ndvi(-10.0), 20)


@pytest.mark.parametrize("number", [0.1, -0.5, 1e30, 16777217.0, 1 / 3])
def test_a_literal_is_the_float32_nearest_to_the_number(number: float) -> None:
    text = literal(number)
    assert text.startswith("(") and text.endswith("f)")
    assert np.float32(float(text[1:-2])) == np.float32(number)
    assert "." in text or "e" in text


@pytest.mark.parametrize("n", [1, 2, 7, 8, 24, 40, 64])
def test_the_network_sorts(n: int) -> None:
    rows = np.random.default_rng(n).integers(0, 9, (n, 200))
    network = list(exchanges(n))
    expected = np.sort(rows, axis=0)
    for low, high in network:
        rows[low], rows[high] = np.minimum(rows[low], rows[high]), np.maximum(rows[low], rows[high])
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("n", [1, 8, 9, 64, 65, 129, 500, LARGEST_STACK])
def test_the_lanes_hold_a_stack_to_sort(n: int) -> None:
    lanes, numbers = series_shape(n)
    assert n <= lanes * numbers
    assert numbers <= SERIES_NUMBERS
    assert lanes in (1, 2, 4, 8, 16, 32)
    assert lanes == 1 or numbers & (numbers - 1) == 0


@pytest.mark.parametrize(("n", "n_bands"), [*product([1, 8, 17, 60, 200, 600], [1, 2, 6, 10, 12])])
def test_the_lanes_hold_the_observations_of_a_geomedian_or_say_that_they_do_not(n: int, n_bands: int) -> None:
    lanes, numbers = held_shape(n, n_bands)
    assert numbers == 0 or (n <= lanes * numbers and numbers * n_bands <= HELD_NUMBERS)
    assert numbers > 0 or n * n_bands > 16 * HELD_NUMBERS


@pytest.mark.parametrize(("n", "n_bands"), [*product([1, 8, 17, 60, 200, 600], [1, 2, 6, 10, 12])])
@pytest.mark.parametrize("with_mads", [False, True])
def test_each_number_of_observations_is_the_work_of_one_kernel(n: int, n_bands: int, with_mads: bool) -> None:
    limits = shared_limits(n, n_bands, with_mads)
    assert sorted(set(limits)) == list(limits) and limits[0] > 0
    assert limits[-1] * max(n_bands, 3 if with_mads else 1) * 4 * 32 <= 48 * 1024
    names = [kernel.name for kernel in temporal_source(n_bands, with_mads, NO_PROGRAMS, NO_REDUCERS, n).kernels]
    assert names == [
        "most_used",
        *(f"geomedian_of_{limit}" for limit in limits),
        *["geomedian_of_more"] * (limits[-1] < n),
    ]


def test_stacks_of_near_sizes_have_one_text() -> None:
    texts = {temporal_source(6, True, *ndvi(0.5), n).text for n in (17, 20, 24)}
    assert len(texts) == 1


def test_a_stack_is_refused_beyond_a_warp_of_sorted_numbers_or_beyond_what_a_group_counts() -> None:
    with pytest.raises(RequestError, match="a stack of 2049 observations: the GPU takes at most 2048; shorten the"):
        temporal_source(6, False, *ndvi(0.5), LARGEST_STACK + 1)
    with pytest.raises(RequestError, match="a stack of 65536 observations: the GPU takes at most 65535; shorten the"):
        temporal_source(6, True, NO_PROGRAMS, NO_REDUCERS, LARGEST_GEOMEDIAN + 1)
    assert temporal_source(6, True, NO_PROGRAMS, NO_REDUCERS, LARGEST_STACK + 1).kernels[-1].lanes == 32


def test_each_index_has_a_kernel_and_its_features_follow_the_geomedian() -> None:
    programs = table(parse_formula("nir - red", KNOWN_BANDS), parse_formula("red", KNOWN_BANDS))
    source = temporal_source(4, True, programs, np.float32([[0.1, MAX], [MEAN, np.nan]]), 100)

    by_threads = tuple(Kernel(f"geomedian_of_{most}", 1, 32, is_shared=True) for most in (24, 48, 72, 84, 96))
    assert source.kernels == (Kernel("most_used", 1), *by_threads, Kernel("geomedian_of_more", 8), *indices(2))
    assert "put(pixel, out, 7, series.quantile((0.10000000149011612f)))" in source.text
    assert "put(pixel, out, 8, series.maximum())" in source.text
    assert "put(pixel, out, 9, series.mean())" in source.text
    assert source.text.count("series.sort();") == 1


def indices(lanes: int) -> tuple[Kernel, ...]:
    return tuple(Kernel(f"index_{i}", lanes) for i in range(2))


def ndvi(*reducers: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    return table(parse_formula("(nir - red) / (nir + red)", KNOWN_BANDS)), np.array([reducers], np.float32)


def heavy() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    texts = ("-(blue ** 2) + 3 * green - nir ** 1.5", "(nir - red) / (nir + red)")
    every = [0.1, 0.5, 0.9, MEAN, STD, MIN, MAX, COUNT, RANGE, IQR, SKEWNESS, KURTOSIS]
    return table(*(parse_formula(text, KNOWN_BANDS) for text in texts)), np.array([every, every], np.float32)


CASES: list[Any] = [
    pytest.param(2, False, ndvi(0.5, STD), 5, id="small"),
    pytest.param(6, True, heavy(), 24, id="a year of Landsat"),
    pytest.param(6, True, ndvi(0.1, 0.5, 0.9), 64, id="one lane, full"),
    pytest.param(10, True, ndvi(0.25, 0.75, MEAN), 64, id="ten bands"),
    pytest.param(6, True, ndvi(0.1, 0.9), 150, id="Landsat and Sentinel-2"),
    pytest.param(7, True, ndvi(MIN, MEAN), 1000, id="observations are read again"),
]


@on_linux
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("n_bands", "with_mads", "indices_of", "n_scenes"), CASES)
def test_the_text_compiles_without_spills(
    n_bands: int, with_mads: bool, indices_of: tuple[Any, Any], n_scenes: int, architecture: str
) -> None:
    source = temporal_source(n_bands, with_mads, *indices_of, n_scenes)
    used = usage(compile_cuda(source.text, architecture))

    assert set(used) == {kernel.name for kernel in source.kernels}
    assert {name: each.local_bytes for name, each in used.items()} == dict.fromkeys(used, 0)
    assert max(each.registers for each in used.values()) < 255


@on_linux
@pytest.mark.full
@pytest.mark.parametrize(
    ("n_bands", "n_scenes", "architecture"),
    [
        (n_bands, n_scenes, architecture)
        for n_bands, n_scenes, architecture in product(range(1, 13), (130, 160, 192, 208, 256, 500), ARCHITECTURES)
        if held_shape(n_scenes, n_bands)[1]
    ],
)
def test_a_geomedian_of_any_number_of_bands_keeps_full_stacks_in_registers(
    n_bands: int, n_scenes: int, architecture: str
) -> None:
    used = usage(compile_cuda(temporal_source(n_bands, True, NO_PROGRAMS, NO_REDUCERS, n_scenes).text, architecture))

    assert {name: each.local_bytes for name, each in used.items()} == dict.fromkeys(used, 0)


@on_linux
def test_numbers_that_are_not_in_registers_are_found() -> None:
    used = usage(compile_cuda(SPILLING, "sm_70"))

    assert used["in_registers"].local_bytes == 0
    assert used["in_memory"].local_bytes >= 1200
    assert 0 < used["in_registers"].registers < used["in_memory"].registers


@on_linux
def test_text_that_does_not_compile_fails_with_the_compilers_words() -> None:
    with pytest.raises(ValueError, match='identifier "nonsense" is undefined'):
        compile_cuda('extern "C" __global__ void k(float* x) { x[0] = nonsense; }', "sm_70")
