"""Where the sun and the sensor stood: what an item says of it, as EO3 properties, and the angles of a scene from these."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flows.steps.scenes.item_facts import Properties, number
from products.scene import Angles

# STAC view extension -> EO3, and the range that a value may have; degrees
ANGLES: Mapping[str, tuple[str, float, float]] = MappingProxyType(
    {
        "view:sun_elevation": ("eo:sun_elevation", -90.0, 90.0),
        "view:sun_azimuth": ("eo:sun_azimuth", -360.0, 360.0),
        "view:azimuth": ("eo:azimuth", -360.0, 360.0),
        "view:off_nadir": ("eo:off_nadir", 0.0, 90.0),
        "view:incidence_angle": ("view:incidence_angle", 0.0, 90.0),
    }
)
EARTH_RADIUS_KM = 6371.0
ALTITUDE_KM = {"tm": 705.0, "etm": 705.0, "oli": 705.0, "msi": 786.0}  # nominal orbits of Landsat 4 to 9 and Sentinel-2


def stated_angles(properties: Properties) -> dict[str, float]:
    """The angles that an item states, by their EO3 names; none that is no angle."""
    found = {}
    for name, (eo3, lowest, highest) in ANGLES.items():
        value = number(properties.get(name))
        if value is not None and lowest <= value <= highest:
            found[eo3] = value
    return found


def angles_of(facts: Mapping[str, Any], sensor: str) -> Angles | None:
    """The angles of a scene by its EO3 properties; None where sun or view are not told, or the sun is down.

    The view zenith is the incidence angle, or follows from the angle off nadir at the sensor; in the zenith it needs no azimuth.
    """
    elevation, sun_azimuth = number(facts.get("eo:sun_elevation")), number(facts.get("eo:sun_azimuth"))
    zenith = _view_zenith(facts, sensor)
    azimuth = 0.0 if zenith == 0 else number(facts.get("eo:azimuth"))
    if elevation is None or elevation <= 0 or sun_azimuth is None or zenith is None or azimuth is None:
        return None
    return Angles(elevation, sun_azimuth, zenith, azimuth)


def _view_zenith(facts: Mapping[str, Any], sensor: str) -> float | None:
    if (incidence := number(facts.get("view:incidence_angle"))) is not None:
        return incidence if 0 <= incidence < 90 else None
    off_nadir = number(facts.get("eo:off_nadir"))
    if off_nadir is None:
        return None
    sine = (1 + ALTITUDE_KM[sensor] / EARTH_RADIUS_KM) * math.sin(math.radians(off_nadir))
    return math.degrees(math.asin(sine)) if 0 <= sine < 1 else None
