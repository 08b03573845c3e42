"""Whole jobs on a GPU beside the CPU of the same machine: building the bench tile, mapping and training by a U-Net, learning a forest.

`python tests/bench/gpu_jobs.py FOLDER [build] [networks] [forest]` prints one JSON document as each part ends; it needs a CUDA device and cupy, for
networks the extra `deep`, for the forest cuml. `--rounds 3`.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupy
import numpy as np
from numpy.typing import NDArray
from rounds import ratio, take_turns
from tile_archive import write_tile_archive
from tile_build import FEATURES, ingested, new_recipe, tile_area

THREADS = len(os.sched_getaffinity(0))
HEAVY = """  - geomedian: {bands: [blue, green, red, nir, swir1, swir2]}
  - mads: {}
  - medoid: {bands: [red, nir, swir1]}
  - index: {names: [NDVI, MNDWI, MVI, NDMI, EVI], reduce: [p10, p25, p50, p75, p90, std, mean, iqr]}
  - harmonics: {index: NDVI, order: 2}
  - count: {}"""
TREES, DEPTH, ROWS, COLUMNS = 100, 16, 400_000, 20
Floats = NDArray[np.float32]


def main() -> None:
    """Print what each part took."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("parts", nargs="*", default=list(PARTS))
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    if not cupy.cuda.is_available():
        sys.exit("gpu_jobs: no CUDA device: run it on a machine with one")
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    for part in asked.parts:
        found = {"part": part, "device": name, "cpus": THREADS, **PARTS[part](asked.folder.absolute(), asked.rounds)}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _build(root: Path, rounds: int) -> dict[str, Any]:
    """The tile of `make bench`, and one with more statistics, from files to the published cube; memory beside what was planned."""
    ingested(root, write_tile_archive(root / "archive"))
    from flows.build_here import build
    from flows.plan_cells import plan

    free = cupy.cuda.runtime.memGetInfo()[0]
    before = _resident()
    found: dict[str, Any] = {}

    def run(name: str, features: str, device: str) -> Callable[[], None]:
        def once() -> None:
            report = build(new_recipe(root, features, name), tile_area(), "2020", device=device)
            assert (report["built"], report["failed"], report["device"]) == (1, [], device), report

        return once

    for name, features in (("bench_features", FEATURES), ("bench_statistics", HEAVY)):
        ways = {device: run(name, features, device) for device in ("cpu", "gpu")}
        for way in ways.values():
            way()
        found[name] = _told(take_turns(ways, rounds))
        planned = plan(new_recipe(root, features, name), tile_area(), "2020", "gpu").document(0, "EUR")
        found[name] |= {key: planned[key] for key in ("device_bytes", "host_bytes")}
    found["device_used_bytes"] = free - cupy.cuda.runtime.memGetInfo()[0]
    found["resident_before_bytes"], found["resident_peak_bytes"] = before, _resident("VmHWM")
    return found


def _networks(_root: Path, rounds: int) -> dict[str, Any]:
    """A window of 1024 pixels mapped by a U-Net, and the U-Net trained, on each device."""
    import torch
    from network_rates import FEATURES as N_FEATURES
    from network_rates import random_network

    torch.set_num_threads(THREADS)
    network = random_network()
    window = np.random.default_rng(1).normal(0.2, 0.1, (N_FEATURES, 1024, 1024)).astype(np.float32)
    asked = {device: network.on(device) for device in ("cpu", "gpu")}
    ways = {name: (lambda each=each: each.probabilities_of_window(window)) for name, each in asked.items()}
    said = {name: way() for name, way in ways.items()}
    apart = np.abs(said["cpu"] - said["gpu"])
    again = ways["gpu"]()
    return {
        "map_1024_px": _told(take_turns(ways, rounds)),
        "largest_difference": float(apart.max()),
        "share_of_other_classes": float((said["cpu"].argmax(0) != said["gpu"].argmax(0)).mean()),
        "same_bytes_again": bool(np.array_equal(again, said["gpu"])),
        "training": {name: _trained(*way) for name, way in _trainings().items()},
    }


def _trainings() -> dict[str, tuple[str, str, int]]:
    return {
        "cpu, float32": ("cpu", "32", 1),
        "gpu, float32": ("gpu", "32", 4),
        "gpu, bfloat16": ("gpu", "bf16-mixed", 4),
        "gpu, float16": ("gpu", "16-mixed", 4),
    }


def _trained(device: Any, precision: Any, epochs: int) -> dict[str, Any]:
    """Patches a second of a U-Net of patches of 128 pixels, the reader's own rate, and the losses."""
    from flows.steps.networks.train_network import TrainingData, train_network
    from flows.steps.networks.training_loop import TrainerOptions
    from products.learning.network_spec import UnetSpec
    from products.learning.training_ground import CellGround, PartOfCell

    side, patch = 1024, 128
    random = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(random.normal(0, 1, (side, side)), 0), 1)
    codes = (1 + (smooth > np.median(smooth))).astype(np.uint8)
    features = random.normal(0, 1, (18, side, side)).astype(np.float32)
    features[:3] += codes
    places = np.stack(np.meshgrid(*[np.arange(0, side - patch, 16)] * 2), -1).reshape(-1, 2).astype(np.int32)
    part = PartOfCell(places, codes)
    ground = [CellGround(part, PartOfCell(places[::50], codes), np.ones_like(codes, bool))]
    spec = UnetSpec(patch_px=patch, batch=32, patches=1024, epochs=epochs, patience=epochs, precision=precision)
    names = tuple(f"feature_{number}" for number in range(18))
    data = TrainingData("unet", spec, names, ("a", "b"), lambda _: features, ground, 0)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        _, told = train_network(data, TrainerOptions(Path(folder), device), "bench")
        seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 2),
        **{name: told[name] for name in ("patches_per_s", "reader_patches_per_s", "losses")},
    }


def _forest(_root: Path, rounds: int) -> dict[str, Any]:
    """A forest of 100 trees learned from 400,000 rows of 20 features, and how well it knows others."""
    from products.devices import Backend

    random = np.random.default_rng(0)
    shift = random.normal(0, 0.4, (4, COLUMNS))
    code = random.integers(1, 4, 2 * ROWS)
    values = (shift[code] + random.normal(size=(2 * ROWS, COLUMNS))).astype(np.float32)
    found: dict[str, Any] = {}
    backends = {"cpu": Backend("cpu", "bench"), "gpu": Backend("gpu", "bench")}

    def learned(backend: Backend) -> Any:
        columns = {f"f{n}": values[:ROWS, n] for n in range(COLUMNS)}
        forest = backend.random_forest(TREES, DEPTH, 2, 0, THREADS)
        table = backend.table({**columns, "code": code[:ROWS].astype(np.int32)})
        return backend.as_sklearn(forest.fit(table[list(columns)], table["code"]))

    for name, backend in backends.items():
        forest = learned(backend)
        rows = values[ROWS : ROWS + 50_000]
        found[f"agreement_{name}"] = float((forest.predict(rows) == code[ROWS : ROWS + 50_000]).mean())
    ways = {name: (lambda backend=backend: learned(backend)) for name, backend in backends.items()}
    return {"fit": _told(take_turns(ways, rounds)), **found}


def _told(seconds: dict[str, list[float]]) -> dict[str, Any]:
    return {
        **{f"{name}_s": [round(value, 3) for value in values] for name, values in seconds.items()},
        "cpu_over_gpu": ratio(seconds["cpu"], seconds["gpu"]),
    }


def _resident(name: str = "VmRSS") -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {"build": _build, "networks": _networks, "forest": _forest}


if __name__ == "__main__":
    main()
