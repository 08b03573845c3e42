"""The sensors we read: their source products, bands and platforms."""

from collections.abc import Iterable
from dataclasses import dataclass

from products.errors import RequestError

LANDSAT_REFLECTANCE = ("blue", "green", "red", "nir", "swir1", "swir2")
MSI_REFLECTANCE = (
    "coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir_narrow", "swir1", "swir2",
)  # fmt: skip


# of every pixel, in hundredths of a degree, azimuths clockwise from north: VZA, VAA, SZA and SAA of Landsat Collection 2 Level 1 (USGS LSDS-1822)
ANGLE_BANDS = ("sun_zenith", "sun_azimuth", "view_zenith", "view_azimuth")

# QA_RADSAT (USGS LSDS-1619 and LSDS-1618, tables of the radiometric saturation band): bit n - 1 is band n. Of TM and ETM+ band 6 is thermal and bit 9
# a dropped pixel, of OLI bit 8 is cirrus and bit 11 ground that the terrain hides
TM_SATURATION_BITS = (("blue", 0), ("green", 1), ("red", 2), ("nir", 3), ("swir1", 4), ("swir2", 6))
OLI_SATURATION_BITS = (("coastal", 0), ("blue", 1), ("green", 2), ("red", 3), ("nir", 4), ("swir1", 5), ("swir2", 6))
TM_DROPPED_PIXEL, OLI_HIDDEN_GROUND = 9, 11


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor family: `product` is its ODC source product; `mask` the band that says what is clear.

    `saturation` is the radiometric saturation band or None, with the bit of each band, and `lost_bits` that say that there is no observation;
    `cloud_probability` the band of that in percent, which only some catalogues have.
    """

    name: str
    collection: str
    product: str
    platforms: tuple[str, ...]
    reflectance: tuple[str, ...]
    mask: str
    saturation: str | None
    saturation_bits: tuple[tuple[str, int], ...] = ()
    lost_bits: int = 0
    cloud_probability: str | None = None

    def saturated_bits(self, bands: Iterable[str]) -> int:
        """The bits of the saturation band that speak of some bands."""
        read = set(bands)
        return sum(1 << bit for band, bit in self.saturation_bits if band in read)


SENSORS = {
    sensor.name: sensor
    for sensor in (
        Sensor("tm", "landsat-c2-l2", "landsat_tm_c2_l2", ("landsat-4", "landsat-5"), LANDSAT_REFLECTANCE, "qa_pixel", "qa_radsat",
               TM_SATURATION_BITS, 1 << TM_DROPPED_PIXEL),
        Sensor("etm", "landsat-c2-l2", "landsat_etm_c2_l2", ("landsat-7",), LANDSAT_REFLECTANCE, "qa_pixel", "qa_radsat",
               TM_SATURATION_BITS, 1 << TM_DROPPED_PIXEL),
        Sensor("oli", "landsat-c2-l2", "landsat_oli_c2_l2", ("landsat-8", "landsat-9"), ("coastal", *LANDSAT_REFLECTANCE), "qa_pixel", "qa_radsat",
               OLI_SATURATION_BITS, 1 << OLI_HIDDEN_GROUND),
        Sensor("msi", "sentinel-2-l2a", "sentinel2_msi_l2a", ("sentinel-2a", "sentinel-2b", "sentinel-2c", "sentinel-2d"), MSI_REFLECTANCE, "scl", None,
               cloud_probability="cloud_probability"),
    )
}  # fmt: skip

COLLECTIONS = tuple(dict.fromkeys(sensor.collection for sensor in SENSORS.values()))


def sensors_of(collection: str) -> tuple[Sensor, ...]:
    """The sensors whose scenes a collection holds; RequestError for an unknown one."""
    found = tuple(sensor for sensor in SENSORS.values() if sensor.collection == collection)
    if not found:
        raise RequestError(f"unknown collection {collection!r}: expected one of {', '.join(COLLECTIONS)}")
    return found
