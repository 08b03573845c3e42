"""Pictures of a cube: how often each pixel was observed clearly, and what the ground looks like."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray
from matplotlib import colormaps, image
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from flows.steps.cubes.cube_times import periods_of
from flows.steps.cubes.open_cube import count_overviews, open_snapshot
from products.pixel.causes import NOT_EXPECTED, Cause

COVERAGE_PX = 600
QUICKLOOK_PX = 240
NOTHING = "#e6e6e6"
MOST_COLOURS = 9


def cube_for_picture(url: str, options: Mapping[str, Any], most_px: int) -> xarray.Dataset:
    """The coarsest of a snapshot and its overviews that has `most_px` pixels along the longer side of what a picture shows; else the snapshot."""
    for level in range(count_overviews(url, options), 0, -1):
        overview = open_snapshot(url, options, level)
        shown = with_scenes(as_periods(overview))
        if max(shown.sizes["y"], shown.sizes["x"]) >= most_px:
            return overview
    return open_snapshot(url, options)


def coverage_picture(cube: xarray.Dataset) -> bytes:
    """A PNG of the used observations per pixel (of an overview: their mean) in a cube's last period, with a legend; grey where there is none."""
    cube = as_periods(cube)
    counts = thinned(with_scenes(cube)["accounts"].sel(cause="used"), COVERAGE_PX)
    steps = _steps(int(counts.max()))
    colours = colormaps["YlGnBu"].resampled(len(steps) - 1).with_extremes(bad=NOTHING)
    figure = Figure(figsize=(6.0, 5.6), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(
        np.ma.masked_equal(counts, 0), cmap=colours, norm=BoundaryNorm(steps, colours.N), interpolation="nearest"
    )
    axes.set_axis_off()
    axes.set_title(f"{cube.attrs.get('neocube:product', 'cube')}, {_when(cube)}")
    figure.colorbar(shown, ax=axes, ticks=steps, label="clear observations used", shrink=0.8)
    empty = Patch(facecolor=NOTHING, edgecolor="grey", label=f"none: {np.mean(counts == 0):.1%} of the picture")
    figure.legend(handles=[empty], loc="outside lower center", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def quicklook_picture(cube: xarray.Dataset) -> bytes:
    """A PNG of a cube's last period in red, green and blue (else its first feature), 2nd to 98th percentile."""
    cube = as_periods(cube)
    names = [str(name) for name in cube["feature"].values]
    bands = ["red", "green", "blue"] if {"red", "green", "blue"} <= set(names) else names[:1] * 3
    last = with_scenes(cube)["features"]
    layers = [_stretched(thinned(last.sel(feature=band), QUICKLOOK_PX)) for band in bands]
    colours = np.stack(layers, axis=-1)
    factor = max(1, QUICKLOOK_PX // max(colours.shape[:2]))
    buffer = io.BytesIO()
    image.imsave(buffer, colours.repeat(factor, 0).repeat(factor, 1), format="png", metadata={"Software": "neocube"})
    return buffer.getvalue()


def as_periods(cube: xarray.Dataset) -> xarray.Dataset:
    """The cube with features and accounts of periods: of passes all accounts together and the clearest pass, of a series its best observed step."""
    if "time" not in cube.dims:
        return cube
    features = layers_shown(cube, best_time(cube))
    n_seen = _seen(cube)
    if "accounts" in cube:
        return xarray.Dataset({"features": features, "accounts": cube["accounts"]}, attrs=cube.attrs)
    counts = [(cube["cause"] != NOT_EXPECTED).sum("time"), n_seen.sum("time")]
    stack = np.stack([count.values for count in counts])[None]
    last = {"period": cube["time"].values[-1:], "cause": ["expected", "used"]}
    accounts = xarray.DataArray(stack, last, ("period", "cause", "y", "x"))
    return xarray.Dataset({"features": features, "accounts": accounts}, attrs=cube.attrs)


def best_time(cube: xarray.Dataset) -> int:
    """The number of the clearest pass or the best observed step; -1, the last, of a cube of periods."""
    return int(_seen(cube).sum(["y", "x"]).argmax("time")) if "time" in cube.dims else -1


def layers_shown(cube: xarray.Dataset, number: int) -> xarray.DataArray:
    """The features, bands or series at a numbered period, pass or step, (feature, y, x)."""
    if "time" not in cube.dims:
        return cube["features"].isel(period=number)
    layers = cube["reflectance"].rename(band="feature") if "reflectance" in cube else cube["series"]
    return layers.isel(time=number, drop=True)


def _seen(cube: xarray.Dataset) -> xarray.DataArray:
    return cube["cause"] == int(Cause.USED) if "cause" in cube.data_vars else cube["observed"]


def thinned(layer: xarray.DataArray, most_px: int) -> NDArray[np.generic]:
    """Every n-th pixel of a layer (y, x), so that no side is longer than `most_px`."""
    step = max(1, -(-max(layer.sizes["y"], layer.sizes["x"]) // most_px))
    return np.asarray(layer.isel(y=slice(None, None, step), x=slice(None, None, step)).values)


def with_scenes(cube: xarray.Dataset) -> xarray.Dataset:
    """The last period, cut to the rows and columns over which any scene lay, or of a cube without accounts that have values; all of it where none have."""
    last = cube.isel(period=-1)
    if "accounts" in last:
        expected = last["accounts"].sel(cause="expected").values > 0
    elif "features" in last:
        expected = np.isfinite(last["features"].values).any(axis=0)
    else:
        return last
    if not expected.any():
        return last
    rows, columns = np.flatnonzero(expected.any(axis=1)), np.flatnonzero(expected.any(axis=0))
    return last.isel(y=slice(rows[0], rows[-1] + 1), x=slice(columns[0], columns[-1] + 1))


def _stretched(layer: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Square roots of the values' places between their 2nd and 98th percentile, as 1 to 255; 0 where there is none."""
    values = layer.astype(np.float32)
    is_known = np.isfinite(values)
    if not is_known.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[is_known], [2, 98])
    share = np.sqrt(np.clip((values - low) / max(high - low, 1e-6), 0, 1))
    return np.where(is_known, 1 + np.nan_to_num(share) * 254, 0).astype(np.uint8)


def _steps(most: int) -> list[int]:
    """Class limits from 1 to above the largest count, at most nine classes."""
    width = max(1, -(-most // MOST_COLOURS))
    return list(range(1, max(most, 1) + width + 1, width))


def _when(cube: xarray.Dataset) -> str:
    """The last period as people write it; of one whose end is not known its first day."""
    last = periods_of(cube, "period")[-1]
    return last.label if "period_end" in cube.variables else f"{last.start:%Y-%m-%d}"
