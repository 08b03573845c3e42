"""Whether the pixels of a scene bear out the scale and offset that its metadata claim.

Each known convention of the sensor family is held against the clear pixels. Physics rules some out: surface reflectance
is hardly ever negative, least in the short-wave infrared, where the atmosphere adds almost nothing (Vermote et al. 2016,
Remote Sensing of Environment 185, 46-56); nothing there is brighter than a white panel; and water and vegetation are
dark (below 0.06) in at least one of blue, red and swir2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, isclose
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

Verdict = Literal["confirmed", "contradicted", "undetermined"]
Scaling = tuple[float, float]
Scalings = Mapping[str, Scaling]

BANDS = ("blue", "red", "swir2")
# Landsat: Collection 2 (USGS LSDS-1619) and Collection 1 Level-2 (LSDS-1368). Sentinel-2: with and without the +1000 of
# baseline 04.00 (Products Specification Document 14.9).
CONVENTIONS: Mapping[str, tuple[Scaling, ...]] = {
    "scl": ((1e-4, 0.0), (1e-4, -0.1)),
    "qa_pixel": ((2.75e-5, -0.2), (1e-4, 0.0)),
}
SCL_VEGETATION, SCL_BARE, SCL_WATER, SCL_SNOW = 4, 5, 6, 11
QA_UNCLEAR, QA_WATER = (
    0b11111,
    0b10000000,
)  # fill, dilated cloud, cirrus, cloud, shadow; TM and ETM+ call no water clear

# band: reflectance below which, and from which share of the clear pixels on, there are too many negatives. Blue may be
# corrected too far for aerosol over a whole scene, swir2 never.
TOO_NEGATIVE = {"blue": (-0.04, 0.25), "red": (-0.04, 0.10), "swir2": (-0.03, 0.02)}
TOO_BRIGHT, TOO_BRIGHT_SHARE, TOO_BRIGHT_FLOOR = 1.2, 0.01, 0.6
TOO_DARK = 0.03
DARK_TARGETS = (-0.015, 0.06)
"""Reflectance of the darkest water and vegetation: of all bands at least, and of swir2 and one visible band at most."""
LEAST_LIFT, LARGE_LIFT, LIFTED_CLEAR_SHARE = 0.05, 0.15, 0.3
"""An offset beyond LARGE_LIFT shows in any clear ground; a smaller one could be a grey desert, so it takes water or plants."""
MIN_CLEAR_PX, MIN_DARK_PX = 200, 100
FLOOR_SHARE, FLOOR_PX = 0.005, 5


@dataclass(frozen=True, slots=True)
class PixelSample:
    """DN of BANDS and the mask band (`scl` or `qa_pixel`) on one coarse grid, each (y, x); `mask_name` says which."""

    mask_name: str
    mask: NDArray[Any]
    bands: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SceneVerdict:
    """What one scene's pixels say of its claim, in words, with the numbers they rest on."""

    verdict: Verdict
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


def judge(sample: PixelSample, claim: Scalings) -> SceneVerdict:
    """Hold the claimed (scale, offset) of each of BANDS against the pixels."""
    pixels = _clear_pixels(sample)
    evidence: dict[str, Any] = {"valid_px": pixels.n_valid, "clear_px": pixels.n_clear, "dn": _percentiles(pixels)}
    if pixels.n_clear < MIN_CLEAR_PX:
        return SceneVerdict("undetermined", f"{pixels.n_clear} clear pixels, fewer than {MIN_CLEAR_PX}", evidence)
    known = [dict.fromkeys(BANDS, scaling) for scaling in CONVENTIONS[sample.mask_name]]
    rivals = [scalings for scalings in known if not _same(claim, scalings)]
    against = _objection(pixels, claim, rivals)
    excluded = {words(rival): _objection(pixels, rival, [claim, *rivals]) for rival in rivals}
    evidence["tested"] = {words(claim): against or "possible"} | {
        name: why or "possible" for name, why in excluded.items()
    }
    possible = " or ".join(name for name, why in excluded.items() if not why)
    if against and possible:
        return SceneVerdict("contradicted", f"{against}; the pixels fit {possible}", evidence)
    if against:
        return SceneVerdict("undetermined", f"{against}, but no known convention fits better", evidence)
    if possible:
        return SceneVerdict("undetermined", f"the clear pixels fit {possible} as well", evidence)
    return SceneVerdict("confirmed", f"otherwise {'; '.join(excluded.values())}", evidence)


def combine(verdicts: Mapping[Verdict, int]) -> Verdict:
    """What scenes of one claim say together: two must contradict it before all its scenes are refused."""
    confirmed, contradicted = verdicts.get("confirmed", 0), verdicts.get("contradicted", 0)
    if contradicted >= 2 and not confirmed:
        return "contradicted"
    return "confirmed" if confirmed and not contradicted else "undetermined"


def words(claim: Scalings) -> str:
    """The claim as text: `DN x 0.0001 - 0.1`, per band where the bands differ."""
    texts = {
        band: f"DN x {scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}" for band, (scale, offset) in claim.items()
    }
    different = dict.fromkeys(texts.values())
    return next(iter(different)) if len(different) == 1 else ", ".join(f"{band} {text}" for band, text in texts.items())


@dataclass(frozen=True, slots=True)
class _Clear:
    """Clear pixels: DN (n,) by band, and which are water, vegetation (known for Sentinel-2 only) and land."""

    n_valid: int
    n_clear: int
    clear_share: float
    dn: Mapping[str, NDArray[Any]]
    is_water: NDArray[np.bool_]
    is_vegetation: NDArray[np.bool_]


def _clear_pixels(sample: PixelSample) -> _Clear:
    """Clear pixels with clear neighbours: those at edges are mixed where an overview was averaged."""
    mask = sample.mask
    is_valid = np.all([sample.bands[band] > 0 for band in BANDS], axis=0)
    if sample.mask_name == "scl":
        is_clear = np.isin(mask, (SCL_VEGETATION, SCL_BARE, SCL_WATER, SCL_SNOW))
        is_water, is_vegetation = mask == SCL_WATER, mask == SCL_VEGETATION
    else:
        is_clear = mask & QA_UNCLEAR == 0
        is_water, is_vegetation = mask & QA_WATER > 0, np.zeros(mask.shape, bool)
    clear_share = float((is_valid & is_clear).sum() / max(is_valid.sum(), 1))
    chosen = binary_erosion(is_valid & is_clear, np.ones((3, 3), bool))
    dn = {band: sample.bands[band][chosen] for band in BANDS}
    return _Clear(int(is_valid.sum()), int(chosen.sum()), clear_share, dn, is_water[chosen], is_vegetation[chosen])


def _objection(pixels: _Clear, claim: Scalings, rivals: Sequence[Scalings]) -> str:
    """Why the pixels rule a claim out, empty if they do not."""
    reflectance = _reflectance(pixels.dn, claim)
    for band, (limit, share) in TOO_NEGATIVE.items():
        found = float((reflectance[band] < limit).mean())
        if found > share:
            return f"{found:.0%} of the clear pixels would have a {band} reflectance below {limit}"
    if (floor := _floor(reflectance["swir2"])) > TOO_BRIGHT_FLOOR:
        return f"the darkest clear pixels would have a swir2 reflectance of {floor:.2f}"
    bright = float((reflectance["swir2"] > TOO_BRIGHT).mean())
    if bright > TOO_BRIGHT_SHARE:
        return f"{bright:.0%} of the clear pixels would have a swir2 reflectance above {TOO_BRIGHT}"
    is_land = ~pixels.is_water
    if is_land.sum() >= MIN_DARK_PX:
        brightest = max(float(np.percentile(values[is_land], 95)) for values in reflectance.values())
        if brightest < TOO_DARK:
            return f"19 of 20 land pixels would be darker than {brightest:.3f} in every band"
    return next((why for rival in rivals if (why := _lifted(pixels, claim, rival))), "")


def _lifted(pixels: _Clear, claim: Scalings, rival: Scalings) -> str:
    """Whether even the darkest targets are as bright in all bands as an offset that the claim leaves in makes them."""
    lift = min(claim[band][1] - rival[band][1] for band in BANDS)
    if lift < LEAST_LIFT or any(not isclose(claim[band][0], rival[band][0], rel_tol=1e-6) for band in BANDS):
        return ""
    classes = [mask for mask in (pixels.is_water, pixels.is_vegetation) if mask.sum() >= MIN_DARK_PX]
    if lift > LARGE_LIFT:
        classes = [np.ones(pixels.n_clear, bool)]
    elif not classes or pixels.clear_share < LIFTED_CLEAR_SHARE:
        return ""
    dn = {band: min(_floor(pixels.dn[band][chosen]) for chosen in classes) for band in BANDS}
    low, high = DARK_TARGETS
    darkest = {band: float(value) for band, value in _reflectance(dn, rival).items()}
    if min(darkest.values()) < low or max(darkest["swir2"], min(darkest["blue"], darkest["red"])) > high:
        return ""
    listed = ", ".join(f"{value:.3f} in {band}" for band, value in _reflectance(dn, claim).items())
    return f"the darkest pixels would have a reflectance of {listed}"


def _reflectance(dn: Mapping[str, Any], scalings: Scalings) -> dict[str, Any]:
    return {band: dn[band] * np.float64(scale) + offset for band, (scale, offset) in scalings.items()}


def _floor(values: NDArray[Any]) -> float:
    """The dark end of some values, without the few outliers below it."""
    rank = min(max(FLOOR_PX, ceil(FLOOR_SHARE * values.size)), values.size) - 1
    return float(np.partition(values, rank)[rank])


def _percentiles(pixels: _Clear) -> dict[str, dict[str, int]]:
    """Percentiles of the clear DN by band."""
    if not pixels.n_clear:
        return {}
    shares = (0.1, 1, 5, 50, 95)
    return {
        band: {f"p{share:g}": int(value) for share, value in zip(shares, np.percentile(dn, shares), strict=True)}
        for band, dn in pixels.dn.items()
    }


def _same(one: Scalings, other: Scalings) -> bool:
    pairs = [pair for band in BANDS for pair in zip(one[band], other[band], strict=True)]
    return all(isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in pairs)
