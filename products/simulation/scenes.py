"""The layers of a scene: what a pass leaves in each band and quality layer, cut into its rows or tiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from products.simulation.canvas import Canvas, Edge, Frame
from products.simulation.fields import Float, Mask
from products.simulation.observation import Observation
from products.simulation.passes import Pass, mgrs_squares, wrs_path_rows
from products.simulation.quality import detected, false_clouds, qa_pixel, qa_radsat, scene_classes
from products.simulation.response import (
    LANDSAT_OFFSET,
    LANDSAT_SCALE,
    MSI_OFFSET,
    MSI_SCALE,
    SATURATION_REFLECTANCE,
    as_platform,
    block_average,
    landsat_average,
    quantised,
    slc_off_kept,
    with_noise,
)
from products.simulation.spectra import BANDS

OLI_BANDS = ("coastal", "blue", "green", "red", "nir", "swir1", "swir2")
TM_BANDS = OLI_BANDS[1:]
TM_NUMBERS = {"blue": 1, "green": 2, "red": 3}
MSI_RESOLUTION_M = dict.fromkeys(BANDS, 20) | {"coastal": 60, "blue": 10, "green": 10, "red": 10, "nir": 10}
CLOUD_THRESHOLD, SHADOW_THRESHOLD, CIRRUS_THRESHOLD = 0.22, 0.40, 0.06
ROW_TILT = float(np.tan(np.radians(9.0)))

Layer = NDArray[np.uint16] | NDArray[np.uint8]
Resampling = Callable[[Float], Float]


@dataclass(frozen=True, slots=True)
class Detection:
    """What the cloud detector of a sensor makes of an observation, on the sensor's mask grid."""

    cloud: Mask
    shadow: Mask
    cirrus: Mask


def bands_of(one: Pass) -> tuple[str, ...]:
    """The reflectance bands a pass records; a Landsat's single NIR stands on the narrow one of the landscape."""
    return BANDS if one.is_msi else OLI_BANDS if one.platform.sensor == "oli" else TM_BANDS


def frames_of(one: Pass, canvas: Canvas, longitude: float, latitude: float) -> tuple[Frame, Frame]:
    """Two overlapping Landsat rows with tilted ends, or two overlapping Sentinel-2 tiles (2B with a swath edge in the
    north-west)."""
    side = canvas.size_px
    if not one.is_msi:
        path, first, second = wrs_path_rows(longitude, latitude)
        cut, start = ceil(0.68 * side), int(0.32 * side)
        north = Frame(f"{path:03d}{first:03d}", 0, 0, cut, side, Edge(-ROW_TILT, 1.0, 0.60 - ROW_TILT / 2))
        south = Frame(
            f"{path:03d}{second:03d}", start, 0, side - start, side, Edge(ROW_TILT, -1.0, -0.40 + ROW_TILT / 2)
        )
        return north, south
    side = canvas.fine_px
    half_m = side * 5
    west, east = mgrs_squares(canvas.zone, latitude, canvas.left_m + half_m, canvas.top_m - half_m)
    width, start = ceil(0.64 * side / 6) * 6, int(0.36 * side / 6) * 6
    edge = Edge(-1.0, -0.2126, -0.10) if one.platform.name == "sentinel-2b" else None
    return Frame(west, 0, 0, side, width, edge), Frame(east, 0, start, side, side - start, edge)


def landsat_layers(seen: Observation, one: Pass, size_px: int, rng: np.random.Generator) -> dict[str, Layer]:
    """All layers of a Landsat pass on the whole 30 m grid: reflectance DN, qa_pixel, qa_radsat and the true `sky`."""
    sensor, shape = one.platform.sensor, (size_px, size_px)
    kept = slc_off_kept(shape, float(rng.random())) if one.is_slc_off else np.ones(shape, dtype=bool)
    layers: dict[str, Layer] = {}
    saturated: dict[int, Mask] = {}
    for band in bands_of(one):
        source = "nir_narrow" if band == "nir" else band
        reflectance = as_platform(_to_landsat(seen.band(source), size_px), one.platform.name, band)
        reflectance = with_noise(reflectance, rng, sensor)
        if sensor != "oli" and band in TM_NUMBERS:
            saturated[TM_NUMBERS[band]] = reflectance >= SATURATION_REFLECTANCE
            reflectance = np.minimum(reflectance, np.float32(SATURATION_REFLECTANCE))
        layers[band] = quantised(reflectance, LANDSAT_SCALE, LANDSAT_OFFSET, kept)
    found = _detect(seen, lambda fine: _to_landsat(fine, size_px))
    water = _to_landsat(seen.is_water(), size_px) > 0.5
    has_cirrus_band = sensor == "oli"
    layers["qa_pixel"] = qa_pixel(found.cloud, found.shadow, found.cirrus, water, kept, has_cirrus_band=has_cirrus_band)
    layers["qa_radsat"] = qa_radsat(saturated, kept, has_dropped=sensor != "oli")
    layers["sky"] = np.where(kept, _sky_at(seen, lambda fine: _to_landsat(fine, size_px)), 0).astype(np.uint8)
    return layers


def msi_layers(seen: Observation, one: Pass, rng: np.random.Generator, *, add_offset: bool) -> dict[str, Layer]:
    """All layers of a Sentinel-2 pass on the whole canvas, each on its own grid: reflectance DN, scl and the true
    `sky` (20 m)."""
    offset = MSI_OFFSET if add_offset else 0.0
    layers: dict[str, Layer] = {}
    for band in bands_of(one):
        factor = MSI_RESOLUTION_M[band] // 10
        reflectance = block_average(seen.band(band), factor) if factor > 1 else seen.band(band)
        reflectance = with_noise(as_platform(reflectance, one.platform.name, band), rng, "msi")
        layers[band] = quantised(reflectance, MSI_SCALE, offset, np.ones(reflectance.shape, dtype=bool))
    found = _detect(seen, lambda fine: block_average(fine, 2))
    ground = np.array([0, 4, 6, 4, 5, 5, 5], dtype=np.uint8)[seen.surface[::2, ::2]]
    opacity = block_average(seen.sky.cloud, 2)
    whole = np.ones(ground.shape, dtype=bool)
    layers["scl"] = scene_classes(ground, opacity, found.shadow, found.cirrus, found.cloud, whole)
    layers["sky"] = _sky_at(seen, lambda fine: block_average(fine, 2))
    return layers


def cut(layers: Mapping[str, Layer], frame: Frame, one: Pass, side_px: int) -> dict[str, Layer]:
    """The frame's part of every layer, filled where the sensor did not look (QA_PIXEL 1, all else 0)."""
    part: dict[str, Layer] = {}
    for name, layer in layers.items():
        step = (MSI_RESOLUTION_M.get(name, 20) // 10) if one.is_msi else 1
        rows = slice(frame.row // step, (frame.row + frame.height) // step)
        columns = slice(frame.column // step, (frame.column + frame.width) // step)
        fill = layer.dtype.type(1 if name == "qa_pixel" else 0)
        part[name] = np.where(frame.seen(side_px, step), layer[rows, columns], fill)
    return part


def _to_landsat(fine: Float, size_px: int) -> Float:
    return landsat_average(fine, 0, 0, size_px, size_px)


def _detect(seen: Observation, coarse: Resampling) -> Detection:
    doubt = coarse(seen.doubt)
    cloud = detected(coarse(seen.sky.cloud), CLOUD_THRESHOLD, doubt)
    cloud |= false_clouds(coarse(seen.is_bright()) > 0.9, doubt)
    shadow = detected(coarse(seen.sky.shadow), SHADOW_THRESHOLD, doubt) & ~cloud
    cirrus = detected(coarse(seen.sky.cirrus), CIRRUS_THRESHOLD, doubt) & ~cloud
    return Detection(cloud, shadow, cirrus)


def _sky_at(seen: Observation, coarse: Resampling) -> NDArray[np.uint8]:
    """The true sky class on a mask grid, from averaged opacities."""
    sky = seen.sky
    averaged = type(sky)(coarse(sky.cloud), coarse(sky.shadow), coarse(sky.cirrus), coarse(sky.brightness))
    return averaged.classes()
