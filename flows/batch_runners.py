"""Batches of cells, built one after the other, in processes side by side or on a Dask cluster; without Prefect."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

from datacube_config.connection import Index, open_index
from datacube_config.errors import StorageUnavailable
from datacube_config.logs import logged, start_logs
from datacube_config.settings import Settings
from flows.planning import PlannedCell
from flows.steps.cubes.building import BuildContext, BuiltCell, TooMuchUnread, build_cell, found_cell, restored_cell
from flows.steps.cubes.cell_store import DigestMismatch
from flows.steps.cubes.dask_cluster import dask_client
from flows.steps.loading.raster_access import raster_access
from flows.steps.loading.reading import UnreadBand
from flows.steps.loading.tides import configured_tides, tide_model_for
from flows.steps.storage import Storage, open_storage
from products.devices import Device
from products.errors import RequestError
from products.grid import PixelGrid
from products.kept_memory import give_back
from products.scene_recipe import SceneRecipe


@dataclass(frozen=True, slots=True)
class FailedCell:
    """A cell that was not published, and why."""

    cell: str
    cause: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells of a recipe, the device that computes them and the run that they are of: the work of a task."""

    recipe: SceneRecipe
    grid: PixelGrid
    cells: tuple[PlannedCell, ...]
    device: Device = "cpu"
    run: str = ""

    @property
    def label(self) -> str:
        """Period and tile of its cell, or of the first and how many there are."""
        first = self.cells[0].key.label
        return first if len(self.cells) == 1 else f"{len(self.cells)} cells from {first}"


Outcome = BuiltCell | FailedCell
RunBatches = Callable[[Settings, Sequence[Batch]], Iterable[list[Outcome]]]
Submit = Callable[[Settings, Batch], Any]  # a future, whose result is the outcomes
RETRIES = 2
DIED = (
    "a process of this build ended before its time: killed, or out of memory; run it again, "
    "with fewer --workers or a smaller NEOCUBE_MEMORY_LIMIT_BYTES"
)
_log = logging.getLogger(__name__)


def build_batch(settings: Settings, batch: Batch) -> list[Outcome]:
    """Build some cells, one after the other, on an index connection of their own; a failed cell does not stop the others."""
    storage = open_storage(settings)
    tides = tide_model_for(batch.recipe, settings.tide_models, settings.tide_model)
    access = raster_access(settings)
    told = configured_tides(settings.tide_models, settings.tide_model)
    context = BuildContext(settings.decode_thread_count, access, settings.failure_budget, batch.device, tides, told)
    outcomes: list[Outcome] = []
    start_logs(settings.logs)
    with open_index(settings) as index:
        for cell in batch.cells:
            with logged(run=batch.run, cell=str(cell.id), label=cell.key.label):
                outcomes.append(_outcome(index, storage, batch, cell, context))
    return outcomes


def build_on_worker(settings: Settings, batch: Batch) -> list[Outcome]:
    """Build the cells of a batch on a worker of a cluster, which gets no further task while it has too much memory: none is kept."""
    try:
        return build_batch(settings, batch)
    finally:
        give_back()


def _outcome(index: Index, storage: Storage, batch: Batch, cell: PlannedCell, context: BuildContext) -> Outcome:
    if done := found_cell(index, cell.key, cell.id):
        _log.info("cell found, made since the plan")
        return done
    try:
        if back := restored_cell(index, storage, batch.recipe, batch.grid, cell.key, cell.id, context.threads):
            return back
        return build_cell(
            index, storage, batch.recipe, batch.grid, cell.key, cell.scenes, cell.rasters, context, cell.strip_px
        )
    except (TooMuchUnread, UnreadBand, StorageUnavailable, DigestMismatch, MemoryError) as error:
        _log.error("cell failed", extra={"cause": str(error)})
        return FailedCell(cell.key.label, str(error))


def run_here(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
    """Batch after batch in this process."""
    for batch in work:
        yield build_batch(settings, batch)


def run_in_processes(workers: int) -> RunBatches:
    """Batches side by side, each in a process; one that raises ends the build, which resumes when it is run again.

    Where a process is killed, the cells that are not published by then are failed.
    """

    def run(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [_submitted(pool, settings, batch) for batch in work]
            for batch, future in zip(work, futures, strict=True):
                try:
                    done = future.result()
                except BrokenProcessPool:
                    done = _left_behind(settings, batch)
                yield done

    return run


def _submitted(pool: ProcessPoolExecutor, settings: Settings, batch: Batch) -> "Future[list[Outcome]]":
    """The outcomes of a batch to come; of a pool that lost a process by now, its failure."""
    try:
        return pool.submit(build_batch, settings, batch)
    except BrokenProcessPool as error:
        future = Future[list[Outcome]]()
        future.set_exception(error)
        return future


def _left_behind(settings: Settings, batch: Batch) -> list[Outcome]:
    """The cells of a batch that a dead process published, the others as failed."""
    with open_index(settings) as index:
        return [found_cell(index, cell.key, cell.id) or FailedCell(cell.key.label, DIED) for cell in batch.cells]


@contextmanager
def dask_tasks(client: Any) -> Iterator[Submit]:  # noqa: ANN401, distributed.Client
    """What hands a batch to the workers of a client, which try it again where it raises."""
    yield lambda settings, batch: client.submit(build_on_worker, settings, batch, pure=False, retries=RETRIES)


def run_on_dask(dask: str, tasks: Callable[[Any], AbstractContextManager[Submit]] = dask_tasks) -> RunBatches:
    """Cell by cell on the workers of a Dask cluster; one whose workers keep dying is failed, and is built when the build is run again.

    Where there is no work, no cluster is looked for or started.
    """

    def run(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        if not work:
            return
        with dask_client(dask, settings, *demands(work)) as client, tasks(client) as submit:
            cells = [replace(batch, cells=(cell,)) for batch in work for cell in batch.cells]
            futures = [submit(settings, cell) for cell in cells]
            for cell in cells:
                yield survived(cell, futures.pop(0).result)

    return run


def demands(work: Sequence[Batch]) -> tuple[int, Device]:
    """The largest planned peak of host memory, and the device, of some batches."""
    peak = max((cell.host_bytes for batch in work for cell in batch.cells), default=0)
    return peak, "gpu" if any(batch.device == "gpu" for batch in work) else "cpu"


def survived(batch: Batch, result: Callable[[], list[Outcome]]) -> list[Outcome]:
    """The result of a batch on Dask; where its workers keep dying, its cells as failed."""
    from distributed import KilledWorker

    try:
        return result()
    except KilledWorker as error:
        return [FailedCell(cell.key.label, " ".join(str(error).split())) for cell in batch.cells]


def side_by_side(workers: int, dask: str | None) -> RunBatches | None:
    """The runner for several processes, or for a Dask cluster; None for one process."""
    if dask and workers > 1:
        raise RequestError("expected --workers or --dask, got both: the scheduler knows its workers")
    return run_on_dask(dask) if dask else run_in_processes(workers) if workers > 1 else None
