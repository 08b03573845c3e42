"""A real Slurm on this host, as Debian installs it: munged, slurmctld and slurmd with one node of pretended cores and GPUs, gone afterwards."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.steps.service.prefect_processes import free_port
from tests.waiting import wait_until

PATIENCE_S = 60.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=2
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=131072 Gres=gpu:v100:2 State=UNKNOWN
PartitionName=gpu Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Job:
    """A job as `scontrol` tells of it."""

    facts: Mapping[str, str]

    @property
    def state(self) -> str:
        """Its state, such as COMPLETED."""
        return self.facts["JobState"]

    @property
    def log(self) -> str:
        """What it wrote to its log."""
        return Path(self.facts["StdOut"]).read_text()


@dataclass(frozen=True)
class Slurm:
    """A cluster that runs: the variables with which Slurm's commands reach it."""

    environment: Mapping[str, str]

    def run(self, *command: str, cwd: Path) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, number: str, cwd: Path) -> Job:
        """A job as it is now."""
        shown = self.run("scontrol", "--oneliner", "show", "job", number, cwd=cwd)
        return Job(dict(word.split("=", 1) for word in shown.split() if "=" in word))

    def ended(self, number: str, cwd: Path, patience_s: float = PATIENCE_S) -> Job:
        """A job once it has ended."""
        end = time.monotonic() + patience_s
        while (job := self.job(number, cwd)).state not in ENDED:
            assert time.monotonic() < end, f"waited {patience_s:.0f} s for job {number}: {job.facts}"
            time.sleep(0.1)
        return job


@contextmanager
def slurm() -> Iterator[Slurm]:
    """A Slurm with a partition `gpu` of one node, for the block; the test is left out where Slurm is not installed."""
    programs = {
        name: shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("munged", "slurmctld", "slurmd", "sbatch")
    }
    if missing := [name for name, path in programs.items() if path is None]:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: apt-get install slurmctld slurmd slurm-client munge)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neocube-slurm-", dir="/tmp")))
        folder.chmod(0o755)
        environment = _configured(folder)
        key, here = folder / "munge.key", str(folder)
        munge = [
            f"--{name}={here}/munge.{name.partition('-')[0]}"
            for name in ("socket", "pid-file", "log-file", "seed-file")
        ]
        for command in (
            ["munged", "--foreground", "--force", f"--key-file={key}", *munge],
            ["slurmctld", "-D", "-i"],
            ["slurmd", "-D", "-N", "node1"],
        ):
            _until_it_ends(stack, [str(programs[command[0]]), *command[1:]], environment, folder)
        cluster = Slurm(environment)
        _wait_for_node(cluster, folder)
        yield cluster


def _configured(folder: Path) -> dict[str, str]:
    """The environment of a new cluster whose files lie in a folder."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(64))
    configuration = CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0], user=getpass.getuser(), folder=folder,
        controller_port=free_port(), node_port=free_port(),
    )  # fmt: skip
    (folder / "slurm.conf").write_text(configuration)
    (folder / "gres.conf").write_text("NodeName=node1 Name=gpu Type=v100 File=/dev/null,/dev/zero\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
    return {**kept, "SLURM_CONF": str(folder / "slurm.conf")}


def _until_it_ends(stack: ExitStack, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
    """A daemon for as long as the stack lasts, its output beside its files."""
    log = stack.enter_context((folder / f"{Path(command[0]).name}.log").open("wb"))
    process = stack.enter_context(subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log))
    stack.callback(process.kill)
    stack.callback(process.terminate)


def _wait_for_node(cluster: Slurm, folder: Path) -> None:
    """Return once the node takes jobs; what the daemons said where it does not."""

    def shown() -> str:
        command = ["sinfo", "--noheader", "--format=%T"]
        told = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=False)
        return told.stdout.strip() + told.stderr

    try:
        wait_until(lambda: shown() == "idle", "the node", 0.2, PATIENCE_S)
    except AssertionError as error:
        logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(folder.glob("*.log")))
        raise AssertionError(f"{error}: {shown()}\n{logs}") from error
