"""Dask clusters by name: a YAML file says of which kind, how many workers, and what their class is given."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datacube_config.errors import SettingsError
from datacube_config.lined_yaml import read_lined
from products.errors import RequestError

CLUSTERS = Path(__file__).parents[3] / "deployments" / "clusters"
CLASSES = {
    "local": ("distributed", "LocalCluster", "distributed"),
    "cuda": ("dask_cuda", "LocalCUDACluster", "dask-cuda: the extras gpu-cu12 and gpu-cu13"),
    "slurm": ("dask_jobqueue", "SLURMCluster", "dask-jobqueue: the extra cluster"),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster", "dask-kubernetes: pip install dask-kubernetes"),
}


class ClusterFile(BaseModel):
    """A cluster to start: `options` are those of the class of its kind, `wait_s` how long the first worker may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["local", "cuda", "slurm", "kubernetes"]
    workers: int | None = Field(default=None, ge=1)
    wait_s: float = Field(default=60, gt=0)
    options: dict[str, Any] = {}


def is_address(dask: str) -> bool:
    """Whether it names a scheduler that runs, as tcp://HOST:8786 or HOST:8786."""
    return "://" in dask or dask.rpartition(":")[2].isdigit()


def read_cluster(name: str) -> ClusterFile:
    """The cluster of a name in deployments/clusters, or of a YAML file; RequestError for one that is unknown or wrong."""
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else CLUSTERS / f"{name}.yaml"
    if not path.is_file():
        known = sorted(each.stem for each in CLUSTERS.glob("*.yaml"))
        near = get_close_matches(name, known)
        raise RequestError(
            f"unknown cluster {name!r}: expected a scheduler such as tcp://HOST:8786, a YAML file, or one of {', '.join(near or known)}"
        )
    try:
        found = read_lined(path.read_text(encoding="utf-8"), path.name)
    except SettingsError as error:
        raise RequestError(str(error)) from error
    try:
        return ClusterFile.model_validate(found.content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(f"{path.name}, line {found.line(first['loc'])}: {place}: {first['msg']}") from error


def cluster_class(cluster: ClusterFile) -> Callable[..., Any]:
    """The class of a kind of cluster; RequestError where its package is not installed."""
    module, name, package = CLASSES[cluster.kind]
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise RequestError(f"a cluster of the kind {cluster.kind} needs {package} ({error})") from error
    return found


def cluster_options(cluster: ClusterFile) -> dict[str, Any]:
    """What the class of a cluster is given."""
    workers = {} if cluster.workers is None else {"n_workers": cluster.workers}
    return {**workers, **cluster.options}


@contextmanager
def started(cluster: ClusterFile) -> Iterator[str]:
    """The address of the scheduler of a cluster that runs for the block; RequestError where it cannot be made of its options."""
    made_of = cluster_class(cluster)
    try:
        running = made_of(**cluster_options(cluster))
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        module, name, _ = CLASSES[cluster.kind]
        raise RequestError(
            f"{name} of {module} does not start with the options of the cluster: {type(error).__name__}: {error}"
        ) from error
    with running:
        yield str(running.scheduler_address)
