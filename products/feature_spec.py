"""The features a recipe may ask for: what they are called, which bands they need."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Tag, field_validator, model_validator

from products.errors import RequestError
from products.formula import Formula, index_formula, near, parse_formula
from products.sensors import SENSORS

FeatureName = str
Reducer = str
KNOWN_BANDS = frozenset(band for sensor in SENSORS.values() for band in sensor.reflectance)
PLAIN_REDUCERS = ("mean", "std", "min", "max")


class _Step(BaseModel):
    """A feature written as `- kind: {parameters}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, dict) and len(value) == 1:
            parameters = next(iter(value.values()))
            return {} if parameters is None else parameters
        return value


class GeomedianStep(_Step):
    """The geometric median of the clear observations over some bands (Roberts et al. 2017, IEEE TGRS 55, 6254-6264)."""

    bands_asked: tuple[str, ...] = Field(alias="bands", min_length=2)

    @field_validator("bands_asked")
    @classmethod
    def _known(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        for band in bands:
            known_band(band)
        if len(set(bands)) < len(bands):
            raise RequestError(f"a band stands twice in {', '.join(bands)}")
        return bands

    def names(self) -> tuple[FeatureName, ...]:
        """The band names themselves."""
        return self.bands_asked

    def bands(self) -> tuple[str, ...]:
        """Bands in the order of the recipe."""
        return self.bands_asked


class MadsStep(_Step):
    """Spectral, Euclidean and Bray-Curtis median absolute deviation from the geomedian (Roberts et al. 2018, IGARSS)."""

    def names(self) -> tuple[FeatureName, ...]:
        """smad, emad, bcmad."""
        return ("smad", "emad", "bcmad")

    def bands(self) -> tuple[str, ...]:
        """The geomedian's bands: none of its own."""
        return ()


class IndexStep(_Step):
    """Spectral indices of every clear observation, reduced over time."""

    names_asked: tuple[str, ...] = Field(alias="names", default=())
    formula: str | None = None
    name: str | None = None
    reduce: tuple[Reducer, ...] = Field(min_length=1)

    @field_validator("reduce")
    @classmethod
    def _reducers(cls, reduce: tuple[str, ...]) -> tuple[str, ...]:
        for reducer in reduce:
            quantile_of(reducer)
        return reduce

    @model_validator(mode="after")
    def _one_way(self) -> "IndexStep":
        if bool(self.names_asked) == bool(self.formula):
            raise RequestError("an index needs either names: [NDVI, …] or formula: and name:, and not both")
        if self.formula and not self.name:
            raise RequestError(f"the formula {self.formula!r} needs a name:")
        if self.name and not (self.name.isidentifier() and self.name == self.name.lower()):
            raise RequestError(f"expected a name of lower-case letters, digits and underscores, got {self.name!r}")
        _ = self.formulas()
        return self

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """(lower-case name, program) for each index."""
        if self.formula and self.name:
            return ((self.name, parse_formula(self.formula, KNOWN_BANDS)),)
        return tuple((name.lower(), index_formula(name, KNOWN_BANDS)) for name in self.names_asked)

    def names(self) -> tuple[FeatureName, ...]:
        """`ndvi_p50`, … index by index."""
        return tuple(f"{name}_{reducer}" for name, _ in self.formulas() for reducer in self.reduce)

    def bands(self) -> tuple[str, ...]:
        """Bands of all formulas."""
        return tuple(dict.fromkeys(band for _, formula in self.formulas() for band in formula.bands))


class CountStep(_Step):
    """The pixel accounts as features: observations used, masked and expected."""

    def names(self) -> tuple[FeatureName, ...]:
        """Number of clear observations, and of expected ones."""
        return ("count_used", "count_expected")

    def bands(self) -> tuple[str, ...]:
        """None of its own."""
        return ()


Feature = (
    Annotated[GeomedianStep, Tag("geomedian")]
    | Annotated[MadsStep, Tag("mads")]
    | Annotated[IndexStep, Tag("index")]
    | Annotated[CountStep, Tag("count")]
)
KINDS = ("geomedian", "mads", "index", "count")


def feature_kind(value: Any) -> str:  # noqa: ANN401
    """The tag of one entry of `features:`; RequestError for an unknown one."""
    if isinstance(value, _Step):
        return type(value).__name__.removesuffix("Step").lower()
    if not isinstance(value, dict) or len(value) != 1:
        raise RequestError(f"expected one feature as `- kind: {{…}}` with a kind of {', '.join(KINDS)}, got {value!r}")
    kind = str(next(iter(value)))
    if kind not in KINDS:
        raise RequestError(f"unknown feature {kind!r}{near(kind, list(KINDS))}")
    return kind


def checked_kind(value: Any) -> Any:  # noqa: ANN401
    """The entry of `features:` as it is; RequestError for an unknown kind."""
    feature_kind(value)
    return value


def known_band(band: str) -> str:
    """The band, or RequestError with the near ones."""
    if band not in KNOWN_BANDS:
        raise RequestError(f"unknown band {band!r}{near(band, sorted(KNOWN_BANDS))}")
    return band


def quantile_of(reducer: Reducer) -> float | None:
    """The quantile in 0..1 that `p50` means; None for mean, std, min, max; RequestError otherwise."""
    if reducer in PLAIN_REDUCERS:
        return None
    if reducer.startswith("p") and reducer[1:].isdigit() and 0 <= int(reducer[1:]) <= 100:
        return int(reducer[1:]) / 100
    raise RequestError(f"unknown reducer {reducer!r}: expected p0 to p100, {', '.join(PLAIN_REDUCERS)}")
