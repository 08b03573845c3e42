"""Labels onto pixels: whole enough, off the edges, in patches that are large enough, each pixel once."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.learning.label_places import (
    Places,
    dominant_class,
    each_once,
    inner_places,
    joined,
    without_small_patches,
)


def places(*rows: tuple[int, int, int, int]) -> Places:
    """Of (row, column, code, source)."""
    row, column, code, source = np.array(rows, np.int64).reshape(-1, 4).T
    share = np.ones(row.size, np.float32)
    return Places(row, column, code.astype(np.uint8), share, source.astype(np.uint8))


def fine_patch(codes: list[list[int]], factor: int = 4) -> NDArray[np.uint8]:
    return np.kron(np.array(codes, np.uint8), np.ones((factor, factor), np.uint8))


def test_a_pixel_has_the_class_that_fills_enough_of_it() -> None:
    fine = fine_patch([[1, 2, 0, 1]])
    fine[:, 3] = 0  # leaves three quarters of the first pixel
    fine[:2, 4:8] = 1  # half of the second
    fine[0, 12:] = 255
    fine[1, 12:14] = 255
    codes, shares, lost = dominant_class(fine, 4, 2, 0.75)
    assert codes.tolist() == [[1, 0, 0, 0]]
    assert shares.tolist() == [[0.75, 0, 0, 0]]
    assert lost["mixed"].tolist() == [[False, True, False, False]]
    assert lost["contradicting"].tolist() == [[False, False, False, True]]


def test_small_patches_are_no_labels_and_corners_do_not_join_them() -> None:
    codes = np.array([[1, 1, 0, 2], [1, 0, 2, 0], [0, 0, 2, 2]], np.uint8)
    assert without_small_patches(codes, 3).tolist() == [[1, 1, 0, 0], [1, 0, 2, 0], [0, 0, 2, 2]]
    assert without_small_patches(codes, 1) is codes


@pytest.mark.parametrize(("edge_px", "min_px"), [(0, 6), (2, 0), (1, 9)])
def test_the_places_of_a_tile_are_the_same_however_the_grid_is_cut(edge_px: int, min_px: int) -> None:
    random = np.random.default_rng(5)
    coarse = np.kron(random.integers(0, 3, (16, 16)), np.ones((3, 3), np.int64)).astype(np.uint8)
    coarse[random.random(coarse.shape) < 0.05] = 0
    margin = edge_px + min_px
    fine = fine_patch(np.pad(coarse, margin).tolist(), 2)
    whole, dropped = inner_places(fine, 2, 2, margin, 0.75, edge_px, min_px, 0)
    parts, lost = [], {}
    for left in (0, 24):
        cut = fine[:, 2 * left : 2 * (left + 24 + 2 * margin)]
        found, causes = inner_places(cut, 2, 2, margin, 0.75, edge_px, min_px, 0)
        tile = found.where((found.row >= 0) & (found.column < 24))
        parts.append(Places(tile.row, tile.column + left, tile.code, tile.fraction, tile.source))
        lost = {cause: lost.get(cause, 0) + count for cause, count in causes.items()}
    together = joined(parts)
    assert len(whole) > 0
    assert set(zip(together.row, together.column, together.code, strict=True)) == set(
        zip(whole.row, whole.column, whole.code, strict=True)
    )
    assert lost == dict(dropped)


def test_each_pixel_counts_once_and_contradictions_for_none() -> None:
    found, dropped = each_once(places((0, 1, 1, 1), (0, 1, 1, 0), (2, 3, 1, 0), (2, 3, 2, 1), (4, 4, 2, 1)), width=10)
    assert list(zip(found.row, found.column, found.code, found.source, strict=True)) == [(0, 1, 1, 0), (4, 4, 2, 1)]
    assert dropped == {"duplicate": 1, "contradicting": 2}


def test_no_places_are_no_places() -> None:
    found, dropped = each_once(joined([]), 10)
    assert (len(found), dict(dropped)) == (0, {})
