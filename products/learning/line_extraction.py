"""Lines out of masks: the middle of each part of a mask, from end to end."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))  # down and right, to each neighbour once
EVERY_NEIGHBOUR = np.ones((3, 3), np.int64)


def lines_of(mask: Mask, min_length_px: float = 0.0) -> list[Float64]:
    """Lines (n, 2: x and y of pixel centres, 0.5 and up) through the parts of a mask (y, x), the longest first; shorter ones are left out.

    As in Mohajerani et al. 2019 (Remote Sens. 11, 74) a line is a path of least cost; a step costs less the further it is from the edge of the mask. Its ends
    are the two pixels of the part that are furthest apart along it. What it leaves of the part, as where lines cross, is looked at again.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return sorted(_lines_in(mask, depth, min_length_px), key=length_px, reverse=True)


def length_px(line: Float64) -> float:
    """The length of a line, pixels."""
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def _lines_in(mask: Mask, depth: Float64, min_length_px: float) -> Iterator[Float64]:
    parts, _ = ndimage.label(mask, EVERY_NEIGHBOUR)
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        part, inside = parts[box] == number, depth[box]
        path = _middle(part, inside)
        line = path + np.array([box[1].start, box[0].start]) + 0.5
        if len(line) < 2 or length_px(line) < min_length_px:
            continue
        yield line
        beside = _beside(part, path, inside)
        for branch in _lines_in(beside, inside, max(min_length_px, 2 * float(inside[part].max()))):
            yield branch + np.array([box[1].start, box[0].start])


def _beside(part: Mask, path: Int64, depth: Float64) -> Mask:
    """The pixels of a part that are further from a path than the edge of the part is there."""
    is_path = np.zeros(part.shape, np.bool_)
    is_path[path[:, 1], path[:, 0]] = True
    distance, nearest = ndimage.distance_transform_edt(~is_path, return_indices=True)
    return np.asarray(part & (distance > depth[tuple(nearest)] + 1))


def _middle(part: Mask, depth: Float64) -> Int64:
    """Columns and rows (n, 2) of the pixels of a path through a part, from its left end to its right one."""
    row, column = np.nonzero(part)
    number = np.full(part.shape, -1, np.int64)
    number[row, column] = np.arange(row.size)
    one, other, step = (np.concatenate(each) for each in zip(*_edges(number), strict=True))
    shape = (row.size, row.size)
    inside = depth[row, column]
    steps = coo_array((step, (one, other)), shape).tocsr()
    costs = coo_array((step / (inside[one] * inside[other]), (one, other)), shape).tocsr()
    start = int(dijkstra(steps, directed=False, indices=0).argmax())
    end = int(dijkstra(steps, directed=False, indices=start).argmax())
    _, before = dijkstra(costs, directed=False, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    line = np.stack([column[path], row[path]], axis=1)
    return line if tuple(line[0]) <= tuple(line[-1]) else line[::-1]


def _edges(number: Int64) -> Iterator[tuple[Int64, Int64, Float64]]:
    """The pixels that touch, by their numbers (-1: none), and the length of the step between them."""
    rows, columns = number.shape
    for down, right in STEPS:
        here = number[: rows - down, max(0, -right) : columns - max(0, right)]
        there = number[down:, max(0, right) : columns - max(0, -right)]
        both = (here >= 0) & (there >= 0)
        yield here[both], there[both], np.full(int(both.sum()), np.hypot(down, right))
