"""What the layers of a cube are, in CF's words: the unit (UDUNITS) and a long name of each."""

from collections.abc import Mapping, Sequence
from typing import Final

from products.course_spec import ChangeStep, FrequencyStep, HarmonicsStep, SeasonStep, TrendStep
from products.feature_spec import (
    BandStep,
    BestStep,
    CountStep,
    GeomedianStep,
    IndexStep,
    MadsStep,
    MaskAgreementStep,
    MedoidStep,
    TasselledCapStep,
)
from products.feature_step import OneIndexStep, Step
from products.mixture import MixtureStep
from products.pixel.tasselled_cap import TASSELLED_CAP
from products.series_spec import SeriesRecipe
from products.window_spec import DistanceStep, TerrainStep, TextureStep

Said = tuple[str, str]  # unit, long name
PURE: Final = "1"  # of reflectance and indices too
A_DAY: Final = "day-1"
DAY: Final = "day"  # xarray reads numbers of `days` as timedelta64
DEVIATIONS: Final = (
    "median of 1 - cosine of the angle to the geometric median",
    "median Euclidean distance to the geometric median, reflectance",
    "median Bray-Curtis distance to the geometric median",
)
SEASON: Final[Mapping[str, Said]] = {
    "start": (DAY, "start of the season, days since the start of the period"),
    "peak": (DAY, "peak of the season, days since the start of the period"),
    "end": (DAY, "end of the season, days since the start of the period"),
    "length": (DAY, "length of the season"),
    "integral": (DAY, "area above the lower base in the season, index days"),
    "peak_value": (PURE, "value at the peak of the season"),
    "base_value": (PURE, "lower base of the season"),
    "amplitude": (PURE, "peak of the season above its lower base"),
    "start_value": (PURE, "value at the start of the season"),
    "end_value": (PURE, "value at the end of the season"),
    "rise_rate": (A_DAY, "mean rise from the start to the peak of the season"),
    "fall_rate": (A_DAY, "mean fall from the peak to the end of the season"),
    "rise_max_rate": (A_DAY, "steepest rise to the peak of the season"),
    "fall_max_rate": (A_DAY, "steepest fall from the peak of the season"),
    "rise_day": (DAY, "day of the steepest rise, days since the start of the period"),
    "fall_day": (DAY, "day of the steepest fall, days since the start of the period"),
    "count": (PURE, "number of seasons"),
}
TERRAIN: Final[Mapping[str, Said]] = {
    "elevation": ("metre", "elevation"),
    "slope": ("degree", "slope"),
    "aspect": ("degree", "aspect, clockwise from north"),
    "eastness": (PURE, "eastward part of the unit normal of the ground"),
    "northness": (PURE, "northward part of the unit normal of the ground"),
    "hillshade": (PURE, "cosine of the angle to a light from north-west at 45 degrees"),
    "roughness": ("metre", "largest less smallest elevation of 3 x 3 pixels"),
    "ruggedness": ("metre", "root of the squared differences of elevation to the 8 pixels around"),
    "position": ("metre", "height above the mean of the window"),
}
GREY_LEVELS: Final[Mapping[str, str]] = {
    "contrast": ", grey levels squared", "dissimilarity": ", grey levels", "mean": ", grey levels", "variance": ", grey levels squared",
}  # fmt: skip
REDUCED: Final[Mapping[str, str]] = {
    "mean": "mean", "median": "median", "std": "standard deviation", "min": "smallest", "max": "largest", "range": "range",
    "iqr": "interquartile range", "skewness": "skewness", "kurtosis": "kurtosis", "count": "number of values",
}  # fmt: skip
Attributes = dict[str, dict[str, str]]


def feature_attributes(steps: Sequence[Step]) -> Attributes:
    """`units` and `long_name` of each layer of features, by its name."""
    return {
        name: {"units": unit, "long_name": f"{text}{_where(step)}"}
        for step in steps
        for name, (unit, text) in zip(step.names(), _said(step), strict=True)
    }


def reflectance_attributes(bands: Sequence[str]) -> Attributes:
    """The same of bands as they are."""
    return {band: {"units": PURE, "long_name": f"{band} reflectance"} for band in bands}


def series_attributes(recipe: SeriesRecipe) -> Attributes:
    """The same of the layers of a series."""
    indices = [name for name in recipe.layer_names if name not in recipe.bands_asked]
    named = {name: {"units": PURE, "long_name": name} for name in indices}
    return reflectance_attributes(recipe.bands_asked) | named


def _said(step: Step) -> list[Said]:
    """Of each layer, in the order of `names()`."""
    match step:
        case GeomedianStep():
            return [(PURE, f"{band} reflectance, geometric median") for band in step.bands_asked]
        case MedoidStep():
            return [(PURE, f"{band} reflectance of the medoid") for band in step.bands_asked]
        case BestStep():
            which = "highest" if step.take == "max" else "lowest"
            seen = f"reflectance of the observation with the {which} {_index(step)}"
            return [(PURE, f"{band} {seen}") for band in step.bands_asked]
        case MadsStep():
            return [(PURE, text) for text in DEVIATIONS]
        case HarmonicsStep() | SeasonStep():
            return _of_time(step)
        case FrequencyStep():
            return [(PURE, f"share of the observations in which {_index(step)} is {step.condition}")]
        case TrendStep():
            return [
                ("year-1", f"median slope of {_index(step)} between the steps of {step.step}"),
                (PURE, f"{_index(step)} in the middle of the period by its median slope"),
                (PURE, f"Kendall's tau of {_index(step)} and time"),
                (PURE, f"two-sided p of Mann and Kendall's test for a trend of {_index(step)}"),
            ]
        case ChangeStep():
            change = f"greatest {step.direction} of {_index(step)} between steps of {step.step}"
            return [
                (PURE, change),
                (DAY, f"day of the {change}, days since the start of the period"),
                (PURE, f"mean of the steps before the {change}"),
                (PURE, f"mean of the steps after the {change}"),
            ]
        case TextureStep():
            window = f"of {step.of.layer} in {step.window_px} x {step.window_px} pixels"
            return [(PURE, f"grey-level {each} {window}{GREY_LEVELS.get(each, '')}") for each in step.measures]
        case TerrainStep():
            return [TERRAIN[measure] for measure in step.measures]
        case DistanceStep():
            sign = ", negative inside" if step.signed else ""
            return [("metre", f"distance to the nearest pixel where {step.band} is at least {step.at_least:g}{sign}")]
        case CountStep():
            return [(PURE, "number of observations used"), (PURE, "number of observations expected")]
        case MaskAgreementStep():
            return [(PURE, "share of the observations on which both masks agree")]
        case IndexStep() | BandStep() | TasselledCapStep() | MixtureStep():
            return _reduced(step)
    raise TypeError(f"{type(step).__name__} does not say what its layers are")


def _of_time(step: HarmonicsStep | SeasonStep) -> list[Said]:
    index = _index(step)
    if isinstance(step, SeasonStep):
        parts = [name.removeprefix(f"{step.prefix}_season_") for name in step.names()]
        return [(unit, f"{text}, of {index}") for unit, text in (SEASON[part] for part in parts)]
    waves = [
        each
        for k in range(1, step.order + 1)
        for each in (
            (PURE, f"amplitude of wave {k} of {index}"),
            (DAY, f"day of the first maximum of wave {k} of {index}, since 1 January"),
        )
    ]
    trend = [("year-1", f"trend of {index}")] if step.trend else []
    level = (PURE, f"{index} in the middle of the period, without its waves")
    return [level, *trend, *waves, (PURE, f"root mean square of the residuals of {index}")]


def _reduced(step: IndexStep | BandStep | TasselledCapStep | MixtureStep) -> list[Said]:
    """Of indices, bands, components and shares of every observation, one after the other."""
    match step:
        case IndexStep(formula=str()):
            names = [f"{step.name} = {step.formula}"]
        case IndexStep():
            names = list(step.names_asked)
        case BandStep():
            names = [f"{band} reflectance" for band in step.names_asked]
        case TasselledCapStep():
            names = [f"tasselled-cap {component}" for component in TASSELLED_CAP[step.coefficients]]
        case _:
            names = [f"share of {surface}" for surface in step.endmembers]
    return [(PURE, f"{_reducer(reducer)} over time of {name}") for name in names for reducer in step.reduce]


def _reducer(reducer: str) -> str:
    return REDUCED.get(reducer) or f"percentile {reducer.removeprefix('p')}"


def _index(step: OneIndexStep) -> str:
    return step.index or f"{step.name} = {step.formula}"


def _where(step: Step) -> str:
    """At which tide, and of which scenes alone."""
    tide = step.at_tide()
    at = f", at {tide.prefix.replace('_', ' ')}" if tide else ""
    return at + (f", of {' and '.join(step.limited_to())}" if step.limited_to() else "")
