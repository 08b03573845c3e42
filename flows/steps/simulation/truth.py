"""What a simulated archive is known to show: classes, cloud-free reflectance, labels, acquisitions, faults."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from flows.steps.simulation.faults import Fault
from flows.steps.simulation.scenes import Stage, WrittenScene, write_cog
from products.simulation.fields import Float
from products.simulation.labels import SQUARE_PX, label_squares
from products.simulation.landscape import CLASS_NAMES, Landscape
from products.simulation.response import landsat_average
from products.simulation.sky import SKY_NAMES
from products.simulation.spectra import surface_reflectance

REFLECTANCE_BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
MOST_PASSES = 24


def write_truth(stage: Stage, scenes: list[WrittenScene], faults: list[Fault], rng: np.random.Generator) -> None:
    """Everything under `truth/`; `sky/` is there already."""
    directory, size_px = stage.directory / "truth", stage.canvas.size_px
    classes, purity = classes_at_30m(stage.landscape, size_px)
    grid, fine_grid = stage.canvas.landsat_geobox, stage.canvas.fine_geobox
    write_cog(directory / "classes.tif", classes, grid, 0)
    write_cog(directory / "purity.tif", purity, grid, None)
    write_cog(directory / "classes_10m.tif", stage.landscape.classes, fine_grid, 0)
    write_cog(directory / "elevation_10m.tif", stage.landscape.elevation_m, fine_grid, None)
    write_cog(directory / "reflectance.tif", _clear_median(stage, scenes), grid, None)
    _dump(directory / "classes.json", {"classes": {str(code): name for code, name in CLASS_NAMES.items()}, "nodata": 0})
    _dump(directory / "sky.json", {"classes": {str(code): name for code, name in SKY_NAMES.items()}, "nodata": 0})
    _dump(directory / "faults.json", [fault.document() for fault in faults])
    _dump(directory / "acquisitions.json", [_acquisition(scene) for scene in scenes])
    _dump(directory / "labels.geojson", _labels(np.where(purity == 100, classes, 0).astype(np.uint8), grid, rng))


def classes_at_30m(landscape: Landscape, size_px: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The class with the largest part of each 30 m pixel, and that part in percent, uint8 (y, x)."""
    shares = np.stack([
        landsat_average((landscape.classes == code).astype(np.float32), 0, 0, size_px, size_px) for code in CLASS_NAMES
    ])  # fmt: skip
    codes = np.array(list(CLASS_NAMES), dtype=np.uint8)
    return codes[shares.argmax(axis=0)], np.rint(100 * shares.max(axis=0)).astype(np.uint8)


def _clear_median(stage: Stage, scenes: list[WrittenScene]) -> Float:
    """Median cloud-free OLI reflectance (band, y, x) over at most MOST_PASSES passes, at their tides, no noise."""
    passes = sorted({(scene.one.instant, scene.tide_m) for scene in scenes})
    chosen = passes[:: -(-len(passes) // MOST_PASSES)]
    bands = tuple("nir_narrow" if band == "nir" else band for band in REFLECTANCE_BANDS)
    clear = []
    for instant, tide in chosen:
        fine = surface_reflectance(stage.landscape, instant.timetuple().tm_yday, tide, bands)
        clear.append(landsat_average(fine, 0, 0, stage.canvas.size_px, stage.canvas.size_px))
    return np.asarray(np.median(np.stack(clear), axis=0), dtype=np.float32)


def _acquisition(scene: WrittenScene) -> dict[str, Any]:
    processing = scene.processing
    return {
        "item_id": scene.item["id"],
        "platform": scene.one.platform.name,
        "datetime": scene.item["properties"]["datetime"],
        "track": scene.one.track,
        "frame": scene.frame.name,
        "tide_m": round(scene.tide_m, 4),
        "slc_off": scene.one.is_slc_off,
        "baseline": processing.baseline or None,
        "offset_in_dn": processing.has_offset if scene.one.is_msi else None,
        "sky": dict(scene.sky_shares),
        "sky_raster": f"sky/{scene.item['id']}.tif",
    }


def _labels(classes: NDArray[np.uint8], grid: GeoBox, rng: np.random.Generator) -> dict[str, Any]:
    features = []
    for number, square in enumerate(label_squares(classes, rng)):
        left, top = grid.affine * (square.column, square.row)
        side_m = SQUARE_PX * grid.resolution.x
        polygon = box(left, top - side_m, left + side_m, top, grid.crs).to_crs("EPSG:4326")
        properties = {"class": square.class_name, "subclass": square.subclass, "block": square.block}
        features.append({"type": "Feature", "id": number, "properties": properties, "geometry": polygon.json})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    return {"type": "FeatureCollection", "name": "labels", "simulated": True, "crs": crs, "features": features}


def _dump(path: Path, document: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(document, indent=1))
