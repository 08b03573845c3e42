"""Scale, offset and nodata of each band: physical value = DN * scale + offset."""

from typing import Any

from flows.steps.item_facts import number
from flows.steps.item_refused import ItemRefused, brief
from products.sensors import Sensor

Radiometry = dict[str, float | int | None]

# Landsat Collection 2 Level-2 Science Product Guide (USGS LSDS-1619): reflectance, fill 0; QA_PIXEL fill is bit 0.
LANDSAT_SCALE, LANDSAT_OFFSET, LANDSAT_QA_FILL = 2.75e-5, -0.2, 1
# Sentinel-2 Products Specification Document 14.9: quantification value 10000, BOA_ADD_OFFSET -1000 from baseline 04.00.
MSI_SCALE, MSI_OFFSET, MSI_OFFSET_BASELINE = 1e-4, -0.1, "04.00"
MAX_DN = 65535
STATED = (("scale", "raster:scale"), ("offset", "raster:offset"), ("nodata", "raster:nodata"))


def band_radiometry(
    sensor: Sensor, band: str, asset: dict[str, Any], properties: dict[str, Any], baseline: str | None
) -> Radiometry:
    """{scale, offset, nodata} of one band of an item; ItemRefused where it states what cannot be."""
    if band not in sensor.reflectance:
        fill = LANDSAT_QA_FILL if band == "qa_pixel" else 0
        return {"scale": 1.0, "offset": 0.0, "nodata": fill}
    stated = _stated(asset)
    nodata = int(stated.get("nodata", 0))
    if sensor.name == "msi":
        scale = stated.get("scale") or MSI_SCALE
        found = {"scale": scale, "offset": _msi_offset(stated, properties, baseline), "nodata": nodata}
    elif "scale" in stated and "offset" in stated:
        found = {"scale": stated["scale"], "offset": stated["offset"], "nodata": nodata}
    else:
        found = {"scale": LANDSAT_SCALE, "offset": LANDSAT_OFFSET, "nodata": nodata}
    if not (0 < found["scale"] <= 1 and abs(found["offset"]) <= 10 and 0 <= nodata <= MAX_DN):
        raise ItemRefused(
            f"impossible radiometry of {band}: expected scale, offset and nodata of reflectance, got {brief(found)}"
        )
    return dict(found)


def _msi_offset(stated: dict[str, float], properties: dict[str, Any], baseline: str | None) -> float:
    """What is still to be added: nothing where the catalogue has applied it or the baseline has none; never by date."""
    applied = properties.get("earthsearch:boa_offset_applied", properties.get("sentinel:boa_offset_applied"))
    if applied is True or (baseline or MSI_OFFSET_BASELINE) < MSI_OFFSET_BASELINE:
        return 0.0
    return stated.get("offset", MSI_OFFSET)


def _stated(asset: dict[str, Any]) -> dict[str, float]:
    """scale, offset and nodata that an asset states, in `raster:bands` or in the `bands` and fields of STAC 1.1."""
    bands = asset.get("raster:bands") or asset.get("bands")
    first = bands[0] if isinstance(bands, list) and bands and isinstance(bands[0], dict) else {}
    found: dict[str, float] = {}
    for key, prefixed in STATED:
        for place, name in ((first, key), (first, prefixed), (asset, key), (asset, prefixed)):
            if (value := place.get(name)) is not None and (known := number(value)) is not None:
                found[key] = known
                break
    return found
