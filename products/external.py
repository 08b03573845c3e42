"""An existing ODC product as a source of scenes: how its bands and its mask read in our words."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.pixel.causes import Cause
from products.sensors import SENSORS, Sensor

CauseName = Literal["nodata", "cloud", "shadow", "cirrus", "snow", "saturated", "dilated"]


class MaskRule(Closed):
    """What the mask band says: a cause for some of its `values` or `bits`; every other pixel is clear.

    Of several bits that are set, the first cause in our order of precedence counts.
    """

    band: str
    values: dict[int, CauseName] = Field(default={})
    bits: dict[int, CauseName] = Field(default={})
    nodata: int = Field(ge=0, le=65535, default=0)

    @model_validator(mode="after")
    def _one_kind(self) -> "MaskRule":
        if bool(self.values) == bool(self.bits):
            raise RequestError(f"mask {self.band}: expected `values` or `bits`, one of them")
        if wrong := [number for number in self.values if not 0 <= number <= 65535]:
            raise RequestError(f"mask {self.band}: expected values from 0 to 65535, got {wrong[0]}")
        if wrong := [number for number in self.bits if not 0 <= number <= 15]:
            raise RequestError(f"mask {self.band}: expected bits from 0 to 15, got {wrong[0]}")
        return self

    def table(self, keep: tuple[str, ...] = ()) -> NDArray[np.uint8]:
        """uint8 (65536,): the cause of each mask value; causes named in `keep` count as used."""
        values = np.arange(65536)
        table = np.zeros(65536, np.uint8)
        causes = {
            number: Cause[name.upper()] for number, name in (self.bits or self.values).items() if name not in keep
        }
        for number, cause in sorted(causes.items(), key=lambda entry: -entry[1]):
            table[(values >> number) & 1 == 1 if self.bits else values == number] = cause
        table[self.nodata] = Cause.NODATA
        return table


class ExternalProduct(Closed):
    """How to read an ODC product: the sensor that it is of, its measurement for each of our bands, reflectance = DN * scale + offset."""

    sensor: Literal["tm", "etm", "oli", "msi"]
    bands: dict[str, str] = Field(min_length=1)
    scale: float = Field(gt=0)
    offset: float = 0.0
    nodata: int = Field(ge=-32768, le=65535)
    mask: MaskRule

    @model_validator(mode="after")
    def _known_bands(self) -> "ExternalProduct":
        known = SENSORS[self.sensor].reflectance
        for band in self.bands:
            if band not in known:
                raise RequestError(f"unknown band {band!r} of {self.sensor}: expected some of {', '.join(known)}")
        return self

    def as_sensor(self, product: str) -> Sensor:
        """The sensor, as far as the product has its bands."""
        sensor = SENSORS[self.sensor]
        bands = tuple(band for band in sensor.reflectance if band in self.bands)
        return replace(
            sensor, collection=product, product=product, reflectance=bands, saturation=None, cloud_probability=None
        )
