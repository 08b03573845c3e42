"""Features of the course of an index over time: harmonics, seasons, how often it lies in a range, trend and greatest change."""

import math
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from products.errors import RequestError
from products.feature_step import OneIndexStep, quantile_of
from products.period import Calendar, Duration
from products.pixel.folds import MEAN
from products.pixel.season import ALL_METRICS, SEASON_METRICS
from products.pixel.trend import CHANGE_METRICS, MOST_STEPS, TREND_METRICS
from products.time_steps import Steps, steps_in
from products.window_spec import checked_measures

FOLDED_BY: Final[Mapping[str, float]] = {"mean": MEAN, "min": 0.0, "max": 1.0}


class HarmonicsStep(OneIndexStep):
    """Harmonic regression of an index over time: level, trend, amplitude and day of maximum of each harmonic, RMSE."""

    kernel: ClassVar[str] = "harmonics"
    order: int = Field(ge=1, le=4, default=1)
    trend: bool = False

    def names(self) -> tuple[str, ...]:
        """`ndvi_level`, [`ndvi_trend`], `ndvi_amplitude_1`, `ndvi_day_1`, …, `ndvi_rmse`."""
        waves = [f"{part}_{k}" for k in range(1, self.order + 1) for part in ("amplitude", "day")]
        return tuple(f"{self.prefix}_{part}" for part in ("level", *(["trend"] if self.trend else []), *waves, "rmse"))


class SeasonStep(OneIndexStep):
    """Season metrics of an index from a smooth regular series (Whittaker; TIMESAT's relative amplitude)."""

    kernel: ClassVar[str] = "season"
    step_days: int = Field(ge=1, le=60, default=10)
    smoothness: float = Field(ge=0.01, le=1e6, default=10.0)
    threshold: float = Field(gt=0, lt=1, default=0.5)
    min_steps: int = Field(ge=3, default=6)
    metrics: tuple[str, ...] = Field(min_length=1, default=SEASON_METRICS)
    min_prominence: FiniteFloat = Field(gt=0, default=0.1)

    @model_validator(mode="after")
    def _measured(self) -> "SeasonStep":
        checked_measures("season", self.metrics, ALL_METRICS)
        if "count" not in self.metrics and "min_prominence" in self.model_fields_set:
            raise RequestError("min_prominence is of the peaks that are counted: add count to the metrics")
        return self

    def names(self) -> tuple[str, ...]:
        """`ndvi_season_start`, …"""
        return tuple(f"{self.prefix}_season_{metric}" for metric in self.metrics)


class FrequencyStep(OneIndexStep):
    """The share of the observations in which an index is at least one value, below another, or between both (of water: Mueller et al. 2016)."""

    kernel: ClassVar[str] = "frequency"
    at_least: FiniteFloat | None = None
    below: FiniteFloat | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "FrequencyStep":
        if self.at_least is None and self.below is None:
            raise RequestError("frequency needs at_least: or below:, or both, as `at_least: 0.2`")
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise RequestError(f"expected at_least less than below, got {self.at_least:g} and {self.below:g}")
        return self

    def names(self) -> tuple[str, ...]:
        """`mndwi_frequency`."""
        return (f"{self.prefix}_frequency",)

    @property
    def bounds(self) -> tuple[float, float]:
        """What a value is at least, and below what it is; infinite where that is not asked."""
        least, below = self.at_least, self.below
        return -math.inf if least is None else least, math.inf if below is None else below

    @property
    def condition(self) -> str:
        """In words."""
        said = {"at least": self.at_least, "below": self.below}
        return " and ".join(f"{word} {bound:g}" for word, bound in said.items() if bound is not None)


class FoldedStep(OneIndexStep):
    """A feature of one value of an index for each `step` of a period: what `reduce` makes of the observations of the step."""

    step: str = "P1Y"
    reduce: str = "median"
    min_steps: int = Field(ge=3, le=MOST_STEPS, default=4)

    @field_validator("step")
    @classmethod
    def _duration(cls, step: str) -> str:
        Duration.parse(step)
        return step

    @field_validator("reduce")
    @classmethod
    def _one_value(cls, reduce: str) -> str:
        if reduce not in FOLDED_BY and quantile_of(reduce) is None:
            raise RequestError(f"expected reduce: mean, median, min, max or a percentile as p90, got {reduce!r}")
        return reduce

    @property
    def quantile(self) -> float:
        """That `reduce` takes of a step; MEAN for the mean."""
        quantile = quantile_of(self.reduce)
        return FOLDED_BY[self.reduce] if quantile is None else quantile

    def steps(self, calendar: Calendar) -> Steps:
        """The steps of a period; RequestError where these are too few or too many, or cut months."""
        name = self.names()[0]
        try:
            steps = steps_in(calendar, Duration.parse(self.step))
        except RequestError as error:
            raise RequestError(f"the feature {name!r}: {error}") from error
        if not self.min_steps <= steps.n_steps <= MOST_STEPS:
            raise RequestError(
                f"the feature {name!r} has {steps.n_steps} steps of {self.step} in a period: expected at least its min_steps, {self.min_steps}, and at most "
                f"{MOST_STEPS}"
            )
        return steps


class TrendStep(FoldedStep):
    """The trend of an index over the steps of a period (Theil-Sen), and whether it is one (Mann-Kendall)."""

    kernel: ClassVar[str] = "trend"

    def names(self) -> tuple[str, ...]:
        """`ndvi_trend_slope`, …"""
        return tuple(f"{self.prefix}_trend_{metric}" for metric in TREND_METRICS)


class ChangeStep(FoldedStep):
    """The greatest fall, or rise, of an index from one step of a period to the next."""

    kernel: ClassVar[str] = "change"
    direction: Literal["fall", "rise"] = "fall"

    def names(self) -> tuple[str, ...]:
        """`nbr_fall_size`, …"""
        return tuple(f"{self.prefix}_{self.direction}_{metric}" for metric in CHANGE_METRICS)
