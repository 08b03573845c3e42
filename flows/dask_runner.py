"""Prefect's Dask task runner over a cluster by name, for `build-cube` and for flows of one's own."""

from prefect_dask.task_runners import DaskTaskRunner

from flows.steps.cubes.dask_files import cluster_class, cluster_options, is_address, read_cluster


def task_runner(dask: str) -> DaskTaskRunner:
    """The runner over a scheduler that runs, or over a cluster that starts with the flow: a name in deployments/clusters or a YAML file like those."""
    if is_address(dask):
        return DaskTaskRunner(address=dask)
    cluster = read_cluster(dask)
    return DaskTaskRunner(cluster_class=cluster_class(cluster), cluster_kwargs=cluster_options(cluster))
