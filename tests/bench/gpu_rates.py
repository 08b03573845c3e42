"""What the GPU leaf takes: bus, each kernel against reading the integers once from device memory, the whole call, and the CPU leaf beside it.

`python tests/bench/gpu_rates.py [--size 1024] [--dates 50]` prints one JSON document; it needs a CUDA device and cupy.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import cupy
import cupyx
import numpy as np

from products.feature_spec import KNOWN_BANDS
from products.formula import parse_formula
from products.pixel.gpu_source import OPTIONS, temporal_source
from products.pixel.gpu_strips import blocks
from products.pixel.gpu_temporal import temporal_features_gpu
from products.pixel.temporal import temporal_features

ROUNDS, CLOUD_PX = 7, 32
BANDS = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir_narrow", "swir1", "swir2")
INDICES = (
    "(nir - red) / (nir + red)",
    "(green - swir1) / (green + swir1)",
    "(nir - green) / (swir1 - green)",
)  # NDVI, MNDWI, MVI
QUANTILES = (0.1, 0.5, 0.9)
N_FEATURES = len(BANDS) + 3 + len(INDICES) * len(QUANTILES)


def main() -> None:
    """Print the rates of this device as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=1024, help="pixels a side")
    options.add_argument("--dates", type=int, default=50)
    asked = options.parse_args()
    if not cupy.cuda.is_available():
        sys.exit("gpu_rates: no CUDA device: run it on a machine with one")
    given = _observations(asked.dates, asked.size)
    found = {**_machine(), "integers_bytes": given[0].nbytes + given[1].nbytes, **_bus(given), **_whole(given)}
    sys.stdout.write(json.dumps({**found, **_kernels(given)}, indent=2) + "\n")


def _observations(n_dates: int, size: int) -> tuple[Any, ...]:
    """Arguments of the leaves: plausible spectra with seasons and noise, a small patch, repeated; 40 % masked, in squares of CLOUD_PX."""
    random = np.random.default_rng(0)
    patch, whole = 128, -(-size // 128)
    season = np.sin(np.linspace(0, 2 * np.pi, n_dates))[:, None, None] * random.uniform(0, 800, (patch, patch))
    level = random.uniform(500, 4000, (len(BANDS), 1, patch, patch))
    numbers = level + season + random.normal(0, 150, (len(BANDS), n_dates, patch, patch)) + 1000
    block = np.tile(numbers.clip(1100, 65535).astype(np.uint16), (1, 1, whole, whole))[..., :size, :size]
    clouds = (random.random((n_dates, -(-size // CLOUD_PX), -(-size // CLOUD_PX))) < 0.4).astype(np.uint8) * 3
    causes = np.ascontiguousarray(clouds.repeat(CLOUD_PX, 1).repeat(CLOUD_PX, 2)[:, :size, :size])
    terms = [np.full((n_dates, len(BANDS)), term, np.float32) for term in (1e-4, -0.1)]
    reducers = np.tile(np.float32(QUANTILES), (len(INDICES), 1))
    return np.ascontiguousarray(block), causes, *terms, np.arange(len(BANDS)), True, _programs(), reducers, 1


def _programs() -> np.ndarray:
    formulas = [parse_formula(text, KNOWN_BANDS) for text in INDICES]
    table = np.full((len(formulas), max(len(formula.operations) for formula in formulas) + 1, 2), -1.0)
    for i, formula in enumerate(formulas):
        for step, (operation, operand) in enumerate(formula.operations):
            table[i, step] = operation, BANDS.index(formula.bands[int(operand)]) if operation == 0 else operand
    return table


def _machine() -> dict[str, Any]:
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    return {"device": name, "cupy": cupy.__version__, "cpus": len(os.sched_getaffinity(0))}


def _bus(given: tuple[Any, ...]) -> dict[str, Any]:
    """GB/s from pinned memory to the device and back."""
    size = min(given[0].nbytes, 2**29)
    host, device = cupyx.empty_pinned(size, np.uint8), cupy.empty(size, np.uint8)
    stream = cupy.cuda.Stream(non_blocking=True)
    host[:] = 1

    def up() -> None:
        device.set(host, stream=stream)
        stream.synchronize()

    def down() -> None:
        device.get(stream=stream, out=host, blocking=False)
        stream.synchronize()

    return {"upload_gb_per_s": size / _seconds(up) / 1e9, "download_gb_per_s": size / _seconds(down) / 1e9}


def _whole(given: tuple[Any, ...]) -> dict[str, Any]:
    """Seconds of a call from host arrays to host arrays, the first with the compiler, and of the CPU leaf; and how far they differ."""
    started = time.perf_counter()
    threads = len(os.sched_getaffinity(0))
    made = temporal_features_gpu(*given, threads=threads)
    first = time.perf_counter() - started
    rows = slice(0, min(given[0].shape[2], 256))
    crop = (np.ascontiguousarray(given[0][:, :, rows]), np.ascontiguousarray(given[1][:, rows]), *given[2:])
    cpu = temporal_features(*crop, threads=threads)
    share = given[0].shape[2] / (rows.stop - rows.start)
    return {
        "whole_s": _seconds(lambda: temporal_features_gpu(*given, threads=threads)),
        "whole_one_thread_s": _seconds(lambda: temporal_features_gpu(*given), 3),
        "first_call_s": first,
        "cpu_leaf_s": share * _seconds(lambda: temporal_features(*crop, threads=threads), 3),
        "largest_difference_of_leaves": float(np.nanmax(np.abs(made[:, rows] - cpu) / np.fmax(1, np.abs(cpu)))),
    }


def _kernels(given: tuple[Any, ...]) -> dict[str, Any]:
    """Milliseconds of each kernel on resident integers, and their sum over the time of reading these once."""
    block, causes, gain, bias, bands, with_mads, programs, reducers, least = given
    n_pixels, n_scenes = block.shape[2] * block.shape[3], block.shape[1]
    source = temporal_source(len(bands), with_mads, programs, reducers, n_scenes)
    module = cupy.RawModule(code=source.text, options=OPTIONS)
    terms = cupy.asarray(np.stack([gain, bias], axis=-1))
    numbers, fates, out = cupy.asarray(block), cupy.asarray(causes), cupy.empty(N_FEATURES * n_pixels, np.float32)
    nothing = cupy.empty(0, np.float64)
    counts = (np.int32(block.shape[0]), np.int32(n_scenes), np.int64(n_pixels), np.int32(least))
    arguments = (numbers, fates, terms, out, nothing, nothing, *counts)
    launches = {}
    for kernel in source.kernels:
        function = module.get_function(kernel.name)
        shape = ((blocks(kernel, n_pixels),), (kernel.threads,), arguments)
        launches[kernel.name] = lambda function=function, shape=shape: function(*shape)
    took = _device_ms(launches)
    del out
    copy = cupy.empty_like(numbers)
    bandwidth = 2 * numbers.nbytes / _device_ms({"copy": lambda: cupy.copyto(copy, numbers)})["copy"] / 1e6
    floor_ms = (numbers.nbytes + fates.nbytes + 4 * N_FEATURES * n_pixels) / bandwidth / 1e6
    return {
        "kernels_ms": took,
        "device_copy_gb_per_s": bandwidth,
        "floor_ms": floor_ms,
        "kernels_over_floor": sum(took.values()) / floor_ms,
        "limit_kernels_over_floor": 5,
    }


def _seconds(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median of some rounds, after one that does not count."""
    run()
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def _device_ms(launches: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median of some rounds in the device's own clock; each round runs all, in their order, because some leave work to others."""
    took: dict[str, list[float]] = {name: [] for name in launches}
    for _ in range(1 + ROUNDS):
        marks = [cupy.cuda.Event() for _ in range(len(launches) + 1)]
        marks[0].record()
        for run, mark in zip(launches.values(), marks[1:], strict=True):
            run()
            mark.record()
        marks[-1].synchronize()
        for name, first, last in zip(launches, marks[:-1], marks[1:], strict=True):
            took[name].append(cupy.cuda.get_elapsed_time(first, last))
    return {name: statistics.median(each[1:]) for name, each in took.items()}


if __name__ == "__main__":
    main()
