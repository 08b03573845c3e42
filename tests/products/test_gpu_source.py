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
from products.pixel.gpu_index_source import index_expression, literal
from products.pixel.gpu_source import (
    GEOMEDIAN_THREADS,
    LARGEST_GEOMEDIAN,
    LARGEST_STACK,
    SERIES_NUMBERS,
    STEP,
    Kernel,
    exchanges,
    held_shapes,
    series_shape,
    temporal_source,
)
from products.pixel.temporal import COUNT, IQR, KURTOSIS, MAX, MEAN, MIN, RANGE, SKEWNESS, STD
from tests.products.nvrtc import compile_cuda, usage

ARCHITECTURES = ("sm_70", "sm_90")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="NVRTC is installed on Linux only")
ANEW = Kernel("geomedian_anew", 1, GEOMEDIAN_THREADS, largest=True)
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


@pytest.mark.parametrize(("n", "n_bands"), [*product([1, 8, 17, 60, 200, 600], [1, 2, 6, 10, 12, 30, 60])])
@pytest.mark.parametrize("with_mads", [False, True])
def test_each_number_of_observations_is_the_work_of_one_kernel(n: int, n_bands: int, with_mads: bool) -> None:
    shapes = list(held_shapes(n, n_bands, with_mads))
    limits = [lanes * held for lanes, held in shapes]
    assert sorted(set(limits)) == limits
    assert all(held % STEP == 0 and held * n_bands < 180 for _, held in shapes)
    assert all(held & (held - 1) == 0 for lanes, held in shapes if lanes > 1)
    assert n <= limits[-1] or shapes[-1][0] == 32 if shapes else n_bands == 60
    names = [kernel.name for kernel in temporal_source(n_bands, with_mads, NO_PROGRAMS, NO_REDUCERS, n).kernels]
    assert names == [
        "most_used",
        *(f"geomedian_of_{limit}" for limit in limits),
        *["geomedian_of_more"] * (max(limits, default=0) < n),
        "geomedian_anew",
    ]


def test_stacks_of_near_sizes_have_one_text() -> None:
    texts = {temporal_source(6, True, *ndvi(0.5), n).text for n in (17, 20, 24)}
    assert len(texts) == 1


def test_a_stack_is_refused_beyond_a_warp_of_sorted_numbers_or_beyond_what_a_group_counts() -> None:
    with pytest.raises(RequestError, match="a stack of 2049 observations: the GPU takes at most 2048; shorten the"):
        temporal_source(6, False, *ndvi(0.5), LARGEST_STACK + 1)
    with pytest.raises(RequestError, match="a stack of 65536 observations: the GPU takes at most 65535; shorten the"):
        temporal_source(6, True, NO_PROGRAMS, NO_REDUCERS, LARGEST_GEOMEDIAN + 1)
    assert temporal_source(6, True, NO_PROGRAMS, NO_REDUCERS, LARGEST_STACK + 1).kernels[-2].lanes == 32


def test_the_features_of_indices_follow_the_geomedian_and_are_computed_where_its_observations_are_held() -> None:
    programs, reducers = two_indices()
    source = temporal_source(4, True, programs, reducers, 100)

    assert source.kernels == (Kernel("most_used", 1), *held_by((1, 24), (2, 32), (4, 64), (8, 128)), ANEW)
    for text in ("7, series.quantile((0.10000000149011612f))", "8, series.maximum()", "9, series.mean()"):
        assert source.text.count(f"series.put(pixel, out, {text});") == 4
    assert source.text.count("series.sort();") == 4


def test_an_index_has_a_kernel_where_the_geomedian_lacks_a_band_or_does_not_hold_the_observations() -> None:
    programs, reducers = two_indices()
    alone = temporal_source(0, False, programs, reducers, 100)
    without_a_band = temporal_source(1, True, programs, reducers, 100)
    deep = temporal_source(4, True, programs, reducers, 1500)

    assert alone.kernels == indices(2, 2)
    assert without_a_band.kernels == (
        Kernel("most_used", 1),
        indices(2, 2)[0],
        *held_by((1, 24), (2, 32), (4, 64), (8, 128)),
        ANEW,
    )
    limits = held_by((4, 64), (8, 128), (16, 256), (32, 512))
    assert deep.kernels == (
        Kernel("most_used", 1), *indices(2, 32), *limits, Kernel("geomedian_of_more", 32, GEOMEDIAN_THREADS), ANEW
    )  # fmt: skip
    assert deep.text.count("if (pixel.most_of_group(out) <= 512) return;") == 2


def two_indices() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    programs = table(parse_formula("nir - red", KNOWN_BANDS), parse_formula("nir", KNOWN_BANDS))
    return programs, np.array([[0.1, MAX], [MEAN, np.nan]], np.float32)


def held_by(*shapes: tuple[int, int]) -> tuple[Kernel, ...]:
    return tuple(Kernel(f"geomedian_of_{most}", lanes, GEOMEDIAN_THREADS) for lanes, most in shapes)


def indices(n: int, lanes: int) -> tuple[Kernel, ...]:
    return tuple(Kernel(f"index_{i}", lanes) for i in range(n))


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
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("with_mads", [False, True])
@pytest.mark.parametrize(
    ("n_bands", "n_scenes"), [*product((1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 20, 30), (20, 130)), (6, 500)]
)
def test_a_geomedian_of_any_number_of_bands_with_every_statistic_keeps_to_registers(
    n_bands: int, n_scenes: int, with_mads: bool, architecture: str
) -> None:
    used = usage(compile_cuda(temporal_source(n_bands, with_mads, *heavy(), n_scenes).text, architecture))

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
