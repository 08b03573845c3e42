"""The GPU leaves of gap-filled series and of passes."""

import numpy as np
from numpy.typing import NDArray

from products.pixel.gpu_ordered_source import pass_source, series_source, series_table
from products.pixel.gpu_strips import Counts, Floats, Given, Say, run_strips
from products.pixel.series import Filling


def series_layers_gpu(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats, programs: NDArray[np.float64], filling: Filling,
    min_observations: int, memory_bytes: int | None = None, say: Say | None = None, threads: int = 1,
) -> Floats:  # fmt: skip
    """float32 (layer, y, x): `products.pixel.series.series_layers` on the current CUDA device, to the tolerances of docs/gpu.md."""
    n_steps, n_series = filling.n_steps, filling.n_steps * len(programs)
    bands = np.arange(block.shape[0])
    given = Given(block, causes, bands, gain, bias, series_table(filling), min_observations)
    source = series_source(programs, filling, max(1, block.shape[1]))
    layers = run_strips(source, given, n_series + n_steps, memory_bytes, say, threads)
    if not block.shape[1]:
        layers[n_series:] = 0
    return layers


def observed_gpu(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats, memory_bytes: int | None = None, say: Say | None = None,
    threads: int = 1,
) -> Floats:  # fmt: skip
    """float32 (band, y, x): `products.pixel.observe.observed` on the current CUDA device."""
    bands = np.arange(block.shape[0])
    given = Given(block, causes, bands, gain, bias, np.zeros(0))
    return run_strips(pass_source(len(bands), max(1, block.shape[1])), given, len(bands), memory_bytes, say, threads)
