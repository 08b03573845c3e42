"""Clusters by name: what deployments/clusters say is what the classes take, and a wrong file is refused with its line."""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from datacube_config.settings import Settings
from flows.build_here import build
from flows.steps.cubes.dask_files import CLASSES, CLUSTERS, ClusterFile, is_address, read_cluster, started
from products.errors import RequestError

AREA, YEAR = "demo", "2020"


def module_of(kind: str, package: str) -> ModuleType:
    """The module of a kind; the test is left out where the package is not installed."""
    try:
        return importlib.import_module(CLASSES[kind][0])
    except ModuleNotFoundError:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(
    ("dask", "expected"),
    [("tcp://10.0.0.1:8786", True), ("tls://head:8786", True), ("head:8786", True), ("slurm", False), ("our/slurm.yaml", False)],
)  # fmt: skip
def test_an_address_is_told_from_a_name(dask: str, expected: bool) -> None:
    assert is_address(dask) == expected


def test_every_kind_has_its_file_and_every_worker_one_thread() -> None:
    found = {path.stem: read_cluster(path.stem) for path in CLUSTERS.glob("*.yaml")}
    assert {name: cluster.kind for name, cluster in found.items()} == {kind: kind for kind in CLASSES}
    for kind in ("local", "cuda"):
        assert found[kind].options["threads_per_worker"] == 1
    assert found["slurm"].options["cores"] == found["slurm"].options["processes"] == 1
    assert "--nthreads 1" in found["kubernetes"].options["worker_command"]


def test_the_options_of_a_local_cluster_are_its_own() -> None:
    known = inspect.signature(module_of("local", "distributed").LocalCluster).parameters
    assert set(read_cluster("local").options) <= set(known)


def test_the_options_of_a_cuda_cluster_are_its_own() -> None:
    known = set(inspect.signature(module_of("cuda", "dask-cuda").LocalCUDACluster).parameters)
    known |= set(inspect.signature(module_of("local", "distributed").LocalCluster).parameters)
    assert set(read_cluster("cuda").options) <= known


def test_the_slurm_job_is_one_worker_of_one_thread_with_a_gpu_and_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of("slurm", "dask-jobqueue")
    monkeypatch.chdir(tmp_path)
    job = module.SLURMCluster.job_cls("tcp://head:8786", name="neocube-0", **read_cluster("slurm").options)
    lines = job.job_script().splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert {"-p gpu", "-n 1", "--cpus-per-task=8", "--mem=60G", "-t 04:00:00", "--gres=gpu:v100:1"} <= asked
    assert "tcp://head:8786" in lines[-1] and "--nthreads 1" in lines[-1] and "--nworkers 1" not in lines[-1]


def test_the_kubernetes_cluster_is_a_resource_of_the_operator() -> None:
    module_of("kubernetes", "dask-kubernetes")
    make_cluster_spec = importlib.import_module("dask_kubernetes.operator").make_cluster_spec
    cluster = read_cluster("kubernetes")
    spec = make_cluster_spec(n_workers=cluster.workers, **cluster.options)
    worker = spec["spec"]["worker"]
    (container,) = worker["spec"]["containers"]
    assert (spec["kind"], worker["replicas"], container["image"]) == ("DaskCluster", 4, cluster.options["image"])
    assert container["args"][:3] == ["dask-worker", "--nthreads", "1"]
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}
    assert container["env"] == [{"name": "NEOCUBE_DECODE_THREADS", "value": "8"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: slurm\nworker: 3\n", r"mine.yaml, line 2: worker: Extra inputs are not permitted"),
        ("kind: pbs\n", r"mine.yaml, line 1: kind: Input should be 'local', 'cuda', 'slurm' or 'kubernetes'"),
        ("kind: local\nworkers: 0\n", r"mine.yaml, line 2: workers: Input should be greater than or equal to 1"),
        ("kind: [\n", r"mine.yaml is not readable YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=said):
        read_cluster(str(path))


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(
        RequestError,
        match=r"unknown cluster 'slurn': expected a scheduler such as tcp://HOST:8786, a YAML file, or one of slurm",
    ):
        read_cluster("slurn")


def test_options_that_the_class_refuses_are_said() -> None:
    cluster = ClusterFile(kind="local", options={"worker_class": 3})
    said = "LocalCluster of distributed does not start with the options of the cluster: TypeError: "
    with pytest.raises(RequestError, match=said), started(cluster):
        pass


@pytest.mark.parametrize("kind", ["cuda", "slurm", "kubernetes"])
def test_a_kind_whose_package_is_missing_says_what_to_install(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, CLASSES[kind][0], None)
    with (
        pytest.raises(RequestError, match=f"a cluster of the kind {kind} needs dask-"),
        started(ClusterFile(kind=kind)),
    ):
        pass


@pytest.mark.full
def test_a_named_cluster_is_started_and_builds_what_one_process_builds(
    ingested_settings: Settings, small_recipe: Path, tmp_path: Path
) -> None:
    path = tmp_path / "here.yaml"
    path.write_text(
        "kind: local\nworkers: 1\noptions: {processes: false, threads_per_worker: 1, dashboard_address: '127.0.0.1:0'}\n"
    )
    report = build(str(small_recipe), AREA, YEAR, dask=str(path))
    assert report["failed"] == []
    assert report["built"] >= 4
