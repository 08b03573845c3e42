"""Whether the parts that neocube stands on answer."""

import shutil
import subprocess
from typing import Any

from sqlalchemy import func, select

from datacube_config import schema
from datacube_config.connection import Index, open_index
from datacube_config.errors import IndexUnavailable, StorageUnavailable
from datacube_config.settings import Settings
from flows.steps.storage import open_storage


def check_health(settings: Settings) -> dict[str, Any]:
    """`ok`, and `checks`: a list of `name`, `ok`, `found` for the index, what it holds, the storage and the GPU."""
    checks = [*_index_checks(settings), _storage_check(settings), _gpu_check()]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def _index_checks(settings: Settings) -> list[dict[str, Any]]:
    try:
        with open_index(settings) as index:
            held = {
                "scenes": _count(index, "neocube_scene"),
                "cells": _count(index, "neocube_cell"),
                "quarantine": _quarantined(index),
            }
            return [
                {"name": "index", "ok": True, "found": f"{index.driver} driver"},
                *({"name": name, "ok": True, "found": count} for name, count in held.items()),
            ]
    except IndexUnavailable as error:
        return [{"name": "index", "ok": False, "found": str(error)}]


def _count(index: Index, metadata_type: str) -> int:
    """Active datasets of all products of a metadata type."""
    datasets, products = index.dc.index.datasets, index.dc.index.products
    names = [product.name for product in products.get_all() if product.metadata_type.name == metadata_type]
    return sum(datasets.count(product=name) for name in names)


def _quarantined(index: Index) -> int:
    with index.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(schema.quarantine)) or 0


def _storage_check(settings: Settings) -> dict[str, Any]:
    """Whether an object can be written below the store, and on a folder how much more fits."""
    storage = open_storage(settings)
    try:
        storage.check_writable()
    except StorageUnavailable as error:
        return {"name": "storage", "ok": False, "found": str(error)}
    free = f", {shutil.disk_usage(storage.root).free / 1e9:.1f} GB free" if storage.is_local else ""
    return {"name": "storage", "ok": True, "found": f"{storage.root} can be written{free}"}


def _gpu_check() -> dict[str, Any]:
    """The GPUs that the driver lists. None is fine: every kernel has a CPU twin."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {"name": "gpu", "ok": True, "found": "none: kernels run on the CPU"}
    listed = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, timeout=30, check=False)
    return {"name": "gpu", "ok": True, "found": listed.stdout.strip() or "none: kernels run on the CPU"}
