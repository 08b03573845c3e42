"""What the GPUs of this machine do now, by the program of their driver."""

import csv
import subprocess
from collections.abc import Iterator

from flows.steps.service.service_metrics import Reading

# `nvidia-smi --help-query-gpu`: percent, MiB, MiB; [N/A] where the device does not say
ASKED = {
    "utilization.gpu": ("neocube_gpu_utilization_ratio", 0.01),
    "memory.used": ("neocube_gpu_memory_used_bytes", float(2**20)),
    "memory.total": ("neocube_gpu_memory_size_bytes", float(2**20)),
}
TIMEOUT_S = 10
# return values in the manual of nvidia-smi: nothing was found; the driver is not loaded
NO_GPU = (6, 9)


def gpu_readings(program: str) -> list[Reading]:
    """Use and memory of each GPU that `program` (nvidia-smi) lists, maybe none; OSError with its words if it fails."""
    query = [program, f"--query-gpu=index,{','.join(ASKED)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except subprocess.CalledProcessError as error:
        if error.returncode in NO_GPU:
            return []
        raise OSError(f"{program} failed: {error.stdout.strip() or error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{program} did not end in {TIMEOUT_S} s") from error
    return list(_readings(done.stdout))


def _readings(table: str) -> Iterator[Reading]:
    for index, *values in csv.reader(table.splitlines(), skipinitialspace=True):
        for (metric, unit), value in zip(ASKED.values(), values, strict=True):
            if value != "[N/A]":
                yield Reading(metric, float(value) * unit, {"gpu": index})
