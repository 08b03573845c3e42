"""Work on the rows of a tile from several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
ROWS_PER_TASK = 16


def in_row_tasks(run_rows: Callable[[int, int], Result], n_rows: int, threads: int) -> list[Result]:
    """What `run_rows(first, last)` returns for all rows in order, run from `threads` threads; the first error is raised."""
    parts = [(start, min(start + ROWS_PER_TASK, n_rows)) for start in range(0, n_rows, ROWS_PER_TASK)]
    if threads <= 1:
        return [run_rows(*part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda part: run_rows(*part), parts))
