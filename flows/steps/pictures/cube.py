"""Pictures of a cube: how often each pixel was observed clearly, and what the ground looks like; of sites far apart in a panel each."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray
from matplotlib import colormaps, image
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from flows.steps.cubes.cube_pieces import find_sites
from flows.steps.cubes.cube_times import periods_of
from flows.steps.cubes.open_cube import count_overviews
from products.antimeridian import centre, outline
from products.pixel.causes import NOT_EXPECTED, Cause

COVERAGE_PX = 600
QUICKLOOK_PX = 240
NOTHING = "#e6e6e6"
MOST_COLOURS = 9


def sites_for_picture(url: str, options: Mapping[str, Any], most_px: int) -> list[xarray.Dataset]:
    """The sites of a snapshot, or itself, of the coarsest level that has `most_px` pixels along the longer side of what a picture shows; else of level 0."""
    sites = find_sites(url, options)
    for level in range(count_overviews(url, options), 0, -1):
        found = sites.at(level)
        shown = [with_scenes(as_periods(site)) for site in found]
        if max(max(site.sizes["y"], site.sizes["x"]) for site in shown) * n_across(len(found)) >= most_px:
            return found
    return sites.at()


def coverage_picture(*sites: xarray.Dataset) -> bytes:
    """A PNG of the used observations per pixel (of an overview: their mean) in a cube's last period, with a legend; grey where there is none."""
    cubes = [as_periods(site) for site in sites]
    most_px = COVERAGE_PX // n_across(len(cubes))
    shown = [with_scenes(cube)["accounts"].sel(cause="used") for cube in cubes]
    counts = [thinned(layer, most_px) for layer in shown]
    steps = _steps(int(max(each.max() for each in counts)))
    colours = colormaps["YlGnBu"].resampled(len(steps) - 1).with_extremes(bad=NOTHING)
    figure = Figure(figsize=(6.0, 5.6), layout="constrained")
    panels = _panels(figure, shown)
    for axes, each in zip(panels, counts, strict=True):
        drawn = axes.imshow(
            np.ma.masked_equal(each, 0), cmap=colours, norm=BoundaryNorm(steps, colours.N), interpolation="nearest"
        )
    title = f"{sites[0].attrs.get('neocube:product', 'cube')}, {_when(cubes[0])}"
    if len(panels) == 1:
        panels[0].set_title(title)
    else:
        figure.suptitle(title)
    figure.colorbar(drawn, ax=panels, ticks=steps, label="clear observations used", shrink=0.8)
    none = np.mean(np.concatenate([each.ravel() for each in counts]) == 0)
    empty = Patch(facecolor=NOTHING, edgecolor="grey", label=f"none: {none:.1%} of the picture")
    figure.legend(handles=[empty], loc="outside lower center", frameon=False)
    return _saved(figure)


def quicklook_picture(*sites: xarray.Dataset) -> bytes:
    """A PNG of a cube's last period in red, green and blue (else its first feature), 2nd to 98th percentile of all sites."""
    cubes = [as_periods(site) for site in sites]
    names = [str(name) for name in cubes[0]["feature"].values]
    bands = ["red", "green", "blue"] if {"red", "green", "blue"} <= set(names) else names[:1] * 3
    shown = [with_scenes(cube)["features"] for cube in cubes]
    layers = [np.stack([thinned(last.sel(feature=band), QUICKLOOK_PX) for band in bands], axis=-1) for last in shown]
    colours = _stretched(layers)
    if len(colours) > 1:
        figure = Figure(figsize=(6.0, 5.6), layout="constrained")
        for axes, each in zip(_panels(figure, shown), colours, strict=True):
            axes.imshow(each, interpolation="nearest")
        return _saved(figure)
    factor = max(1, QUICKLOOK_PX // max(colours[0].shape[:2]))
    buffer = io.BytesIO()
    image.imsave(buffer, colours[0].repeat(factor, 0).repeat(factor, 1), format="png", metadata={"Software": "neocube"})
    return buffer.getvalue()


def n_across(n_sites: int) -> int:
    """How many panels stand side by side."""
    return math.ceil(math.sqrt(n_sites))


def place_of(layer: xarray.DataArray | xarray.Dataset) -> str:
    """The middle of a raster as people write it: `4.80° N, 100.60° E`."""
    longitude, latitude = centre(outline(layer.odc.geobox))
    return (
        f"{abs(latitude):.2f}° {'N' if latitude >= 0 else 'S'}, {abs(longitude):.2f}° {'E' if longitude >= 0 else 'W'}"
    )


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


def _panels(figure: Figure, shown: Sequence[xarray.DataArray]) -> list[Axes]:
    """Axes for each site, of several headed by where they lie."""
    across = n_across(len(shown))
    places = figure.subplots(-(-len(shown) // across), across, squeeze=False).ravel().tolist()
    for axes in places:
        axes.set_axis_off()
    if len(shown) > 1:
        for axes, layer in zip(places, shown, strict=False):
            axes.set_title(place_of(layer), fontsize="small")
    return list(places[: len(shown)])


def _saved(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _stretched(layers: Sequence[NDArray[np.generic]]) -> list[NDArray[np.uint8]]:
    """(y, x, band) as 1 to 255, square roots of the values' places between the 2nd and 98th percentile of a band everywhere; 0 where there is none."""
    values = [layer.astype(np.float32) for layer in layers]
    bands = [np.concatenate([layer[..., band].ravel() for layer in values]) for band in range(values[0].shape[-1])]
    known = [band[np.isfinite(band)] for band in bands]
    limits = np.array([np.percentile(band, [2, 98]) if band.size else (0.0, 1.0) for band in known])
    low, span = limits[:, 0], np.maximum(limits[:, 1] - limits[:, 0], 1e-6)
    shares = [np.sqrt(np.clip((layer - low) / span, 0, 1)) for layer in values]
    return [
        np.where(np.isfinite(layer), 1 + np.nan_to_num(share) * 254, 0).astype(np.uint8)
        for layer, share in zip(values, shares, strict=True)
    ]


def _steps(most: int) -> list[int]:
    """Class limits from 1 to above the largest count, at most nine classes."""
    width = max(1, -(-most // MOST_COLOURS))
    return list(range(1, max(most, 1) + width + 1, width))


def _when(cube: xarray.Dataset) -> str:
    """The last period as people write it; of one whose end is not known its first day."""
    last = periods_of(cube, "period")[-1]
    return last.label if "period_end" in cube.variables else f"{last.start:%Y-%m-%d}"
