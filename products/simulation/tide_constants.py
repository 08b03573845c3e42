"""The simulated tides as harmonic constants of a tide model: amplitudes and lags at Greenwich, right for some months around an instant."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import cos, radians, sin

from products.simulation.passes import TIDE_AMPLITUDES_M, TIDE_SPEEDS_DEG_H

EPOCH = datetime(2000, 1, 1, 12, tzinfo=UTC)  # J2000


@dataclass(frozen=True, slots=True)
class TidalConstant:
    """Amplitude in metres and lag behind the equilibrium tide at Greenwich in degrees, 0 to 360."""

    amplitude_m: float
    lag_deg: float


def tidal_constants(phases_deg: Mapping[str, float], instant: datetime) -> dict[str, TidalConstant]:
    """The constants with which nodal corrections and equilibrium arguments give `passes.tide_m` at an instant, and near it: they change over 18.6 years."""
    equilibrium = equilibrium_deg(instant)
    found = {}
    for name, speed in TIDE_SPEEDS_DEG_H.items():
        factor, shift_deg = nodal_corrections(instant)[name]
        simulated_deg = speed * _hours_since_2000(instant) - phases_deg[name]
        lag_deg = (equilibrium[name] + shift_deg - simulated_deg) % 360
        found[name] = TidalConstant(TIDE_AMPLITUDES_M[name] / factor, lag_deg)
    return found


def equilibrium_deg(instant: datetime) -> dict[str, float]:
    """The equilibrium arguments at Greenwich (Schureman 1958, table 2), with the mean longitudes of moon and sun of Meeus 1998 (47.1, 25.2)."""
    centuries = (instant - EPOCH) / timedelta(days=36525)
    moon, sun = 218.3164477 + 481267.88123421 * centuries, 280.46646 + 36000.76983 * centuries
    turned = 15 * ((instant - instant.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(hours=1))
    return {
        "M2": 2 * turned - 2 * moon + 2 * sun,
        "S2": 2 * turned,
        "K1": turned + sun + 90,
        "O1": turned - 2 * moon + sun - 90,
    }


def nodal_corrections(instant: datetime) -> dict[str, tuple[float, float]]:
    """Factor of the amplitude and shift in degrees (Pugh 1987, Tides, Surges and Mean Sea-Level, table 4:3)."""
    centuries = (instant - EPOCH) / timedelta(days=36525)
    node = radians(125.0445 - 1934.1363 * centuries)
    return {
        "M2": (1 - 0.037 * cos(node), -2.1 * sin(node)),
        "S2": (1.0, 0.0),
        "K1": (1.006 + 0.115 * cos(node), -8.9 * sin(node)),
        "O1": (1.009 + 0.187 * cos(node), 10.8 * sin(node)),
    }


def _hours_since_2000(instant: datetime) -> float:
    return (instant - datetime(2000, 1, 1, tzinfo=UTC)) / timedelta(hours=1)
