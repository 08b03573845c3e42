"""The GPU leaf of the fused temporal features: the kernels of a recipe over strips of the block."""

import numpy as np
from numpy.typing import NDArray

from products.errors import RequestError
from products.pixel.gpu_ordered_source import ordered_table, with_ordered
from products.pixel.gpu_source import temporal_source
from products.pixel.gpu_strips import Counts, Floats, Given, Integers, Say, run_strips
from products.pixel.temporal import moved_operands
from products.pixel.time_ordered import TimeOrdered


def temporal_features_gpu(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats,
    geomedian_bands: Integers, with_mads: bool,
    programs: NDArray[np.float64], reducers: Floats, min_observations: int, memory_bytes: int | None = None,
    say: Say | None = None, layers: Integers | None = None, ordered: TimeOrdered | None = None, threads: int = 1,
) -> Floats:  # fmt: skip
    """float32 (feature, y, x): `products.pixel.temporal.temporal_features` on the current CUDA device, to the tolerances of docs/gpu.md.

    `memory_bytes`, what is said, `threads` and DeviceFull are those of `run_strips`. `layers` (band) says where in the block each band lies, by default at its
    number; `ordered` are the features that need the order of time.
    """
    if with_mads and not geomedian_bands.size:
        raise RequestError("the MADs are distances to the geomedian: expected a geomedian of some bands beside them")
    order = band_order(geomedian_bands, programs, ordered)
    moved = moved_operands(programs, order)
    source = temporal_source(geomedian_bands.size, with_mads, moved, reducers, max(1, block.shape[1]))
    n_features = geomedian_bands.size + 3 * with_mads + int(np.count_nonzero(~np.isnan(reducers)))
    table = np.zeros(0)
    if ordered is not None:
        asked = ordered.with_bands(_places(order, gain.shape[1]))
        source, table = with_ordered(source, moved, asked, n_features), ordered_table(ordered)
        n_features += ordered.n_features
    sent = order if layers is None else layers[order]
    given = Given(block, causes, sent, gain[:, order], bias[:, order], table, min_observations)
    return run_strips(source, given, n_features, memory_bytes, say, threads)


def band_order(
    geomedian_bands: Integers, programs: NDArray[np.float64], ordered: TimeOrdered | None = None
) -> Integers:
    """The bands that are used, the geomedian's first."""
    used = programs[..., 1][programs[..., 0] == 0].astype(np.int64)
    taken = [] if ordered is None else [ordered.medoid_bands, ordered.best[:, 2:][ordered.best[:, 2:] >= 0]]
    others = np.setdiff1d(np.concatenate([used, *taken]), geomedian_bands)
    return np.concatenate([geomedian_bands, others]).astype(np.int64)


def _places(order: Integers, n_bands: int) -> Integers:
    """The order, followed by the bands that are not in it."""
    return np.concatenate([order, np.setdiff1d(np.arange(n_bands), order)]).astype(np.int64)
