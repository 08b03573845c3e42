"""Windows: sums and extremes of each, and the library that an array belongs to."""

import array_api_strict
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from products.window.sliding import (
    STRIP_ROWS,
    Array,
    array_namespace,
    check_halo,
    in_row_strips,
    interior,
    window_any,
    window_maximum,
    window_sum,
)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 11])
@pytest.mark.parametrize("columns", [1, 4, 6, 13])
def test_windows_are_those_of_numpy(rows: int, columns: int) -> None:
    values = np.random.default_rng(rows).integers(-9, 9, (11, 13)).astype(np.int32)
    windows = sliding_window_view(values, (rows, columns))

    np.testing.assert_array_equal(window_sum(values, rows, columns), windows.sum(axis=(2, 3)))
    np.testing.assert_array_equal(window_maximum(values, rows, columns), windows.max(axis=(2, 3)))
    np.testing.assert_array_equal(window_any(values == 8, rows, columns), (windows == 8).any(axis=(2, 3)))
    assert window_sum(values, rows, columns).dtype == np.int32


def test_a_missing_value_is_the_extreme_of_its_windows() -> None:
    values = np.array([[1.0, np.nan, 3.0, 2.0]])
    np.testing.assert_array_equal(window_maximum(values, 1, 2), [[np.nan, np.nan, 3.0]])


def test_an_array_tells_its_library() -> None:
    assert array_namespace(np.zeros(2)) is np
    assert array_namespace(array_api_strict.zeros(2)) is array_api_strict


def test_without_the_method_of_the_standard_the_module_of_the_type_is_the_library() -> None:
    like_cupy = np.random.default_rng(0)  # of a module within numpy, and without the method, as arrays of CuPy 14
    assert not hasattr(like_cupy, "__array_namespace__")
    assert array_namespace(like_cupy) is np


def test_interior_takes_the_halo_off() -> None:
    assert interior(np.arange(30).reshape(5, 6), 2).tolist() == [[14, 15]]
    assert interior(np.arange(4).reshape(2, 2), 0).tolist() == [[0, 1], [2, 3]]


def test_an_array_narrower_than_its_halos_is_refused() -> None:
    check_halo((5, 5), 2)
    with pytest.raises(ValueError, match=r"wider than two halos of 2 pixels, got the shape \(4, 9\)"):
        check_halo((4, 9), 2)
    with pytest.raises(ValueError, match=r"expected an array \(y, x\) wider .* got the shape \(9, 9, 9\)"):
        check_halo((9, 9, 9), 2)


@pytest.mark.parametrize("halo_px", [0, 2, STRIP_ROWS])
@pytest.mark.parametrize("rows", [1, STRIP_ROWS, 2 * STRIP_ROWS + 1])
def test_strips_of_rows_make_the_same_as_the_whole(rows: int, halo_px: int) -> None:
    values = np.random.default_rng(rows).integers(-9, 9, (rows + 2 * halo_px, 3 + 2 * halo_px))
    side, given = 2 * halo_px + 1, list[int]()

    def kernel(strip: Array) -> dict[str, Array]:
        given.append(strip.shape[0] - 2 * halo_px)
        return {"sum": window_sum(strip, side, side), "centre": interior(strip, halo_px)}

    found = in_row_strips(values, halo_px, kernel)
    assert sum(given) == rows and max(given) <= max(STRIP_ROWS, 2 * halo_px)
    whole = in_row_strips(array_api_strict.asarray(values), halo_px, kernel)
    assert given[-1] == rows
    for name, layer in whole.items():
        np.testing.assert_array_equal(found[name], np.asarray(layer), strict=True)
