"""Features recipes: frozen, closed models of how an analysis-ready stack is made."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from odc.geo.geom import Geometry
from pydantic import BeforeValidator, Discriminator, Field, field_validator, model_validator

from products.course_spec import FoldedStep, SeasonStep
from products.errors import RequestError
from products.feature_spec import (
    CountStep,
    Feature,
    FeatureName,
    GeomedianStep,
    IndexStep,
    MadsStep,
    MaskAgreementStep,
    MedoidStep,
    checked_kind,
    feature_kind,
)
from products.feature_step import OneIndexStep, Step
from products.grid import PixelGrid, Tile
from products.grid_spec import PeriodSpec
from products.identity import FEATURE_KERNELS
from products.map_scale import check_true
from products.period import Period
from products.pixel.precision import MANTISSA_BITS
from products.scene_recipe import SceneRecipe
from products.source_spec import CoregisterSpec
from products.time_steps import most_steps
from products.window_spec import RasterInput, TextureStep, WindowStep

TaggedFeature = Annotated[Feature, Discriminator(feature_kind), BeforeValidator(checked_kind)]


class FeaturesRecipe(SceneRecipe):
    """`kind: features`: an analysis-ready stack of features per period."""

    kind: Literal["features"]
    period: PeriodSpec
    coregister: CoregisterSpec | None = None
    features: tuple[TaggedFeature, ...] = Field(min_length=1)
    min_observations: int = Field(ge=1, default=1)
    precision_bits: int | None = Field(ge=4, le=MANTISSA_BITS, default=None)

    kernels: ClassVar[tuple[str, ...]] = FEATURE_KERNELS

    @field_validator("features")
    @classmethod
    def _together(cls, features: tuple[TaggedFeature, ...]) -> tuple[TaggedFeature, ...]:
        names = [name for feature in features for name in feature.names()]
        for name in names:
            if names.count(name) > 1:
                can_be_named = any("name" in type(step).model_fields for step in features if name in step.names())
                remedy = "give one of them another `name:`" if can_be_named else "leave one of them out"
                raise RequestError(f"two features are called {name!r}: {remedy}")
        _refuse_two_meanings([step for step in features if isinstance(step, IndexStep | OneIndexStep)])
        limits = {
            kind: [feature.limit() for feature in features if isinstance(feature, kind)]
            for kind in (GeomedianStep, MedoidStep, MadsStep)
        }
        for kind, name in ((GeomedianStep, "geomedian"), (MedoidStep, "medoid")):
            if len(set(limits[kind])) < len(limits[kind]):
                raise RequestError(f"expected one {name} of all its bands, got two of the same scenes")
        if len({step.step_days for step in features if isinstance(step, SeasonStep)}) > 1:
            raise RequestError("expected the same step_days in all season features of a recipe")
        if set(limits[MadsStep]) - set(limits[GeomedianStep]):
            raise RequestError(
                "mads are distances to the geomedian: add `- geomedian: {bands: […]}` of the same scenes"
            )
        return features

    @model_validator(mode="after")
    def _consistent(self) -> "FeaturesRecipe":
        read = [source.collection for source in self.sources]
        if not self.used_bands:
            raise RequestError(
                "expected a feature of the scenes beside those of rasters, as `- count: {}` with an index or a band"
            )
        if self.with_agreement and not self.mask_models:
            raise RequestError("mask_agreement needs a source with a model, as clear: {model: omnicloudmask}")
        for feature in self.features:
            if isinstance(feature, TextureStep) and feature.of.feature:
                self._check_texture_of(feature.of.feature)
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

    def _check_texture_of(self, name: str) -> None:
        """RequestError where texture is of no feature of the recipe, or of one that is not known beyond the tile."""
        if name not in self.feature_names:
            raise RequestError(f"texture of {name!r}, which is not a feature of the recipe: add it")
        over_time = [
            each for step in self.features if not isinstance(step, WindowStep | CountStep) for each in step.names()
        ]
        if name not in over_time:
            raise RequestError(
                f"texture of {name!r}: expected a feature over time, as {', '.join(over_time[:3])}, not a count or one of the surroundings"
            )

    @model_validator(mode="after")
    def _seasonable(self) -> "FeaturesRecipe":
        """With too few steps in a period a season would be NaN for good."""
        for season in (step for step in self.features if isinstance(step, SeasonStep)):
            n_steps = most_steps(self.period.calendar, season.step_days)
            if n_steps < season.min_steps:
                raise RequestError(
                    f"the feature {season.names()[0]!r} has at most {n_steps} steps of {season.step_days} days in a period of {self.period.length} and needs "
                    f"{season.min_steps}: expected a longer period, or a smaller step_days or min_steps"
                )
        return self

    @model_validator(mode="after")
    def _foldable(self) -> "FeaturesRecipe":
        for step in self.features:
            if isinstance(step, FoldedStep):
                step.steps(self.period.calendar)
        return self

    @model_validator(mode="after")
    def _registrable(self) -> "FeaturesRecipe":
        if self.coregister:
            self.coregister.check([source.collection for source in self.sources], self.used_bands, self.grid.tile_px)
        return self

    def check_grid(self, grid: PixelGrid, tiles: Sequence[Tile], area: Geometry) -> None:
        """RequestError also for tiles where a metre or the up of the grid is not that of the ground, and a feature needs them."""
        super().check_grid(grid, tiles, area)
        steps = [step for step in self.features if isinstance(step, WindowStep)]
        of_lengths = [name for step in steps for name in step.of_lengths()]
        of_north = [name for step in steps for name in step.of_north()]
        check_true(grid, tiles, of_lengths, of_north, in_chosen_zone=self.grid.crs == "utm")

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
    def kernels_used(self) -> tuple[str, ...]:
        """Also the kernels that a few features alone use."""
        own = dict.fromkeys(feature.kernel for feature in self.features if feature.kernel)
        return (*super().kernels_used, *own)

    @property
    def with_agreement(self) -> bool:
        """Whether a feature asks where the masks agree."""
        return any(isinstance(feature, MaskAgreementStep) for feature in self.features)

    @property
    def margin_px(self) -> int:
        """How far, in pixels, bands and rasters are read beyond the tile: the farthest look of a window feature."""
        steps = [step for step in self.features if isinstance(step, WindowStep)]
        return max((step.margin_px(self.grid.resolution_m) for step in steps), default=0)

    @property
    def rasters(self) -> tuple[RasterInput, ...]:
        """The rasters that its features read, each once."""
        asked = [step.raster() for step in self.features if isinstance(step, WindowStep)]
        return tuple(dict.fromkeys(raster for raster in asked if raster))

    @property
    def n_layers(self) -> int:
        """One for each feature."""
        return len(self.feature_names)

    def periods_in(self, asked: Period) -> tuple[Period, ...]:
        """The cells whose step lies in the time asked for; RequestError if it cuts one."""
        return self.period.calendar.cells(asked)

    def step_of(self, period: Period) -> Period:
        """The step in the middle of a cell that is longer, else the step it starts."""
        return self.period.calendar.step_of(period)

    def implied(self) -> dict[str, Any]:
        """The kinds of its features and their layers, in order, and the formulas behind index names."""
        formulas = {name: formula.text for step in self.steps for name, formula in step.formulas()}
        kinds = [feature_kind(feature) for feature in self.features]
        return {"feature_kinds": kinds, "layers": self.feature_names, "formulas": formulas}


def _refuse_two_meanings(steps: Sequence[IndexStep | OneIndexStep]) -> None:
    """RequestError for one name of an index with different constants."""
    said: dict[str, tuple[str, bool]] = {}
    for step in steps:
        for name, formula in step.formulas():
            text, has_constants = said.setdefault(name, (formula.text, bool(step.constants)))
            if text != formula.text and (has_constants or step.constants):
                raise RequestError(
                    f"{name!r} is an index with other constants in each of two features: give one of them another `name:`"
                )
