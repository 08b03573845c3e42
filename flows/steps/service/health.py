"""Whether the parts that neocube stands on answer, and every figure of the service."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import httpx

from datacube_config.settings import Settings
from flows.steps.service.prefect_figures import PrefectAccess, failed_runs
from flows.steps.service.service_metrics import Reading
from flows.steps.service.service_readings import PartRead, read_service
from flows.steps.storage import open_storage

MOST_FAILURES = 5
NO_GPU = "none: kernels run on the CPU"


def check_health(settings: Settings, prefect: PrefectAccess | None = None) -> dict[str, Any]:
    """`ok`; `checks`: a list of `name`, `ok`, `found` for index, store, Prefect and GPU, and of counts; `figures`: what `neocube metrics` tells;
    `failures`: the flow runs that failed last.
    """
    parts = read_service(settings, prefect, writes=True)
    readings = [reading for part in parts for reading in part.readings]
    checks = [check for part in parts for check in _checks(settings, prefect, part)]
    if not prefect:
        checks.append(
            {"name": "prefect", "ok": True, "found": "no API is set: flows run in the command that starts them"}
        )
    if not any(part.part == "gpu" for part in parts):
        checks.append({"name": "gpu", "ok": True, "found": NO_GPU})
    return {
        "ok": all(check["ok"] for check in checks),
        "checks": checks,
        "figures": [asdict(reading) for reading in readings],
        "failures": _failures(prefect),
    }


def _checks(settings: Settings, prefect: PrefectAccess | None, part: PartRead) -> list[dict[str, Any]]:
    if part.silence:
        return [{"name": part.part, "ok": False, "found": part.silence}]
    found = {
        "index": f"{settings.index_driver} driver",
        "storage": f"{open_storage(settings).root} can be written{_room(part.readings)}",
        "prefect": prefect.url if prefect else "",
        "gpu": ", ".join(each.labels["gpu"] for each in part.readings if each.metric == "neocube_gpu_memory_size_bytes")
        or NO_GPU,
        "reconcile": f"{_total(part.readings, 'neocube_reconcile_alarms')} thresholds are passed",
    }
    said: dict[str, Any] = {part.part: found[part.part]}
    if part.part == "index":
        models = _total(part.readings, "neocube_models", "active")
        said["scenes"] = _total(part.readings, "neocube_scenes", "active")
        said["cells"] = _total(part.readings, "neocube_cells", "active") + models
        said["quarantine"] = _total(part.readings, "neocube_quarantine_items")
    return [{"name": name, "ok": True, "found": what} for name, what in said.items()]


def _total(readings: Sequence[Reading], metric: str, state: str | None = None) -> int:
    chosen = (each for each in readings if each.metric == metric and each.labels.get("state") == state)
    return int(sum(each.value for each in chosen))


def _room(readings: Sequence[Reading]) -> str:
    """On a folder how much more fits."""
    return next(
        (f", {each.value / 1e9:.1f} GB free" for each in readings if each.metric == "neocube_storage_free_bytes"), ""
    )


def _failures(prefect: PrefectAccess | None) -> list[dict[str, str]]:
    """None where the API does not answer: its check says so."""
    try:
        return failed_runs(prefect, MOST_FAILURES) if prefect else []
    except httpx.HTTPError:
        return []
