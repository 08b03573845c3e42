"""Scale, offset and nodata of each band: physical value = DN * scale + offset."""

from math import isfinite
from typing import Any

from products.sensors import Sensor

Radiometry = dict[str, float | int | None]

# Landsat Collection 2 Level-2 Science Product Guide (USGS LSDS-1619): reflectance, fill 0; QA_PIXEL fill is bit 0.
LANDSAT_SCALE, LANDSAT_OFFSET, LANDSAT_QA_FILL = 2.75e-5, -0.2, 1
# Sentinel-2 Products Specification Document 14.9: quantification value 10000, BOA_ADD_OFFSET -1000 from baseline 04.00.
MSI_SCALE, MSI_OFFSET, MSI_OFFSET_BASELINE = 1e-4, -0.1, "04.00"


def band_radiometry(
    sensor: Sensor, band: str, asset: dict[str, Any], properties: dict[str, Any], baseline: str | None
) -> Radiometry:
    """{scale, offset, nodata} of one band of an item."""
    stated = _stated(asset)
    if band not in sensor.reflectance:
        fill = LANDSAT_QA_FILL if band == "qa_pixel" else 0
        return {"scale": 1.0, "offset": 0.0, "nodata": fill}
    nodata = int(stated.get("nodata") or 0)
    if sensor.name == "msi":
        scale = float(stated.get("scale") or MSI_SCALE)
        return {"scale": scale, "offset": _msi_offset(stated, properties, baseline), "nodata": nodata}
    if "scale" in stated and "offset" in stated:
        return {"scale": float(stated["scale"]), "offset": float(stated["offset"]), "nodata": nodata}
    return {"scale": LANDSAT_SCALE, "offset": LANDSAT_OFFSET, "nodata": nodata}


def _msi_offset(stated: dict[str, Any], properties: dict[str, Any], baseline: str | None) -> float:
    """What is still to be added: nothing where the catalogue has applied it or the baseline has none; never by date."""
    applied = properties.get("earthsearch:boa_offset_applied", properties.get("sentinel:boa_offset_applied"))
    if applied is True or (baseline or MSI_OFFSET_BASELINE) < MSI_OFFSET_BASELINE:
        return 0.0
    offset = stated.get("offset")
    return MSI_OFFSET if offset is None else float(offset)


def _stated(asset: dict[str, Any]) -> dict[str, Any]:
    """scale, offset and nodata that an asset states, in `raster:bands` or in the `bands` and fields of STAC 1.1."""
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    first = bands[0] if isinstance(bands, list) and isinstance(bands[0], dict) else {}
    found = {}
    for key in ("scale", "offset", "nodata"):
        values = (place.get(name) for place in (first, asset) for name in (key, f"raster:{key}"))
        value = next((value for value in values if isinstance(value, int | float) and isfinite(value)), None)
        if value is not None:
            found[key] = value
    return found
