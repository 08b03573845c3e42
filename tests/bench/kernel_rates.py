"""The statistics over time from integers in memory, beside geomad, NumPy, numbagg and bottleneck, with the same threads (NumPy: one).

`python tests/bench/kernel_rates.py` prints the rows as JSON, in well under a minute.
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import bottleneck
import geomad
import numba
import numbagg
import numpy as np
from numpy.typing import NDArray
from rounds import row_of, take_turns
from scipy.ndimage import gaussian_filter

from products.formula import Op
from products.pixel.geomedian import GEOMEDIAN_TOLERANCE
from products.pixel.temporal import temporal_features

ROUNDS = 5
SIDE_PX, DATES, BANDS = 512, 20, 6
PERCENTILE_ROWS = 128
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
GAIN, BIAS = np.float32(2.75e-5), np.float32(-0.2)
GEOMAD_EPS = 1e-4  # its default, in reflectance: where its iteration ends
OURS = "ours"

Block = NDArray[np.uint16]
Causes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def rows() -> list[dict[str, Any]]:
    """The rows of the table."""
    threads = len(os.sched_getaffinity(0))
    numba.set_num_threads(threads)
    block, causes = observations()
    return [*_geomedian_rows(block, causes, threads), *_percentile_rows(block, causes, threads)]


def observations() -> tuple[Block, Causes]:
    """block (band, date, y, x) uint16 with seasons and noise; causes (date, y, x), 0 where clear, clouds over two fifths."""
    random = np.random.default_rng(4)
    level = 9000 + 3000 * random.random((BANDS, 1, 1, 1)) + 600 * _field(random, 20)
    season = 500 * np.sin(np.linspace(0, 2 * np.pi, DATES))[:, None, None]
    numbers = level + season + random.normal(0, 120, (BANDS, DATES, SIDE_PX, SIDE_PX))
    clouds = np.stack([_field(random, 12) > 0.25 for _ in range(DATES)])
    return np.where(clouds, numbers + 20_000, numbers).astype(np.uint16), clouds.astype(np.uint8)


def geomedian_and_mads(block: Block, causes: Causes, threads: int) -> Floats:
    """Ours, (feature, y, x): the geomedian of all bands and its three MADs."""
    return _temporal(block, causes, threads, np.arange(block.shape[0]), np.empty((0, 1, 2)), np.empty((0, 1)))


def geomad_way(block: Block, causes: Causes, threads: int) -> Floats:
    """geomad's own, (y, x, feature): reflectance with NaN in its order of axes, its geomedian, its three MADs.

    It takes integers too, and is no faster with them; its MADs of integers count missing dates as distances of 0.
    """
    clear = np.where(causes == 0, block * GAIN + BIAS, np.float32(np.nan))
    pixels = np.ascontiguousarray(clear.transpose(2, 3, 0, 1), dtype=np.float32)
    median = geomad.nangeomedian_pcm(pixels, eps=GEOMAD_EPS, num_threads=threads)
    mads = [mad(pixels, median, num_threads=threads) for mad in (geomad.smad_pcm, geomad.emad_pcm, geomad.bcmad_pcm)]
    return np.concatenate([median, np.stack(mads, axis=-1)], axis=-1)


def five_percentiles(block: Block, causes: Causes, threads: int) -> Floats:
    """Ours, (quantile, y, x), of the first band."""
    program = np.array([[[Op.BAND, 0]]], np.float64)
    return _temporal(block[:1], causes, threads, np.arange(0), program, np.array([QUANTILES]))


def bottleneck_way(stack: Floats, threads: int) -> Floats:
    """bottleneck's, (quantile, y, x), of stack (y, x, date) with NaN: it has no quantile that skips NaN, so pixels with equally many dates are partitioned."""

    def strip(rows: slice) -> Floats:
        return _by_partition(stack[rows].reshape(-1, stack.shape[2])).reshape(len(QUANTILES), -1, stack.shape[1])

    step = -(-stack.shape[0] // threads)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(strip, [slice(first, first + step) for first in range(0, stack.shape[0], step)]))
    return np.concatenate(parts, axis=1)


def _by_partition(pixels: Floats) -> Floats:
    """(quantile, pixel) of pixels (pixel, date); linear between neighbours."""
    found = np.full((len(QUANTILES), len(pixels)), np.nan, np.float32)
    counts = np.count_nonzero(~np.isnan(pixels), axis=1)
    filled = np.where(np.isnan(pixels), np.float32(np.inf), pixels)
    for count in np.unique(counts[counts > 0]):
        chosen = np.flatnonzero(counts == count)
        part = filled[chosen]
        for number, quantile in enumerate(QUANTILES):
            low = int(quantile * (count - 1))
            high, share = min(low + 1, count - 1), np.float32(quantile * (count - 1) - low)
            part = bottleneck.partition(part, low, axis=1)
            above = bottleneck.nanmin(part[:, low + 1 :], axis=1) if high > low else part[:, low]
            found[number, chosen] = part[:, low] + (above - part[:, low]) * share
    return found


def _geomedian_rows(block: Block, causes: Causes, threads: int) -> list[dict[str, Any]]:
    ours, theirs = geomedian_and_mads(block, causes, threads), geomad_way(block, causes, threads).transpose(2, 0, 1)
    apart = float(np.nanmedian(np.abs(ours[:BANDS] - theirs[:BANDS])))
    assert GEOMEDIAN_TOLERANCE < GEOMAD_EPS and apart < GEOMAD_EPS, apart
    peer = f"geomad, {threads} threads, its default eps of {GEOMAD_EPS:g} beside ours of {GEOMEDIAN_TOLERANCE:g}"
    limit = "copying the integers once"
    ways: dict[str, Callable[[], object]] = {
        OURS: partial(geomedian_and_mads, block, causes, threads),
        peer: partial(geomad_way, block, causes, threads),
        limit: block.copy,
    }
    name = f"geomedian and three MADs from integers in memory, {SIDE_PX} x {SIDE_PX} px, {DATES} dates, {BANDS} bands"
    return [row_of(name, take_turns(ways, ROUNDS), OURS, peer, limit, median_difference=apart)]


def _percentile_rows(block: Block, causes: Causes, threads: int) -> list[dict[str, Any]]:
    """Peers are given reflectance with NaN, each in the order of axes that it is fastest in; ours begins with the integers."""
    block, causes = block[:, :, :PERCENTILE_ROWS], causes[:, :PERCENTILE_ROWS]
    dates_first = np.where(causes == 0, block[0] * GAIN + BIAS, np.float32(np.nan)).astype(np.float32)
    dates_last = np.ascontiguousarray(dates_first.transpose(1, 2, 0))
    peers: dict[str, Callable[[], Any]] = {
        "np.nanquantile, one thread": partial(np.nanquantile, dates_last, QUANTILES, axis=2),
        f"numbagg.nanquantile, {threads} threads": partial(numbagg.nanquantile, dates_last, list(QUANTILES), axis=2),
        f"bottleneck.partition, {threads} threads": partial(bottleneck_way, dates_last, threads),
    }
    ways: dict[str, Callable[[], Any]] = {OURS: partial(five_percentiles, block, causes, threads), **peers}
    ours = ways[OURS]()
    for name, way in peers.items():
        given = way()
        theirs = np.moveaxis(given, -1, 0) if given.shape[0] != len(QUANTILES) else given
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5, err_msg=name)
    seconds = take_turns(ways, ROUNDS)
    name = f"five percentiles of one band, {PERCENTILE_ROWS} x {SIDE_PX} px, {DATES} dates, "
    return [row_of(name + f"beside {peer.partition(',')[0]}", seconds, OURS, peer) for peer in peers]


def _temporal(
    block: Block, causes: Causes, threads: int, geomedian_bands: NDArray[Any], programs: NDArray[Any],
    reducers: NDArray[Any],
) -> Floats:  # fmt: skip
    gain, bias = (np.full((block.shape[1], block.shape[0]), term, np.float32) for term in (GAIN, BIAS))
    return temporal_features(
        block, causes, gain, bias, geomedian_bands.astype(np.int64), bool(geomedian_bands.size), programs,
        reducers.astype(np.float32), 1, threads,
    )  # fmt: skip


def _field(random: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    field = gaussian_filter(random.standard_normal((SIDE_PX, SIDE_PX)), sigma, mode="wrap")
    return np.asarray(field / field.std())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(), indent=2) + "\n")
