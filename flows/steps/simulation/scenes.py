"""Writes the scenes of one simulated pass: COGs of both rows or tiles, and their items."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError

from flows.steps.simulation.items import Item, Processing, file_name, processing_of, scene_item
from products.simulation.canvas import Canvas, Frame
from products.simulation.landscape import Landscape
from products.simulation.observation import observe
from products.simulation.passes import Pass, Sun, sun_over, tide_m
from products.simulation.scenes import MSI_RESOLUTION_M, Layer, bands_of, cut, frames_of, landsat_layers, msi_layers
from products.simulation.sky import CLEAR, CLOUD, SKY_NAMES

COG_OPTIONS = {
    "driver": "COG",
    "compress": "DEFLATE",
    "predictor": 2,
    "level": 1,
    "blocksize": 256,
    "overviews": "NONE",
}
NODATA = {"qa_pixel": 1, "qa_radsat": None}


@dataclass(frozen=True, slots=True)
class Stage:
    """What every pass shares: the landscape, where it lies, how its tides run, and the seed."""

    directory: Path
    landscape: Landscape
    canvas: Canvas
    longitude: float
    latitude: float
    tide_phases_deg: Mapping[str, float]
    seed: int


@dataclass(frozen=True, slots=True)
class WrittenScene:
    """A scene on disk: its item, the pass and frame it came from, and what truth says of its sky."""

    item: Item
    one: Pass
    frame: Frame
    processing: Processing
    tide_m: float
    sky_shares: Mapping[str, float]

    @property
    def folder(self) -> Path:
        """Where its files lie, relative to the archive."""
        return Path(self.item["collection"]) / self.item["id"]


def write_cog(path: Path, layer: NDArray[Any], geobox: GeoBox, nodata: float | None) -> None:
    """One or more bands, (y, x) or (band, y, x), as a COG without overviews; OSError if the disk does not take it."""
    stack = layer if layer.ndim == 3 else layer[np.newaxis]
    shape = {"count": len(stack), "height": geobox.height, "width": geobox.width, "dtype": stack.dtype}
    place = {"nodata": nodata, "crs": str(geobox.crs), "transform": geobox.affine}
    predictor = 3 if stack.dtype.kind == "f" else 2
    try:
        with rasterio.open(path, "w", **COG_OPTIONS | {"predictor": predictor}, **shape, **place) as file:
            file.write(stack)
    except CPLE_BaseError as error:
        raise OSError(f"{path.name} was not written whole ({error})") from error


def write_pass(stage: Stage, one: Pass) -> list[WrittenScene]:
    """Both scenes of a pass, their files and sky truth written, their items returned."""
    rng = np.random.default_rng([stage.seed, one.instant.toordinal(), sum(map(ord, one.platform.name))])
    sun, tide = sun_over(stage.longitude, stage.latitude, one.instant), tide_m(one.instant, stage.tide_phases_deg)
    names = tuple("nir_narrow" if band == "nir" and not one.is_msi else band for band in bands_of(one))
    seen = observe(stage.landscape, one, sun, tide, names, rng)
    processing = processing_of(one)
    if one.is_msi:
        add_offset = processing.has_offset
        layers, side_px = msi_layers(seen, one, rng, add_offset=add_offset), stage.canvas.fine_px
    else:
        layers, side_px = landsat_layers(seen, one, stage.canvas.size_px, rng), stage.canvas.size_px
    frames = frames_of(one, stage.canvas, stage.longitude, stage.latitude)
    return [
        _write_scene(stage, one, frame, cut(layers, frame, one, side_px), sun, tide, processing) for frame in frames
    ]


def _write_scene(
    stage: Stage, one: Pass, frame: Frame, layers: dict[str, Layer], sun: Sun, tide: float, processing: Processing
) -> WrittenScene:
    sky = layers.pop("sky")
    geoboxes = {name: _geobox(stage.canvas, one, frame, name) for name in layers}
    mask_box = geoboxes["scl" if one.is_msi else "qa_pixel"]
    side_px = stage.canvas.fine_px if one.is_msi else stage.canvas.size_px
    base_box = geoboxes["blue"]
    footprint = frame.footprint(base_box, side_px)
    item = scene_item(one, frame.name, geoboxes, footprint, sun, _flagged_percent(layers, one), processing)
    folder = stage.directory / item["collection"] / item["id"]
    folder.mkdir(parents=True)
    for name, layer in layers.items():
        write_cog(folder / file_name(one, frame.name, name, processing), layer, geoboxes[name], NODATA.get(name, 0))
    write_cog(stage.directory / "truth" / "sky" / f"{item['id']}.tif", sky, mask_box, 0)
    return WrittenScene(item, one, frame, processing, tide, _sky_shares(sky))


def _geobox(canvas: Canvas, one: Pass, frame: Frame, layer: str) -> GeoBox:
    if one.is_msi:
        return canvas.msi_frame(frame.row, frame.column, frame.height, frame.width, MSI_RESOLUTION_M.get(layer, 20))
    return canvas.landsat_frame(frame.row, frame.column, frame.height, frame.width)


def _flagged_percent(layers: dict[str, Layer], one: Pass) -> float:
    """Cloud cover as the quality layer counts it: percent of valid pixels."""
    if one.is_msi:
        scl = layers["scl"]
        return 100 * float(np.isin(scl, (8, 9, 10)).sum()) / max(int((scl > 0).sum()), 1)
    quality = layers["qa_pixel"]
    return 100 * float(((quality >> 3) & 1).sum()) / max(int((quality != 1).sum()), 1)


def _sky_shares(sky: Layer) -> dict[str, float]:
    counts = np.bincount(sky.ravel(), minlength=len(SKY_NAMES))
    valid = max(int(counts[CLEAR:].sum()), 1)
    return {SKY_NAMES[code]: round(float(counts[code]) / valid, 6) for code in (CLEAR, CLOUD, 3, 4)}
