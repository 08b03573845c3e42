"""The sensors we read: their source products, bands and platforms."""

from dataclasses import dataclass

from products.errors import RequestError

LANDSAT_REFLECTANCE = ("blue", "green", "red", "nir", "swir1", "swir2")
MSI_REFLECTANCE = (
    "coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir_narrow", "swir1", "swir2",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor family: `product` is its ODC source product; `mask` the band that says what is clear; `saturation` the radiometric saturation band or None."""

    name: str
    collection: str
    product: str
    platforms: tuple[str, ...]
    reflectance: tuple[str, ...]
    mask: str
    saturation: str | None


SENSORS = {
    sensor.name: sensor
    for sensor in (
        Sensor("tm", "landsat-c2-l2", "landsat_tm_c2_l2", ("landsat-4", "landsat-5"), LANDSAT_REFLECTANCE, "qa_pixel", "qa_radsat"),
        Sensor("etm", "landsat-c2-l2", "landsat_etm_c2_l2", ("landsat-7",), LANDSAT_REFLECTANCE, "qa_pixel", "qa_radsat"),
        Sensor("oli", "landsat-c2-l2", "landsat_oli_c2_l2", ("landsat-8", "landsat-9"), ("coastal", *LANDSAT_REFLECTANCE), "qa_pixel", "qa_radsat"),
        Sensor("msi", "sentinel-2-l2a", "sentinel2_msi_l2a", ("sentinel-2a", "sentinel-2b", "sentinel-2c", "sentinel-2d"), MSI_REFLECTANCE, "scl", None),
    )
}  # fmt: skip

COLLECTIONS = tuple(dict.fromkeys(sensor.collection for sensor in SENSORS.values()))


def sensors_of(collection: str) -> tuple[Sensor, ...]:
    """The sensors whose scenes a collection holds; RequestError for an unknown one."""
    found = tuple(sensor for sensor in SENSORS.values() if sensor.collection == collection)
    if not found:
        raise RequestError(f"unknown collection {collection!r}: expected one of {', '.join(COLLECTIONS)}")
    return found
