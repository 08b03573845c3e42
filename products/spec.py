"""Recipes: frozen, closed models of how a product is made."""

import hashlib
import json
import re
from typing import Annotated, Any, ClassVar, Literal

from odc.geo.geom import Geometry
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, field_validator, model_validator

from products.errors import RequestError
from products.external import ExternalProduct
from products.feature_spec import Feature, FeatureName, IndexStep, checked_kind, feature_kind
from products.grid import LANDSAT_ANCHOR_M, PixelGrid, checked_crs, utm_crs
from products.period import Calendar, Duration
from products.sensors import COLLECTIONS, SENSORS, Sensor, sensors_of

NAME = re.compile(r"^[a-z][a-z0-9_]{1,62}$")


class Closed(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GridSpec(Closed):
    """The pixel grid: `crs` is `utm` (one group per zone) or an authority code; `anchor: landsat` puts pixel edges 15 m off multiples of the pixel."""

    crs: str = "utm"
    resolution_m: float = Field(gt=0)
    tile_px: int = Field(ge=16, le=8192, multiple_of=8, default=1024)
    anchor: Literal["edge", "landsat"] = "edge"

    @field_validator("crs")
    @classmethod
    def _known(cls, crs: str) -> str:
        return crs if crs == "utm" else str(checked_crs(crs))

    def pixel_grid(self, area: Geometry) -> PixelGrid:
        """The lattice for an area: its own CRS, or the UTM zone of the area's centre."""
        centre = area.centroid.coords[0]
        crs = utm_crs(*centre) if self.crs == "utm" else self.crs
        return PixelGrid(crs, self.resolution_m, self.tile_px, LANDSAT_ANCHOR_M if self.anchor == "landsat" else 0.0)


class PeriodSpec(Closed):
    """`length` of a cell, `step` between cells (default the length), and the month and day that steps count from."""

    length: str
    step: str | None = None
    start: str = "01-01"

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:  # noqa: ANN401
        return {"length": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _readable(self) -> "PeriodSpec":
        _ = self.calendar
        return self

    @property
    def calendar(self) -> Calendar:
        """The calendar that cuts time into cells."""
        found = re.fullmatch(r"(\d\d)-(\d\d)", self.start)
        if not found or not (1 <= int(found[1]) <= 12 and 1 <= int(found[2]) <= 28):
            raise RequestError(f"expected start as MM-DD with a day up to 28, got {self.start!r}")
        length = Duration.parse(self.length)
        return Calendar(length, Duration.parse(self.step) if self.step else length, int(found[1]), int(found[2]))


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


TaggedFeature = Annotated[Feature, Discriminator(feature_kind), BeforeValidator(checked_kind)]


class FeaturesRecipe(Closed):
    """`kind: features`: an analysis-ready stack of features per period."""

    name: str
    version: int = Field(ge=1)
    kind: Literal["features"]
    title: str = ""
    grid: GridSpec
    period: PeriodSpec
    sources: tuple[SourceSpec, ...] = Field(min_length=1)
    harmonise: HarmoniseSpec | None = None
    features: tuple[TaggedFeature, ...] = Field(min_length=1)
    min_observations: int = Field(ge=1, default=1)

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        return plain_name(name)

    @field_validator("harmonise", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:  # noqa: ANN401
        return None if value == "none" else value

    @field_validator("sources")
    @classmethod
    def _once(cls, sources: tuple[SourceSpec, ...]) -> tuple[SourceSpec, ...]:
        names = [source.collection for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise RequestError(
                    f"the collection {name!r} stands twice: expected each of {', '.join(COLLECTIONS)} once"
                )
        return sources

    @field_validator("features")
    @classmethod
    def _together(cls, features: tuple[TaggedFeature, ...]) -> tuple[TaggedFeature, ...]:
        names = [name for feature in features for name in feature.names()]
        for name in names:
            if names.count(name) > 1:
                raise RequestError(f"two features are called {name!r}: give one of them another `name:`")
        kinds = [feature_kind(feature) for feature in features]
        if kinds.count("geomedian") > 1:
            raise RequestError("expected one geomedian of all its bands, got two")
        if "mads" in kinds and "geomedian" not in kinds:
            raise RequestError("mads are distances to the geomedian: add `- geomedian: {bands: […]}`")
        return features

    @model_validator(mode="after")
    def _consistent(self) -> "FeaturesRecipe":
        for feature in self.features:
            missing = set(feature.bands()) - self.bands()
            if missing:
                raise RequestError(
                    f"the feature {feature.names()[0]!r} needs the band {sorted(missing)[0]!r}, which not every source has; "
                    f"bands of all sources: {', '.join(sorted(self.bands()))}"
                )
        return self

    def bands(self) -> frozenset[str]:
        """The reflectance bands that every source has."""
        sensors = [sensor for source in self.sources for sensor in source.sensors]
        return frozenset.intersection(*(frozenset(sensor.reflectance) for sensor in sensors))

    @property
    def feature_names(self) -> tuple[FeatureName, ...]:
        """Feature names in cube order; also the ODC measurement names."""
        return tuple(name for feature in self.features for name in feature.names())

    @property
    def used_bands(self) -> tuple[str, ...]:
        """The bands that are read, in the order of the block."""
        return tuple(dict.fromkeys(band for feature in self.features for band in feature.bands()))

    @property
    def halo_px(self) -> int:
        """How far, in pixels, masks are read beyond the tile: the largest growth of clouds."""
        return max(source.clear.dilate_px for source in self.sources)

    def digest(self) -> str:
        """SHA-256 of the pixel-affecting fields in canonical JSON; titles, comments and spelled-out defaults change nothing.

        The formulas behind index names are part of it: a catalogue that changes one makes another product.
        """
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude={"name", "version", "title"})
        for source, written in zip(fields["sources"], self.sources, strict=True):
            source["resampling"] = written.resampling_method
        steps = [step for step in self.features if isinstance(step, IndexStep)]
        formulas = {name: formula.text for step in steps for name, formula in step.formulas()}
        kinds = [feature_kind(feature) for feature in self.features]
        return canonical_digest(fields | {"feature_kinds": kinds, "formulas": formulas})


def canonical_digest(document: Any) -> str:  # noqa: ANN401
    """SHA-256 hex of a JSON-able document with sorted keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def plain_name(name: str) -> str:
    """The name, if it may be a product, a folder and a measurement; RequestError otherwise."""
    if not NAME.match(name):
        raise RequestError(
            f"expected a name of lower-case letters, digits and underscores, starting with a letter, got {name!r}"
        )
    return name
