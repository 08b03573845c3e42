"""Scale, offset and nodata of each band: physical value = DN * scale + offset."""

from typing import Any

from flows.steps.archives.item_refused import ItemRefused, brief
from flows.steps.scenes.item_facts import number
from products.scene import SATURATED
from products.sensors import ANGLE_BANDS, Sensor

Radiometry = dict[str, float | int | None]

# Landsat Collection 2 Level-2 Science Product Guide (USGS LSDS-1619): reflectance, fill 0; QA_PIXEL fill is bit 0.
LANDSAT_SCALE, LANDSAT_OFFSET, LANDSAT_QA_FILL = 2.75e-5, -0.2, 1
# Sentinel-2 Products Specification Document 14.9: quantification value 10000, BOA_ADD_OFFSET -1000 from baseline 04.00.
MSI_SCALE, MSI_OFFSET, MSI_OFFSET_BASELINE = 1e-4, -0.1, "04.00"
# Sen2Cor cuts reflectance off at 32767, the most that its JPEG 2000 files of 15 bit hold (PSD: DN 1 to 2^15 - 1); the 65535 that the metadata state for
# SATURATED does not fit into them. ESA on what it calls nominal: https://forum.step.esa.int/t/44294
MSI_LARGEST = 32767
ANGLE_SCALE, NO_ANGLE = 0.01, -32768
MAX_DN = 65535
NUMBERS, LARGEST = {int, float}, 1e300


def band_radiometry(
    sensor: Sensor, band: str, asset: dict[str, Any], properties: dict[str, Any], baseline: str | None
) -> Radiometry:
    """{scale, offset, nodata} of one band of an item; ItemRefused where it states what cannot be."""
    if band in ANGLE_BANDS:
        return {"scale": ANGLE_SCALE, "offset": 0.0, "nodata": NO_ANGLE}
    if band not in sensor.reflectance:
        fill = LANDSAT_QA_FILL if band == "qa_pixel" else 0
        return {"scale": 1.0, "offset": 0.0, "nodata": fill}
    scale, offset, nodata = _stated(asset)
    if scale == 1 and not offset and not _is_float(asset):
        scale = offset = None  # what GDAL says of every file, and what tools that make items of files copy
    nodata = int(nodata or 0)
    if sensor.name == "msi":
        scale, offset = scale or MSI_SCALE, _msi_offset(offset, properties, baseline)
    elif scale is None or offset is None:
        scale, offset = LANDSAT_SCALE, LANDSAT_OFFSET
    found: Radiometry = {"scale": scale, "offset": offset, "nodata": nodata}
    if not (0 < scale <= 1 and abs(offset) <= 10 and 0 <= nodata <= MAX_DN):
        raise ItemRefused(
            f"impossible radiometry of {band}: expected scale, offset and nodata of reflectance, got {brief(found)}"
        )
    return found


def saturated_dn(sensor: str, rendition: str, scale: float, offset: float) -> int:
    """The least DN of a band of reflectance that stands for all above it: of MSI where Sen2Cor cut it off, also in a file whose offset was applied since."""
    if sensor != "msi" or scale != MSI_SCALE:
        return SATURATED
    written = MSI_OFFSET if rendition.partition("/")[0] >= MSI_OFFSET_BASELINE else 0.0
    return {0.0: MSI_LARGEST + round(written / MSI_SCALE), written: MSI_LARGEST}.get(offset, SATURATED)


def _msi_offset(stated: float | None, properties: dict[str, Any], baseline: str | None) -> float:
    """What is still to be added: nothing where the catalogue has applied it or the baseline has none; never by date."""
    applied = properties.get("earthsearch:boa_offset_applied", properties.get("sentinel:boa_offset_applied"))
    if applied is True or (baseline or MSI_OFFSET_BASELINE) < MSI_OFFSET_BASELINE:
        return 0.0
    return MSI_OFFSET if stated is None else stated


def _is_float(asset: dict[str, Any]) -> bool:
    """Whether an asset says that its pixels are no integers, of which 1 would be the least reflectance above 0."""
    bands = asset.get("raster:bands") or asset.get("bands")
    first = bands[0] if isinstance(bands, list) and bands and isinstance(bands[0], dict) else {}
    return str(first.get("data_type", asset.get("data_type"))).startswith("float")


def _stated(asset: dict[str, Any]) -> tuple[float | None, float | None, float | None]:
    """(scale, offset, nodata) that an asset states, in `raster:bands` or in the `bands` and fields of STAC 1.1."""
    bands = asset.get("raster:bands") or asset.get("bands")
    first = bands[0] if isinstance(bands, list) and bands and isinstance(bands[0], dict) else {}
    plain: list[Any] = [first.get("scale"), first.get("offset"), first.get("nodata")]
    if {*map(type, plain)} <= NUMBERS and max(map(abs, plain)) < LARGEST:
        return float(plain[0]), float(plain[1]), float(plain[2])
    return _number(first, asset, "scale"), _number(first, asset, "offset"), _number(first, asset, "nodata")


def _number(band: dict[str, Any], asset: dict[str, Any], key: str) -> float | None:
    """The first number of a name, plain or prefixed, in a band and then in its asset."""
    if (known := number(band.get(key))) is not None:
        return known
    for place, name in ((band, f"raster:{key}"), (asset, key), (asset, f"raster:{key}")):
        if (value := place.get(name)) is not None and (known := number(value)) is not None:
            return known
    return None
