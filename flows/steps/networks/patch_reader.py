"""Patches of cells as batches for a training loop, read and prepared ahead of it by threads."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from flows.steps.networks.network import bands_of
from products.learning.augmentation import augmented
from products.learning.network_spec import NetworkSpec
from products.learning.patches import batches, share_of

AHEAD = 4  # batches that are ready before they are asked for, and those that other threads have under way
MOST_THREADS = 8
CELLS_HELD = (
    16  # an epoch goes through so many cells at a time, in random order: its patches, and its memory, are theirs
)

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class PatchPlaces:
    """The cell, row and column of the first pixel of each patch, (n,)."""

    cell: NDArray[np.int32]
    row: NDArray[np.int32]
    column: NDArray[np.int32]

    @property
    def size(self) -> int:
        """How many there are."""
        return self.cell.size

    @classmethod
    def of(cls, by_cell: Sequence[NDArray[np.int32]]) -> "PatchPlaces":
        """From rows and columns (n, 2) by cell."""
        cell = np.repeat(np.arange(len(by_cell), dtype=np.int32), [len(places) for places in by_cell])
        row, column = np.concatenate(by_cell).T
        return cls(cell, row, column)


@dataclass
class CellsHeld:
    """Features (feature, y, x) of cells by number, NaN where missing; the last CELLS_HELD that were read are kept."""

    read: Callable[[int], Floats]
    held: dict[int, Floats] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def __getitem__(self, number: int) -> Floats:
        with self.lock:
            if number not in self.held:
                if len(self.held) >= CELLS_HELD:
                    del self.held[next(iter(self.held))]
                self.held[number] = self.read(number)
            return self.held[number]


@dataclass
class ReadingTime:
    """Patches prepared so far, and the seconds that it took all threads, waiting left out."""

    threads: int = field(default_factory=lambda: max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)) // 2)))
    patches: int = 0
    seconds: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def add(self, patches: int, seconds: float) -> None:
        """Some more, by one thread."""
        with self.lock:
            self.patches += patches
            self.seconds += seconds

    @property
    def patches_per_s(self) -> float | None:
        """What the threads can prepare together; None where there was nothing to do."""
        return round(self.threads * self.patches / self.seconds, 1) if self.patches else None


@dataclass(frozen=True)
class PatchReader:
    """One epoch: the batches (bands, class numbers with -1 as none) of some places in an order, labels by cell; of several processes, the share of `rank`.

    `epoch` and `seed` decide how patches are changed; None leaves them as they are.
    """

    cells: CellsHeld
    codes: Sequence[Codes]
    places: PatchPlaces
    order: NDArray[np.int64]
    spec: NetworkSpec
    mean: Floats
    std: Floats
    seed: int
    epoch: int | None
    told: ReadingTime
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return self.order.size // self.world // self.spec.batch

    def __iter__(self) -> Iterator[Batch]:
        mine = share_of(self.order, self.rank, self.world)
        waiting: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.told.threads, "neocube-patches")
        try:
            for chosen in batches(
                by_groups_of_cells(mine, self.places.cell, self.seed, self.epoch or 0), self.spec.batch
            ):
                waiting.append(pool.submit(self._batch, chosen))
                if len(waiting) >= AHEAD + self.told.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, chosen: NDArray[np.int64]) -> Batch:
        started = time.perf_counter()
        side = self.spec.patch_px
        bands = np.empty((chosen.size, self.mean.size + 1, side, side), np.float32)
        numbers = np.empty((chosen.size, side, side), np.int64)
        for place, number in enumerate(chosen):
            features, codes = self._patch(int(number))
            bands_of(features, self.mean, self.std, bands[place])
            np.subtract(codes, 1, out=numbers[place], dtype=np.int64)
        self.told.add(chosen.size, time.perf_counter() - started)
        return torch.from_numpy(bands), torch.from_numpy(numbers)

    def _patch(self, number: int) -> tuple[Floats, Codes]:
        places, side = self.places, self.spec.patch_px
        cell, row, column = int(places.cell[number]), places.row[number], places.column[number]
        features, codes = self.cells[cell], self.codes[cell]
        here = (slice(row, row + side), slice(column, column + side))
        if self.epoch is None:
            return features[:, *here], codes[here]
        return augmented(
            features[:, *here], codes[here], self.spec, np.random.default_rng([self.seed, self.epoch, number])
        )


def by_groups_of_cells(order: NDArray[np.int64], cell: NDArray[np.int32], seed: int, epoch: int) -> NDArray[np.int64]:
    """The order with the places of CELLS_HELD cells together, which cells is drawn; as it is where no more cells are used."""
    used = np.unique(cell)
    if used.size <= CELLS_HELD:
        return order
    group = np.empty(int(used.max()) + 1, np.int64)
    group[np.random.default_rng([seed, epoch, used.size]).permutation(used)] = np.arange(used.size) // CELLS_HELD
    return order[np.argsort(group[cell[order]], kind="stable")]
