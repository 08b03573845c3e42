"""Every figure of the service, read now from the index, the store and Prefect's API; a part that does not answer says so."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
from prometheus_client.parser import text_string_to_metric_families

from datacube_config.connection import open_index
from datacube_config.errors import IndexLost, IndexUnavailable, StorageUnavailable
from datacube_config.settings import Settings
from flows.steps.service.gpu_figures import gpu_readings
from flows.steps.service.index_figures import CORE_SECONDS, index_readings, newest_cells
from flows.steps.service.metrics import metrics_path
from flows.steps.service.prefect_figures import PrefectAccess, prefect_readings
from flows.steps.service.service_metrics import METRICS, Reading
from flows.steps.storage import Storage, open_storage

SILENT = (IndexUnavailable, IndexLost, StorageUnavailable, OSError, httpx.HTTPError)


@dataclass(frozen=True, slots=True)
class PartRead:
    """What a part said: its readings, or why it did not answer."""

    part: str
    readings: tuple[Reading, ...]
    silence: str = ""


def read_service(settings: Settings, prefect: PrefectAccess | None, *, writes: bool = False) -> list[PartRead]:
    """Index, storage, Prefect where an API is configured, GPUs where there are, and reconciliations of this home: whether each answered and how long that took.

    With `writes` the store answers only if it can be written to.
    """
    cells: dict[str, str] = {}

    def index_part() -> list[Reading]:
        with open_index(settings) as index:
            cells.update(newest_cells(index))
            readings = index_readings(index)
        return [*readings, *cost_readings(readings, settings.price_per_core_hour, settings.price_currency)]

    def storage_part() -> list[Reading]:
        storage = open_storage(settings)
        if writes:
            storage.check_writable()
        return storage_readings(storage, cells)

    parts: dict[str, Callable[[], list[Reading]]] = {"index": index_part, "storage": storage_part}
    if prefect:
        parts["prefect"] = lambda: prefect_readings(prefect, datetime.now(UTC))
    if program := shutil.which("nvidia-smi"):
        parts["gpu"] = partial(gpu_readings, program)
    if (reconciled := metrics_path(settings.home, "reconcile")).is_file():
        parts["reconcile"] = partial(reconcile_readings, reconciled)
    return [_read(part, ask) for part, ask in parts.items()]


def cost_readings(readings: Iterable[Reading], price_per_core_hour: float, currency: str) -> Iterator[Reading]:
    """The core time of cells at a price."""
    for each in readings:
        if each.metric == CORE_SECONDS:
            labels = {**each.labels, "currency": currency}
            yield Reading("neocube_cells_last_day_cost", each.value / 3600 * price_per_core_hour, labels)


def storage_readings(storage: Storage, cells: dict[str, str]) -> list[Reading]:
    """Room where the store is a folder, and the bytes of some cells by product; StorageUnavailable if it cannot be read. Nothing is written.

    Without a cell the folder may not be made yet: the room is that of the folder above.
    """
    is_new = storage.is_local and not cells and not Path(storage.root).exists()
    if not is_new:
        storage.check_readable()
    readings = []
    if storage.is_local:
        disk = shutil.disk_usage(Path(storage.root).parent if is_new else storage.root)
        readings = [Reading("neocube_storage_free_bytes", disk.free), Reading("neocube_storage_size_bytes", disk.total)]
    if cells:
        from flows.steps.cubes.cells import cell_path  # brings numba and zarr, which take seconds to load
    for product, cell in cells.items():
        size = storage.filesystem.du(cell_path(storage, product, UUID(cell)))
        readings.append(Reading("neocube_cell_stored_bytes", float(size), {"product": product}))
    return readings


def reconcile_readings(path: Path) -> list[Reading]:
    """The metrics of the service in the file of the reconciliations; OSError where it has something else in it."""
    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
        found = (each for family in families for each in family.samples if each.name in METRICS)
        return [Reading(each.name, each.value, each.labels) for each in found]
    except ValueError as error:
        raise OSError(f"cannot read {path}: {error}: delete it, the next `neocube reconcile` writes it") from error


def _read(part: str, ask: Callable[[], list[Reading]]) -> PartRead:
    labels, started = {"part": part}, time.monotonic()
    try:
        readings, silence = ask(), ""
    except SILENT as error:
        readings, silence = [], " ".join(str(error).split()) or type(error).__name__
    took = Reading("neocube_read_seconds", time.monotonic() - started, labels)
    return PartRead(part, (Reading("neocube_up", float(not silence), labels), took, *readings), silence)
