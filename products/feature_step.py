"""What every feature of a recipe has: names, bands, formulas and the sources it is limited to."""

import re
from typing import Any, ClassVar

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.formula import Formula, index_constants, index_formula, near, parse_formula
from products.sensors import SENSORS
from products.tide import TideSpec

KNOWN_BANDS = frozenset(band for sensor in SENSORS.values() for band in sensor.reflectance)
PLAIN_REDUCERS = ("mean", "std", "min", "max", "median", "count", "range", "iqr", "skewness", "kurtosis")
PERCENTILE = re.compile(
    r"p([0-9]+)(?:_([0-9]+))?"
)  # decimals behind an underscore: a reducer is part of a measurement's name
Bands = tuple[str, ...]
Constants = dict[str, FiniteFloat]  # of an index of the catalogue, by its symbols
Limit = tuple[str | TideSpec, ...]  # the collections, and the tide, of the scenes that are used; all if empty


class Step(Closed):
    """A feature written as `- kind: {parameters}`; `kernel`: one that it alone uses and whose version is part of the id of a cell."""

    kernel: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, dict) and len(value) == 1:
            parameters = next(iter(value.values()))
            return {} if parameters is None else parameters
        return value

    def names(self) -> tuple[str, ...]:
        """The names of its layers, in cube order."""
        raise TypeError(f"{type(self).__name__} has no layers of its own")

    def named(self, name: str) -> str:
        """The name of one of its layers, behind what tells them from those of another such feature."""
        return name

    def bands(self) -> Bands:
        """The bands it reads; none of its own by default."""
        return ()

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """(name, program) of each index it evaluates."""
        return ()

    def limited_to(self) -> tuple[str, ...]:
        """The collections whose scenes it uses; all if empty."""
        return ()

    def at_tide(self) -> TideSpec | None:
        """The tides of the scenes that it uses; all if None."""
        return None

    def limit(self) -> Limit:
        """All that it limits scenes by."""
        tide = self.at_tide()
        return (*self.limited_to(), tide) if tide else self.limited_to()


class LimitedStep(Step):
    """A feature that may be limited to the scenes of some `sources:`, as where others lack its bands, and of the lowest or highest tides."""

    sources: tuple[str, ...] = ()
    tide: TideSpec | None = None

    def at_tide(self) -> TideSpec | None:
        """The tides of the scenes that it uses; all if None."""
        return self.tide

    def named(self, name: str) -> str:
        """`low_tide_NAME` or `high_tide_NAME`, or the name itself."""
        return super().named(f"{self.tide.prefix}_{name}" if self.tide else name)

    def limited_to(self) -> tuple[str, ...]:
        """The collections whose scenes it uses; all if empty."""
        return self.sources

    def bands(self) -> Bands:
        """Bands of all formulas."""
        return tuple(dict.fromkeys(band for _, formula in self.formulas() for band in formula.bands))


class OneIndexStep(LimitedStep):
    """A feature of one index: `index: NDVI`, or `formula:` with a `name:`."""

    index: str | None = None
    formula: str | None = None
    name: str | None = None
    constants: Constants = Field(default={})

    @field_validator("constants")
    @classmethod
    def _of_the_index(cls, constants: Constants, read: ValidationInfo) -> Constants:
        index = read.data.get("index")
        return checked_constants(constants, (index,) if index else ())

    @model_validator(mode="after")
    def _one_index(self) -> "OneIndexStep":
        if bool(self.index) == bool(self.formula):
            raise RequestError("expected either index: NDVI (or another) or formula: and name:, and not both")
        checked_name(self.name, self.formula)
        _ = self.formulas()
        return self

    @property
    def prefix(self) -> str:
        """The name that its layers begin with: `name:`, or the index in lower case."""
        return self.named(self.name or str(self.index).lower())

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """The one program."""
        if self.formula:
            return ((self.prefix, parse_formula(self.formula, KNOWN_BANDS)),)
        return ((self.prefix, index_formula(str(self.index), KNOWN_BANDS, self.constants)),)


class NamedStep(Step):
    """A feature whose layers begin with its `name:`, where it has one."""

    name: str | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        checked_name(name, None)
        return name

    def named(self, name: str) -> str:
        """The name, behind that of the feature and that of its tide."""
        return super().named(f"{self.name}_{name}" if self.name else name)


class WholeStep(NamedStep, LimitedStep):
    """A feature of whole observations."""


class BandsStep(WholeStep):
    """A feature of some bands as they are."""

    bands_asked: Bands = Field(alias="bands", min_length=1)

    @field_validator("bands_asked")
    @classmethod
    def _known(cls, bands: Bands) -> Bands:
        return checked_bands(bands)

    def bands(self) -> Bands:
        """Bands in the order of the recipe."""
        return self.bands_asked


def checked_name(name: str | None, formula: str | None) -> None:
    """RequestError for a formula without a name, or a name that cannot be part of a measurement's."""
    if formula and not name:
        raise RequestError(f"the formula {formula!r} needs a name:")
    if name and not (name.isidentifier() and name == name.lower()):
        raise RequestError(f"expected a name of lower-case letters, digits and underscores, got {name!r}")


def checked_constants(constants: Constants, indices: tuple[str, ...]) -> Constants:
    """Those that are not the catalogue's anyway; RequestError for one that no index of the feature has."""
    known = [index_constants(index) for index in indices] if constants else []
    for name in constants:
        if not any(name in each for each in known):
            has = ", ".join(dict.fromkeys(symbol for each in known for symbol in each))
            of = f"constants of {' and '.join(indices)}" if indices else "constants with an index of the catalogue only"
            raise RequestError(f"unknown constant {name!r}: expected {of}{f': {has}' if has else ', which has none'}")
    return {name: value for name, value in constants.items() if any(each.get(name, value) != value for each in known)}


def checked_bands(bands: Bands) -> Bands:
    """The bands; RequestError for an unknown or repeated one."""
    for band in bands:
        if band not in KNOWN_BANDS:
            raise RequestError(f"unknown band {band!r}{near(band, sorted(KNOWN_BANDS))}")
    if len(set(bands)) < len(bands):
        raise RequestError(f"a band stands twice in {', '.join(bands)}")
    return bands


def checked_reducers(reduce: tuple[str, ...]) -> tuple[str, ...]:
    """The reducers; RequestError for an unknown or repeated one."""
    for reducer in reduce:
        quantile_of(reducer)
        if reduce.count(reducer) > 1:
            raise RequestError(f"the reducer {reducer!r} stands twice: expected each once")
    return reduce


def quantile_of(reducer: str) -> float | None:
    """The quantile in 0..1 that `p50`, `p2_5` or `median` means; None for the other reducers; RequestError for what is none."""
    if reducer == "median":
        return 0.5
    if reducer in PLAIN_REDUCERS:
        return None
    if found := PERCENTILE.fullmatch(reducer):
        percent = float(f"{found[1]}.{found[2] or 0}")
        if percent <= 100:
            return percent / 100
    raise RequestError(f"unknown reducer {reducer!r}: expected p0 to p100 (p2_5 for 2.5), {', '.join(PLAIN_REDUCERS)}")
