"""Recipes: frozen, closed models of how a product is made."""

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from odc.geo.geom import Geometry
from pydantic import BeforeValidator, Discriminator, Field, field_validator, model_validator

from products.errors import RequestError
from products.feature_spec import Feature, FeatureName, IndexStep, SeasonStep, checked_kind, feature_kind
from products.feature_step import Step
from products.grid import LANDSAT_ANCHOR_M, PixelGrid, checked_crs, utm_crs
from products.period import Calendar, Duration
from products.pixel.brdf import check_parameters
from products.pixel.precision import MANTISSA_BITS
from products.sensors import COLLECTIONS
from products.source_spec import Closed, CoregisterSpec, HarmoniseSpec, SourceSpec
from products.window_spec import RasterInput, TextureStep, WindowStep

NAME = re.compile(r"^[a-z][a-z0-9_]{1,62}$")


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
    coregister: CoregisterSpec | None = None
    brdf: Literal["none", "c_factor"] = "none"
    features: tuple[TaggedFeature, ...] = Field(min_length=1)
    min_observations: int = Field(ge=1, default=1)
    precision_bits: int | None = Field(ge=4, le=MANTISSA_BITS, default=None)

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
        for kind in ("geomedian", "medoid"):
            if kinds.count(kind) > 1:
                raise RequestError(f"expected one {kind} of all its bands, got two")
        if len({step.step_days for step in features if isinstance(step, SeasonStep)}) > 1:
            raise RequestError("expected the same step_days in all season features of a recipe")
        if "mads" in kinds and "geomedian" not in kinds:
            raise RequestError("mads are distances to the geomedian: add `- geomedian: {bands: […]}`")
        return features

    @model_validator(mode="after")
    def _consistent(self) -> "FeaturesRecipe":
        read = [source.collection for source in self.sources]
        if not self.used_bands:
            raise RequestError(
                "expected a feature of the scenes beside those of rasters, as `- count: {}` with an index or a band"
            )
        for feature in self.features:
            if isinstance(feature, TextureStep) and feature.of.feature and feature.of.feature not in self.feature_names:
                raise RequestError(f"texture of {feature.of.feature!r}, which is not a feature of the recipe: add it")
            for collection in feature.limited_to():
                if collection not in read:
                    raise RequestError(
                        f"the feature {feature.names()[0]!r} is limited to {collection!r}, which is not a source: expected some of {', '.join(read)}"
                    )
            missing = set(feature.bands()) - self.bands(feature.limited_to())
            if missing:
                among = "its sources have" if feature.limited_to() else "every source has"
                raise RequestError(
                    f"the feature {feature.names()[0]!r} needs the band {sorted(missing)[0]!r}, which not {among}; "
                    f"bands of all sources: {', '.join(sorted(self.bands()))}; limit the feature with `sources:` to use others"
                )
        return self

    @model_validator(mode="after")
    def _adjustable(self) -> "FeaturesRecipe":
        if self.coregister:
            self.coregister.check([source.collection for source in self.sources], self.used_bands, self.grid.tile_px)
        if self.brdf != "none":
            check_parameters(self.used_bands)
        return self

    def source_of(self, collection: str) -> SourceSpec:
        """The source that reads a collection."""
        return next(source for source in self.sources if source.collection == collection)

    def bands(self, collections: tuple[str, ...] = ()) -> frozenset[str]:
        """The reflectance bands that every source has, or every one of some."""
        read = [source for source in self.sources if not collections or source.collection in collections]
        sensors = [sensor for source in read for sensor in source.sensors]
        return frozenset.intersection(*(frozenset(sensor.reflectance) for sensor in sensors))

    @property
    def feature_names(self) -> tuple[FeatureName, ...]:
        """Feature names in cube order; also the ODC measurement names."""
        return tuple(name for feature in self.features for name in feature.names())

    @property
    def used_bands(self) -> tuple[str, ...]:
        """The bands that are read, in the order of the block."""
        return tuple(dict.fromkeys(band for step in self.steps for band in step.bands()))

    @property
    def steps(self) -> tuple[Step, ...]:
        """The features, and the indices that textures are of where no feature is that already."""
        textures = [step.of for step in self.features if isinstance(step, TextureStep) and step.of.index]
        made = set(self.feature_names)
        hidden = {of.layer: of for of in textures if of.layer not in made}
        added = [IndexStep.model_validate({"names": (of.index,), "reduce": (of.reduce,)}) for of in hidden.values()]
        return (*self.features, *added)

    @property
    def halo_px(self) -> int:
        """How far, in pixels, masks are read beyond the bands: the largest opening and growth of clouds."""
        return max(source.clear.halo_px for source in self.sources)

    @property
    def margin_px(self) -> int:
        """How far, in pixels, bands and rasters are read beyond the tile: the farthest look of a window feature."""
        steps = [step for step in self.features if isinstance(step, WindowStep)]
        return max((step.margin_px(self.grid.resolution_m) for step in steps), default=0)

    @property
    def reach_px(self) -> int:
        """How far, in pixels, anything is read beyond the tile."""
        return self.halo_px + self.margin_px

    @property
    def rasters(self) -> tuple[RasterInput, ...]:
        """The rasters that its features read, each once."""
        asked = [step.raster() for step in self.features if isinstance(step, WindowStep)]
        return tuple(dict.fromkeys(raster for raster in asked if raster))

    def digest(self) -> str:
        """SHA-256 of the pixel-affecting fields in canonical JSON; titles, comments and spelled-out defaults change nothing.

        The formulas behind index names are part of it: a catalogue that changes one makes another product.
        """
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude={"name", "version", "title"})
        for source, written in zip(fields["sources"], self.sources, strict=True):
            source["resampling"] = written.resampling_method
        formulas = {name: formula.text for step in self.steps for name, formula in step.formulas()}
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
