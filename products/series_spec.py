"""`kind: series`: bands and indices at regular steps of time, gaps filled."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.feature_step import KNOWN_BANDS, checked_bands, checked_name
from products.formula import Formula, index_formula, parse_formula
from products.grid_spec import PeriodSpec
from products.identity import LOADING_KERNELS
from products.period import Duration, Period
from products.pixel.precision import MANTISSA_BITS
from products.scene_recipe import SceneRecipe
from products.time_steps import MAX_STEPS, UNITS, Steps, steps_in


class LinearFill(Closed):
    """What was observed, and straight lines between; before the first and after the last observed step their values."""

    method: Literal["linear"]


class WhittakerFill(Closed):
    """Whittaker's smoother: the larger the smoothness, the nearer to a straight line."""

    method: Literal["whittaker"]
    smoothness: float = Field(ge=0.01, le=1e6, default=10.0)


class HarmonicFill(Closed):
    """A level and waves of a year and its parts, fitted by least squares."""

    method: Literal["harmonic"]
    order: int = Field(ge=1, le=4, default=2)
    trend: bool = False


Fill = Annotated[LinearFill | WhittakerFill | HarmonicFill, Field(discriminator="method")]


class SeriesRecipe(SceneRecipe):
    """`kind: series`: a regular series of each pixel, and how many observations each step has."""

    kind: Literal["series"]
    period: PeriodSpec
    step: str
    bands_asked: tuple[str, ...] = Field(alias="bands", default=())
    indices: tuple[str, ...] = ()
    formula_texts: Mapping[str, str] = Field(alias="formulas", default={})
    fill: Fill
    margin: str | None = None
    min_observations: int = Field(ge=1, default=1)
    precision_bits: int | None = Field(ge=4, le=MANTISSA_BITS, default=None)

    kernels: ClassVar[tuple[str, ...]] = (*LOADING_KERNELS, "series", "overviews")

    @field_validator("fill", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:  # noqa: ANN401
        return {"method": value} if isinstance(value, str) else value

    @field_validator("bands_asked")
    @classmethod
    def _known(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return checked_bands(bands)

    @model_validator(mode="after")
    def _consistent(self) -> "SeriesRecipe":
        calendar = self.period.calendar
        if calendar.length != calendar.step:
            raise RequestError("expected periods of a series that follow one another: leave the `step` of `period` out")
        _ = self.steps, self.margin_steps
        names = self.layer_names
        if not names:
            raise RequestError("a series of nothing: expected bands: […], indices: […] or formulas: {name: …}")
        for name in names:
            if names.count(name) > 1:
                raise RequestError(f"{name!r} stands twice in the series: expected each band, index and formula once")
        missing = set(self.used_bands) - self.bands()
        if missing:
            raise RequestError(
                f"the series needs the band {sorted(missing)[0]!r}, which not every source has; "
                f"bands of all sources: {', '.join(sorted(self.bands()))}"
            )
        return self

    @property
    def kernels_used(self) -> tuple[str, ...]:
        """Also that of a harmonic fill."""
        return (*super().kernels_used, *(("harmonics",) if isinstance(self.fill, HarmonicFill) else ()))

    @property
    def steps(self) -> Steps:
        """The steps of every period."""
        return steps_in(self.period.calendar, Duration.parse(self.step))

    @property
    def margin_steps(self) -> int:
        """How many steps before and after a period its gaps are filled from; RequestError where the margin is not of whole steps."""
        if self.margin is None:
            return 0
        step, margin = self.steps.length, Duration.parse(self.margin)
        n, rest = divmod(margin.count * UNITS[margin.unit], step.count * UNITS[step.unit])
        if rest or (margin.unit in "DW") != (step.unit in "DW"):
            raise RequestError(
                f"margin: expected whole steps, as P{2 * step.count}{step.unit} for steps of {self.step}, got {self.margin}"
            )
        if not 1 <= n <= MAX_STEPS:
            raise RequestError(f"margin: expected 1 to {MAX_STEPS} steps, {self.margin} makes {n}")
        return n

    def seen_in(self, period: Period) -> Period:
        """The period and the margin on both sides of it."""
        return self.steps.around(period, self.margin_steps)

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """(name, program) of each layer: bands, indices, formulas."""
        for name, text in self.formula_texts.items():
            checked_name(name, text)
        made = [(band, parse_formula(band, KNOWN_BANDS)) for band in self.bands_asked]
        made += [(name.lower(), index_formula(name, KNOWN_BANDS)) for name in self.indices]
        return (*made, *((name, parse_formula(text, KNOWN_BANDS)) for name, text in self.formula_texts.items()))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The bands and indices, in the order of the cube."""
        return tuple(name for name, _ in self.formulas())

    @property
    def used_bands(self) -> tuple[str, ...]:
        """The bands that are read, in the order of the block."""
        return tuple(dict.fromkeys(band for _, formula in self.formulas() for band in formula.bands))

    @property
    def n_layers(self) -> int:
        """At each step one for each name, and the number of observations."""
        return self.steps.n_steps * (len(self.layer_names) + 1)

    def periods_in(self, asked: Period) -> tuple[Period, ...]:
        """The periods in the time asked for; RequestError if it cuts one."""
        return self.period.calendar.cells(asked)

    def implied(self) -> dict[str, Any]:
        """The order of its layers, and the formulas behind index names."""
        return {"layers": self.layer_names, "formulas": {name: formula.text for name, formula in self.formulas()}}
