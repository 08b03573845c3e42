"""A real Slurm on this host: deployments/slurm runs neocube as a batch job with a GPU of the node, and a build starts workers as jobs of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.steps.cubes.dask_files import CLUSTERS
from flows.steps.ingesting.ingest_archive import ingest_archive
from tests.flows.slurm_cluster import Job, Slurm, slurm

AREA, YEAR = "demo", "2020"
SCRIPT = CLUSTERS.parent / "slurm" / "neocube.sbatch"
NO_INDEX = "expected an index server in NEOCUBE_INDEX_URL, or as index_url in settings.toml of NEOCUBE_HOME"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    """A Slurm of one node with 16 cores, 128 GB and two GPUs, as it says."""
    with slurm() as running:
        yield running


def submitted(cluster: Slurm, folder: Path, settings: Mapping[str, str], *command: str, patience_s: float = 60) -> Job:
    """The job of `sbatch neocube.sbatch COMMAND`, ended; of NEOCUBE_* it has these settings only."""
    kept = {name: value for name, value in cluster.environment.items() if not name.startswith("NEOCUBE_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    environment = {**kept, **settings, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    job = Slurm(environment).run("sbatch", "--parsable", str(SCRIPT), *command, cwd=folder).strip()
    return cluster.ended(job, folder, patience_s)


def last_document(job: Job) -> dict[str, object]:
    """The JSON document that the command printed."""
    found: dict[str, object] = json.loads(job.log[job.log.index("{") :])
    return found


def test_a_batch_job_has_a_gpu_and_works_with_the_cores_and_the_memory_that_it_was_given(
    cluster: Slurm, tmp_path: Path
) -> None:
    settings = {"NEOCUBE_HOME": str(tmp_path / "home"), "NEOCUBE_INDEX_URL": "postgresql://neocube@db.invalid/neocube"}
    job = submitted(cluster, tmp_path, settings, "settings", "--json")
    assert job.state == "COMPLETED", job.log
    assert (job.facts["Partition"], job.facts["NumCPUs"], job.facts["TresPerNode"]) == ("gpu", "8", "gres:gpu:v100:1")
    told = {name: each["value"] for name, each in json.loads(job.log).items()}
    assert (told["decode_threads"], told["memory_limit_bytes"]) == (8, 64 * 2**30 * 9 // 10)


@pytest.mark.parametrize("home", ["home", ""])
def test_a_batch_job_without_an_index_server_is_refused(home: str, cluster: Slurm, tmp_path: Path) -> None:
    job = submitted(cluster, tmp_path, {"NEOCUBE_HOME": home}, "status")
    assert (job.state, job.facts["ExitCode"]) == ("FAILED", "2:0")
    assert NO_INDEX in job.log


def test_an_index_server_may_stand_in_the_file_of_the_home(cluster: Slurm, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('index_url = "postgresql://neocube@127.0.0.1:1/neocube"\n')
    job = submitted(cluster, tmp_path, {"NEOCUBE_HOME": str(tmp_path)}, "scenes")
    assert (job.state, job.facts["ExitCode"]) == ("FAILED", "2:0")
    assert "127.0.0.1" in job.log and NO_INDEX not in job.log


@pytest.mark.full
def test_a_batch_job_builds_a_cube_and_sent_again_finds_it(
    cluster: Slurm, postgis_settings: Settings, small_archive: Path, small_recipe: Path, tmp_path: Path
) -> None:
    assert postgis_settings.index_url is not None
    with open_index(postgis_settings) as index:
        ingest_archive(index, str(small_archive))
    settings = {
        "NEOCUBE_HOME": str(postgis_settings.home),
        "NEOCUBE_INDEX_URL": postgis_settings.index_url.get_secret_value(),
    }
    asked = ("build", str(small_recipe), "--area", AREA, "--period", YEAR, "--device", "cpu", "--json")
    first = submitted(cluster, tmp_path, settings, *asked, patience_s=300)
    assert first.state == "COMPLETED", first.log
    again = submitted(cluster, tmp_path, settings, *asked, patience_s=300)
    reports = last_document(first), last_document(again)
    built = reports[0]["built"]
    assert isinstance(built, int) and built >= 4
    assert [(each["built"], each["fresh"], each["failed"]) for each in reports] == [(built, 0, []), (0, built, [])]


@pytest.mark.full
def test_a_build_submits_its_workers_as_jobs_and_cancels_them(
    cluster: Slurm, ingested_settings: Settings, small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "slurm.yaml"
    text = (CLUSTERS / "slurm.yaml").read_text()
    path.write_text(text.replace("workers: 8", "workers: 2").replace("wait_s: 3600", "wait_s: 90"))
    report = build(str(small_recipe), AREA, YEAR, dask=str(path))
    assert report["failed"] == []
    assert report["built"] >= 4
    shown = cluster.run("scontrol", "--oneliner", "show", "jobs", cwd=tmp_path)
    workers = [line for line in shown.splitlines() if "JobName=dask-worker" in line]
    assert len(workers) == 2
    assert all("TresPerNode=gres:gpu:v100:1" in line for line in workers)
    for line in workers:
        number = line.split()[0].removeprefix("JobId=")
        assert cluster.ended(number, tmp_path).state in ("CANCELLED", "COMPLETED")


def test_the_script_is_one_that_bash_can_read() -> None:
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
