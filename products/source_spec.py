"""The sources of a recipe: which collections or products are read, what counts as clear, how sensors are harmonised."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from products.errors import RequestError
from products.external import ExternalProduct
from products.sensors import SENSORS, Sensor, sensors_of


class Closed(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClearSpec(Closed):
    """What counts as clear: cloud and shadow are grown by a disk of `dilate_px` target pixels."""

    dilate_px: int = Field(ge=0, le=50, default=0)
    keep: tuple[Literal["snow", "cirrus"], ...] = ()


class SourceSpec(Closed):
    """One collection to read, or an existing ODC `product` and how to read it. `resampling` is used where grids differ."""

    collection: str
    product: ExternalProduct | None = None
    platforms: tuple[str, ...] = ()
    clear: ClearSpec = ClearSpec()
    resampling: Literal["nearest", "average", "bilinear", "cubic"] | None = None

    DEFAULT_RESAMPLING: ClassVar[dict[str, str]] = {"landsat-c2-l2": "cubic", "sentinel-2-l2a": "average"}

    @model_validator(mode="before")
    @classmethod
    def _product_form(cls, value: Any) -> Any:  # noqa: ANN401
        """`{product: NAME, sensor: …, bands: …}` names an ODC product in the place of a collection."""
        if not isinstance(value, dict) or not isinstance(value.get("product"), str):
            return value
        if "collection" in value:
            raise RequestError("a source is a collection or a product: expected one of them")
        reading = {key: value[key] for key in ExternalProduct.model_fields if key in value}
        rest = {key: value[key] for key in value if key not in reading}
        return {**rest, "collection": value["product"], "product": reading}

    @model_validator(mode="after")
    def _known(self) -> "SourceSpec":
        known = {platform for sensor in self._all_sensors() for platform in sensor.platforms}
        for platform in self.platforms:
            if platform not in known:
                raise RequestError(
                    f"unknown platform {platform!r} of {self.collection}: expected some of {', '.join(sorted(known))}"
                )
        return self

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """The sensors this source reads."""
        return tuple(s for s in self._all_sensors() if not self.platforms or set(s.platforms) & set(self.platforms))

    @property
    def resampling_method(self) -> str:
        """The stated or default resampling: cubic for Landsat, area average for MSI."""
        return self.resampling or self.DEFAULT_RESAMPLING[self.family]

    @property
    def family(self) -> str:
        """The collection, or for an external product the one whose sensor it is of."""
        return SENSORS[self.product.sensor].collection if self.product else self.collection

    def _all_sensors(self) -> tuple[Sensor, ...]:
        return (self.product.as_sensor(self.collection),) if self.product else sensors_of(self.collection)


class HarmoniseSpec(Closed):
    """Band-pass adjustment to OLI; `none` leaves a sensor as it is."""

    target: Literal["oli"] = "oli"
    tm_etm: Literal["roy2016", "none"] = "roy2016"
    msi: Literal["hls", "none"] = "hls"
