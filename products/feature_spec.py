"""The features a recipe may ask for: what they are called, which bands they need."""

from typing import Annotated, Any, Literal

from pydantic import Field, Tag, ValidationInfo, field_validator, model_validator

from products.course_spec import ChangeStep, FrequencyStep, HarmonicsStep, SeasonStep, TrendStep
from products.errors import RequestError
from products.feature_step import (
    KNOWN_BANDS,
    BandsStep,
    Constants,
    LimitedStep,
    NamedStep,
    OneIndexStep,
    Step,
    WholeStep,
    checked_bands,
    checked_constants,
    checked_name,
    checked_reducers,
)
from products.formula import Formula, index_formula, near, parse_formula
from products.mixture import MixtureStep
from products.pixel.tasselled_cap import TASSELLED_CAP, component_formula
from products.window_spec import DistanceStep, TerrainStep, TextureStep

FeatureName = str
Reducers = tuple[str, ...]


class GeomedianStep(BandsStep):
    """The geometric median of the clear observations over some bands (Roberts et al. 2017, IEEE TGRS 55, 6254-6264)."""

    bands_asked: tuple[str, ...] = Field(alias="bands", min_length=2)

    def names(self) -> tuple[FeatureName, ...]:
        """The band names themselves, or `low_tide_red`, …"""
        return tuple(self.named(band) for band in self.bands_asked)


class MadsStep(WholeStep):
    """Spectral, Euclidean and Bray-Curtis median absolute deviation from the geomedian (Roberts et al. 2018, IGARSS)."""

    def names(self) -> tuple[FeatureName, ...]:
        """smad, emad, bcmad, or `low_tide_smad`, …"""
        return tuple(self.named(name) for name in ("smad", "emad", "bcmad"))


class MedoidStep(BandsStep):
    """The observation with the least sum of distances to all others (Flood 2013, Remote Sens. 5, 6481-6500)."""

    bands_asked: tuple[str, ...] = Field(alias="bands", min_length=2)

    def names(self) -> tuple[FeatureName, ...]:
        """`medoid_red`, …"""
        return tuple(self.named(f"medoid_{band}") for band in self.bands_asked)


class BestStep(OneIndexStep):
    """The observation with the highest, or lowest, index (Holben 1986, Int. J. Remote Sens. 7, 1417-1434)."""

    take: Literal["max", "min"] = "max"
    bands_asked: tuple[str, ...] = Field(alias="bands", min_length=1)

    @field_validator("bands_asked")
    @classmethod
    def _known(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return checked_bands(bands)

    def names(self) -> tuple[FeatureName, ...]:
        """`max_ndvi_red`, …"""
        return tuple(f"{self.take}_{self.prefix}_{band}" for band in self.bands_asked)

    def bands(self) -> tuple[str, ...]:
        """The bands it takes, then those of the index."""
        return tuple(dict.fromkeys([*self.bands_asked, *super().bands()]))


class IndexStep(LimitedStep):
    """Spectral indices of every clear observation, reduced over time."""

    names_asked: tuple[str, ...] = Field(alias="names", default=())
    formula: str | None = None
    name: str | None = None
    constants: Constants = Field(default={})
    reduce: Reducers = Field(min_length=1)

    @field_validator("constants")
    @classmethod
    def _of_the_indices(cls, constants: Constants, read: ValidationInfo) -> Constants:
        return checked_constants(constants, read.data.get("names_asked", ()))

    @field_validator("reduce")
    @classmethod
    def _reducers(cls, reduce: Reducers) -> Reducers:
        return checked_reducers(reduce)

    @model_validator(mode="after")
    def _one_way(self) -> "IndexStep":
        if bool(self.names_asked) == bool(self.formula):
            raise RequestError("an index needs either names: [NDVI, …] or formula: and name:, and not both")
        checked_name(self.name, self.formula)
        if self.name and len(self.names_asked) > 1:
            n = len(self.names_asked)
            raise RequestError(f"name: {self.name} goes with one index, got {n} names: write a feature for each")
        _ = self.formulas()
        return self

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """(`name:` or the index in lower case, program) for each index."""
        if self.formula and self.name:
            return ((self.named(self.name), parse_formula(self.formula, KNOWN_BANDS)),)
        called = [self.named(self.name or name.lower()) for name in self.names_asked]
        made = [index_formula(name, KNOWN_BANDS, self.constants) for name in self.names_asked]
        return tuple(zip(called, made, strict=True))

    def names(self) -> tuple[FeatureName, ...]:
        """`ndvi_p50`, … index by index."""
        return tuple(f"{name}_{reducer}" for name, _ in self.formulas() for reducer in self.reduce)


class BandStep(NamedStep, LimitedStep):
    """Bands of every clear observation, reduced over time."""

    names_asked: tuple[str, ...] = Field(alias="names", min_length=1)
    reduce: Reducers = Field(min_length=1)

    @field_validator("names_asked")
    @classmethod
    def _known(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return checked_bands(bands)

    @field_validator("reduce")
    @classmethod
    def _reducers(cls, reduce: Reducers) -> Reducers:
        return checked_reducers(reduce)

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """Each band as it is."""
        return tuple((self.named(band), parse_formula(band, KNOWN_BANDS)) for band in self.names_asked)

    def names(self) -> tuple[FeatureName, ...]:
        """`red_p50`, … band by band."""
        return tuple(f"{name}_{reducer}" for name, _ in self.formulas() for reducer in self.reduce)


class TasselledCapStep(NamedStep, LimitedStep):
    """Brightness, greenness and wetness of every clear observation, reduced over time."""

    coefficients: Literal["crist1985", "huang2002", "baig2014", "shi2019"] = "crist1985"
    reduce: Reducers = Field(min_length=1)

    @field_validator("reduce")
    @classmethod
    def _reducers(cls, reduce: Reducers) -> Reducers:
        return checked_reducers(reduce)

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """(component, program)."""
        return tuple(
            (self.named(name), parse_formula(component_formula(self.coefficients, name), KNOWN_BANDS))
            for name in TASSELLED_CAP[self.coefficients]
        )

    def names(self) -> tuple[FeatureName, ...]:
        """`brightness_p50`, … component by component."""
        return tuple(f"{name}_{reducer}" for name, _ in self.formulas() for reducer in self.reduce)


class CountStep(Step):
    """The pixel accounts as features: observations used, masked and expected."""

    def names(self) -> tuple[FeatureName, ...]:
        """Number of clear observations, and of expected ones."""
        return ("count_used", "count_expected")


class MaskAgreementStep(Step):
    """The share of the observations on which the delivered mask and the mask by a model agree, before clouds grow."""

    def names(self) -> tuple[FeatureName, ...]:
        """Its one layer."""
        return ("mask_agreement",)


Feature = (
    Annotated[GeomedianStep, Tag("geomedian")]
    | Annotated[MadsStep, Tag("mads")]
    | Annotated[MedoidStep, Tag("medoid")]
    | Annotated[BestStep, Tag("best")]
    | Annotated[IndexStep, Tag("index")]
    | Annotated[BandStep, Tag("band")]
    | Annotated[TasselledCapStep, Tag("tasselled_cap")]
    | Annotated[MixtureStep, Tag("mixture")]
    | Annotated[HarmonicsStep, Tag("harmonics")]
    | Annotated[SeasonStep, Tag("season")]
    | Annotated[FrequencyStep, Tag("frequency")]
    | Annotated[TrendStep, Tag("trend")]
    | Annotated[ChangeStep, Tag("change")]
    | Annotated[TextureStep, Tag("texture")]
    | Annotated[TerrainStep, Tag("terrain")]
    | Annotated[DistanceStep, Tag("distance")]
    | Annotated[CountStep, Tag("count")]
    | Annotated[MaskAgreementStep, Tag("mask_agreement")]
)
KINDS = {
    GeomedianStep: "geomedian", MadsStep: "mads", MedoidStep: "medoid", BestStep: "best", IndexStep: "index", BandStep: "band",
    TasselledCapStep: "tasselled_cap", MixtureStep: "mixture", HarmonicsStep: "harmonics", SeasonStep: "season", FrequencyStep: "frequency",
    TrendStep: "trend", ChangeStep: "change", TextureStep: "texture", TerrainStep: "terrain", DistanceStep: "distance", CountStep: "count",
    MaskAgreementStep: "mask_agreement",
}  # fmt: skip


def feature_kind(value: Any) -> str:  # noqa: ANN401
    """The tag of one entry of `features:`; RequestError for an unknown one."""
    if isinstance(value, Step):
        return KINDS[type(value)]
    known = list(KINDS.values())
    if not isinstance(value, dict) or len(value) != 1:
        raise RequestError(f"expected one feature as `- kind: {{…}}` with a kind of {', '.join(known)}, got {value!r}")
    kind = str(next(iter(value)))
    if kind not in known:
        raise RequestError(f"unknown feature {kind!r}{near(kind, known)}")
    return kind


def checked_kind(value: Any) -> Any:  # noqa: ANN401
    """The entry of `features:` as it is; RequestError for an unknown kind."""
    feature_kind(value)
    return value
