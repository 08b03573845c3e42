"""The flow `build-cube`: build what is missing or stale of a features recipe, and assemble the cube."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Crashed
from prefect_dask import DaskTaskRunner

from datacube_config.settings import Settings, get_settings
from flows.build_here import Batch, Outcome, RunBatches, build, build_batch, demands, side_by_side, survived
from flows.failed_work import cell_causes, end_failed
from flows.plan_cells import Device
from flows.run_artifacts import in_subflow_run, leave_build, progress_bar
from flows.run_events import announce_cube
from flows.steps.cubes.dask_cluster import dask_client, unreached
from products.errors import RequestError


@task(task_run_name="build-cells", retries=1, retry_delay_seconds=10, cache_policy=NO_CACHE)
def build_cells(settings: Settings, batch: Batch) -> list[Outcome]:
    """One batch of cells as a Prefect task."""
    return build_batch(settings, batch)


def _with_progress_bar(runner: RunBatches) -> RunBatches:
    def run(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        total, n_done, move = sum(len(batch.cells) for batch in work), 0, progress_bar("build-progress", "cells built")
        for outcomes in runner(settings, work):
            n_done += len(outcomes)
            move(n_done / total)
            yield outcomes
        move(1.0)

    return run


def on_dask_workers(dask: str) -> RunBatches:
    """Batches as Prefect tasks on the workers of a Dask cluster, by Prefect's task runner; one whose workers keep dying is failed.

    The runner leaves the task of such a batch running in Prefect's eyes (PrefectHQ/prefect 21638): it is marked as crashed here.
    """

    def run(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        if not work:
            return
        with dask_client(dask, settings, *demands(work)) as client:
            api = str(get_current_settings().api.url)
            for name, cause in client.run(unreached, api).items():
                if cause:
                    raise RequestError(
                        f"the Dask worker {name} does not reach the Prefect API at {api} ({cause}): "
                        "set PREFECT_API_URL to an address that every worker reaches, or run neocube build without it"
                    )
            with DaskTaskRunner(address=client.scheduler.address) as runner:
                waiting = deque(runner.submit(build_cells, {"settings": settings, "batch": batch}) for batch in work)
                for batch in work:
                    future = waiting.popleft()
                    yield survived(batch, future.result, partial(mark_crashed, future.task_run_id))

    return run


def mark_crashed(task_run: UUID, cause: str) -> None:
    """End the run of a task whose workers died, where the server has heard of it."""
    with suppress(ObjectNotFound), get_client(sync_client=True) as api:
        api.set_task_run_state(task_run, Crashed(message=cause), force=True)


@flow(name="build-cube", flow_run_name="build-{recipe}-{area}-{period}")
def build_cube(
    recipe: str, area: str, period: str, device: Device = "auto", workers: int = 1, provisional: bool = False,
    dask: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Build the cells of a recipe that are missing or stale, and assemble the cube; WorkFailed where a cell failed.

    With several `workers` the batches are no tasks and are not tried again: the next run does what is missing. With `dask`, the address of a scheduler
    or a cluster to start (a name in deployments/clusters, or a YAML file like those), each batch is a task on a worker; without a Prefect server, work that
    Prefect does not see.
    """

    def as_tasks(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        for batch in work:
            yield build_cells(settings, batch)

    runner = side_by_side(workers, dask) or as_tasks
    if dask and get_current_settings().api.url:
        runner = on_dask_workers(dask)
    report = build(recipe, area, period, device, workers, provisional, dask, run_batches=_with_progress_bar(runner))
    leave_build(report, get_settings())
    end_failed(report, cell_causes(report))
    if not in_subflow_run():
        announce_cube(report, recipe, area, period)
    return report
