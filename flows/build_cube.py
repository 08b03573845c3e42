"""The flow `build-cube`: build what is missing or stale of a features recipe, and assemble the cube."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import get_current_settings

from datacube_config.settings import Settings, get_settings
from flows.batch_runners import (
    Batch,
    Outcome,
    RunBatches,
    Submit,
    build_on_worker,
    dask_tasks,
    run_on_dask,
    side_by_side,
)
from flows.build_here import build
from flows.failed_work import cell_causes, end_failed
from flows.index_retry import outlasting
from flows.run_artifacts import in_subflow_run, leave_build, logged_flow, progress_bar
from flows.run_events import announce_cube
from flows.steps.service.prefect_processes import answers
from products.devices import DeviceChoice


@task(task_run_name="build-{batch.label}", retries=1, retry_delay_seconds=10, cache_policy=NO_CACHE)
def build_cells(settings: Settings, batch: Batch) -> list[Outcome]:
    """One batch of cells as a Prefect task."""
    return build_on_worker(settings, batch)


@contextmanager
def prefect_tasks(client: Any) -> Iterator[Submit]:  # noqa: ANN401, distributed.Client
    """What hands a batch to the workers of a client as a task of this run, by Prefect's Dask task runner; plainly where one of them has no Prefect API."""
    url = get_current_settings().api.url
    deaf = [worker for worker, hears in client.run(answers, url).items() if not hears] if url else ["any"]
    if deaf:
        get_run_logger().warning(
            f"the Dask worker {deaf[0]} does not reach the Prefect API at {url}: cells are built, but are no tasks of this run; "
            "set PREFECT_API_URL to an address that every worker reaches"
        )
        with dask_tasks(client) as submit:
            yield submit
        return
    from flows.dask_runner import task_runner  # loads distributed, which a build without a cluster does not need

    with task_runner(client.scheduler.address) as runner:
        yield lambda settings, batch: runner.submit(build_cells, {"settings": settings, "batch": batch})


def _with_progress_bar(runner: RunBatches) -> RunBatches:
    def run(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        total, n_done, move = sum(len(batch.cells) for batch in work), 0, progress_bar("build-progress", "cells built")
        for outcomes in runner(settings, work):
            n_done += len(outcomes)
            move(n_done / total)
            yield outcomes
        move(1.0)

    return run


@flow(name="build-cube", flow_run_name="build-{recipe}-{area}-{period}")
@logged_flow
@outlasting
def build_cube(
    recipe: str, area: str, period: str, device: DeviceChoice = "auto", workers: int = 1, provisional: bool = False,
    dask: str | None = None, max_stale: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Build the cells of a recipe that are missing or stale, and assemble the cube; WorkFailed where a cell failed.

    With several `workers` the batches are no tasks and are not tried again: the next run does what is missing. With `dask`, the address of a scheduler
    or a cluster to start (a name in deployments/clusters, or a YAML file like those), each cell is a task on one of its workers. Where more than the share
    `max_stale` of the cells is stale, nothing is built: an operator decides.
    """

    def as_tasks(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        for batch in work:
            yield build_cells(settings, batch)

    beside = side_by_side(workers, dask)
    runner = run_on_dask(dask, prefect_tasks) if dask else beside or as_tasks
    report = build(
        recipe, area, period, device, workers, provisional, dask, max_stale, run_batches=_with_progress_bar(runner)
    )
    leave_build(report, get_settings())
    end_failed(report, cell_causes(report))
    if not in_subflow_run():
        announce_cube(report, recipe, area, period)
    return report
