"""The sources of a recipe: which collections or products are read, what counts as clear, how sensors are harmonised."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.external import ExternalProduct
from products.map_scale import is_true_anywhere
from products.pixel.model_mask import MODEL_BANDS, Decide
from products.sensors import SENSORS, Sensor, sensors_of
from products.window.morphology import MAX_RADIUS_PX, radius_px
from products.window.registration import MIN_SIDE_PX

MAX_DILATE_PX, MAX_OPEN_PX = 50, 20
QA_PIXEL_RING_M = 90.0  # bit 1 is set in a window of 7 by 7 pixels of 30 m around each pixel of cloud (CFMask: Zhu and Woodcock 2012, 3 pixels in 8 directions)


class ClearSpec(Closed):
    """What counts as clear.

    Clouds that a disk of `open_px` target pixels, or `open_m` metres, does not fit into are dropped, which leaves what the masks say there beside cloud,
    and with them the ring that QA_PIXEL has around them; then cloud and shadow are grown by a disk of `dilate_px` or `dilate_m`. Reflectance beyond
    `valid_range`, before harmonisation, is not used. Pixels of Sentinel-2 with at least so many percent of `cloud_probability` are cloud. Pixels that the
    mask calls cloud in a share of at least `persistent_cloud` of their scenes are accounted as such, and used with `keep: [persistent_cloud]`. A `model`
    masks beside the delivered mask, and `decide` says which of them counts.
    """

    dilate_px: int = Field(ge=0, le=MAX_DILATE_PX, default=0)
    dilate_m: float | None = Field(gt=0, default=None)
    open_px: int = Field(ge=0, le=MAX_OPEN_PX, default=0)
    open_m: float | None = Field(gt=0, default=None)
    cloud_probability: int | None = Field(ge=1, le=100, default=None)
    keep: tuple[Literal["snow", "cirrus", "persistent_cloud"], ...] = ()
    valid_range: tuple[float, float] | None = None
    persistent_cloud: float | None = Field(gt=0.5, le=1, default=None)
    model: Literal["omnicloudmask"] | None = None
    model_version: Literal[4] | None = None
    decide: Decide = "model"

    @model_validator(mode="before")
    @classmethod
    def _versioned(cls, value: Any) -> Any:  # noqa: ANN401
        """A model without a version is the one of today, written out, so that it is part of what made a cell."""
        if isinstance(value, dict) and value.get("model") and "model_version" not in value:
            return {**value, "model_version": 4}
        return value

    @model_validator(mode="after")
    def _sound(self) -> "ClearSpec":
        if self.valid_range and not self.valid_range[0] < self.valid_range[1]:
            raise RequestError(f"expected valid_range: [lowest, highest], got {list(self.valid_range)}")
        for action in ("dilate", "open"):
            if getattr(self, f"{action}_m") is not None and getattr(self, f"{action}_px"):
                raise RequestError(f"expected {action}_px or {action}_m, and not both")
        if "persistent_cloud" in self.keep and self.persistent_cloud is None:
            raise RequestError("keep: [persistent_cloud] needs the share, as persistent_cloud: 0.9")
        if self.model is None and (self.model_version is not None or self.decide != "model"):
            raise RequestError("model_version and decide go with a model, as model: omnicloudmask")
        return self

    def growth_px(self, resolution_m: float) -> float:
        """The radius in pixels of the disk by which cloud and shadow grow."""
        return float(self.dilate_px) if self.dilate_m is None else radius_px(self.dilate_m, resolution_m)

    def opening_px(self, resolution_m: float) -> float:
        """The radius in pixels of the disk that clouds must hold."""
        return float(self.open_px) if self.open_m is None else radius_px(self.open_m, resolution_m)

    def check_pixels(self, resolution_m: float) -> None:
        """RequestError for metres that are less than a pixel, or more than masks reach."""
        for key, metres, pixels, most in (
            ("dilate_m", self.dilate_m, self.growth_px(resolution_m), MAX_DILATE_PX),
            ("open_m", self.open_m, self.opening_px(resolution_m), MAX_OPEN_PX),
        ):
            if metres is not None and not 1 <= pixels <= most:
                raise RequestError(
                    f"{key}: expected {resolution_m:g} to {most * resolution_m:g} metres on pixels of {resolution_m:g} m, got {metres:g}"
                )


Resampling = Literal["nearest", "average", "bilinear", "cubic"]


class SourceSpec(Closed):
    """One collection to read, or an existing ODC `product` and how to read it. `resampling`, of all bands or of some, is used where grids differ."""

    collection: str
    product: ExternalProduct | None = None
    platforms: tuple[str, ...] = ()
    clear: ClearSpec = ClearSpec()
    resampling: Resampling | dict[str, Resampling] | None = None

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
        if self.clear.cloud_probability is not None and not all(s.cloud_probability for s in self._all_sensors()):
            raise RequestError(f"cloud_probability comes with sentinel-2-l2a only: leave it out of {self.collection}")
        has = {band for sensor in self._all_sensors() for band in sensor.reflectance}
        for band in self.resampling if isinstance(self.resampling, dict) else ():
            if band not in has:
                raise RequestError(
                    f"resampling: {self.collection} has no band {band!r}: expected some of {', '.join(sorted(has))}"
                )
        lacking = [band for sensor in self._all_sensors() for band in MODEL_BANDS if band not in sensor.reflectance]
        if self.clear.model and lacking:
            raise RequestError(
                f"the mask of {self.clear.model} needs {', '.join(MODEL_BANDS)}: {self.collection} has no {lacking[0]}"
            )
        return self

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """The sensors this source reads."""
        return tuple(s for s in self._all_sensors() if not self.platforms or set(s.platforms) & set(self.platforms))

    def resampling_of(self, band: str) -> str:
        """The stated or default resampling of a band: cubic for Landsat, area average for MSI. That of `nir` is also of the narrow one that stands for it."""
        if not isinstance(self.resampling, dict):
            return self.resampling or self.DEFAULT_RESAMPLING[self.family]
        stated = self.resampling.get("nir") if band == "nir_narrow" else None
        return self.resampling.get(band) or stated or self.DEFAULT_RESAMPLING[self.family]

    def resampling_by_band(self, bands: Sequence[str], harmonise: "HarmoniseSpec | None") -> dict[str, str]:
        """The resampling of some bands and those of models, and of the narrow near infrared where it is read for `nir` and resampled in another way."""
        methods = {band: self.resampling_of(band) for band in (*bands, *MODEL_BANDS)}
        narrow = self.resampling_of("nir_narrow")
        read = {file_band(band, sensor.name, harmonise) for band in bands for sensor in self.sensors}
        is_read = "nir_narrow" in read or self.clear.model is not None
        return methods | {"nir_narrow": narrow} if is_read and narrow != self.resampling_of("nir") else methods

    def check_read(self, bands: Sequence[str], harmonise: "HarmoniseSpec | None") -> None:
        """RequestError where a band is read of it that it lacks, as its narrow near infrared for `nir`."""
        for sensor in self.sensors:
            has = set(sensor.reflectance)
            if lacking := {file_band(band, sensor.name, harmonise) for band in has.intersection(bands)} - has:
                raise RequestError(
                    f"the source {self.collection!r} has no {lacking.pop()}, which is read for nir where MSI is harmonised: "
                    "name it under `bands`, or say harmonise: {msi: none}"
                )

    def ring_px(self, resolution_m: float, crs: str) -> float:
        """The radius in pixels of a disk around a cloud that holds all that QA_PIXEL calls dilated for it; 0 where no cloud is opened away, or where how wide
        its ring is on such a grid cannot be said."""
        is_its = self.product is None and any(sensor.mask == "qa_pixel" for sensor in self.sensors)
        is_kept = self.clear.model is None or self.clear.decide == "either"
        if not (is_its and is_kept and self.clear.opening_px(resolution_m) and is_true_anywhere(crs)):
            return 0.0
        side_px = math.ceil(radius_px(QA_PIXEL_RING_M, resolution_m))
        ring_px = math.hypot(side_px, side_px)
        return ring_px if ring_px <= MAX_RADIUS_PX else 0.0

    def halo_px(self, resolution_m: float, crs: str) -> int:
        """How far beyond a pixel the mask decides on it."""
        beyond = max(self.clear.growth_px(resolution_m), self.ring_px(resolution_m, crs))
        return math.floor(beyond) + 2 * math.floor(self.clear.opening_px(resolution_m))

    @property
    def family(self) -> str:
        """The collection, or for an external product the one whose sensor it is of."""
        return SENSORS[self.product.sensor].collection if self.product else self.collection

    def _all_sensors(self) -> tuple[Sensor, ...]:
        return (self.product.as_sensor(self.collection),) if self.product else sensors_of(self.collection)


COREGISTER_WINDOW_PX = 512


class CoregisterSpec(Closed):
    """Each scene's shift against the median of the collection `reference` in a band, by phase correlation: always measured and stored.

    Scenes are moved by it, as they are read, where it is `confident`, or `never`. `max_shift_px` and shifts are in product pixels.
    """

    reference: str
    band: str = "nir"
    apply: Literal["confident", "never"] = "confident"
    max_shift_px: int = Field(ge=1, le=COREGISTER_WINDOW_PX // 4, default=3)

    def check(self, collections: Sequence[str], bands: Sequence[str], tile_px: int) -> None:
        """RequestError where the reference is not read, or the band, or tiles are too small to measure a shift."""
        if self.reference not in collections:
            raise RequestError(
                f"coregister: the reference {self.reference!r} is not a source: expected one of {', '.join(collections)}"
            )
        if self.band not in bands:
            raise RequestError(f"coregister: the band {self.band!r} is not read: expected one of {', '.join(bands)}")
        least = max(MIN_SIDE_PX, 4 * self.max_shift_px)
        if tile_px < least:
            raise RequestError(f"coregister: expected tiles of at least {least} pixels, got {tile_px}")


class HarmoniseSpec(Closed):
    """Band-pass adjustment to OLI; `none` leaves a sensor as it is."""

    target: Literal["oli"] = "oli"
    tm_etm: Literal["roy2016", "none"] = "roy2016"
    msi: Literal["hls", "none"] = "hls"

    def is_adjusted(self, sensor: str) -> bool:
        """Whether a sensor is adjusted by the published lines of its platforms."""
        return {"tm": self.tm_etm, "etm": self.tm_etm, "msi": self.msi, "oli": "none"}[sensor] != "none"


def file_band(band: str, sensor: str, harmonise: HarmoniseSpec | None) -> str:
    """The band of a sensor that stands for `band`: where the HLS coefficients apply, the near infrared of MSI is B8A."""
    if sensor == "msi" and band == "nir" and harmonise is not None and harmonise.msi == "hls":
        return "nir_narrow"
    return band
