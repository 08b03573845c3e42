"""The simulated tides as harmonic constants: predicted from them they are the simulated ones again."""

from datetime import UTC, datetime, timedelta
from math import cos, radians

import pytest

from products.simulation.passes import TIDE_SPEEDS_DEG_H, tide_m
from products.simulation.tide_constants import equilibrium_deg, nodal_corrections, tidal_constants

PHASES = {"M2": 312.0, "S2": 20.0, "K1": 101.0, "O1": 250.0}
MIDDLE = datetime(2020, 7, 1, 12, tzinfo=UTC)


def predicted_m(instant: datetime) -> float:
    """Height by constants that hold around MIDDLE: the sum of f H cos(V + u - g) (Pugh 1987, 4:2)."""
    equilibrium, nodal = equilibrium_deg(instant), nodal_corrections(instant)
    return sum(
        nodal[name][0] * each.amplitude_m * cos(radians(equilibrium[name] + nodal[name][1] - each.lag_deg))
        for name, each in tidal_constants(PHASES, MIDDLE).items()
    )


def test_the_tide_at_the_instant_is_the_simulated_one_and_half_a_year_away_nearly_so() -> None:
    assert predicted_m(MIDDLE) == pytest.approx(tide_m(MIDDLE, PHASES), abs=1e-9)
    for hours in range(-182 * 24, 182 * 24, 7):
        instant = MIDDLE + timedelta(hours=hours)
        assert predicted_m(instant) == pytest.approx(tide_m(instant, PHASES), abs=0.06)


def test_arguments_turn_at_the_speeds_of_their_constituents() -> None:
    first, later = equilibrium_deg(MIDDLE), equilibrium_deg(MIDDLE + timedelta(days=10))
    for name, speed in TIDE_SPEEDS_DEG_H.items():
        turned_apart = (later[name] - first[name] - 240 * speed + 180) % 360 - 180
        assert turned_apart == pytest.approx(0, abs=0.01)


def test_the_tides_of_the_sun_and_of_the_nodal_cycle_are_the_known_ones() -> None:
    """At midnight S2 is at its start; in June 2006 and October 2015 the node was in Aries and in Libra: the diurnal tides largest and smallest."""
    assert equilibrium_deg(datetime(2020, 3, 1, tzinfo=UTC))["S2"] == 0
    largest, smallest = (
        nodal_corrections(datetime(year, month, 19, tzinfo=UTC)) for year, month in ((2006, 6), (2015, 10))
    )
    assert largest["O1"][0] == pytest.approx(1.196, abs=0.002) and smallest["O1"][0] == pytest.approx(0.822, abs=0.002)
    assert largest["M2"][0] == pytest.approx(0.963, abs=0.001) and smallest["M2"][0] == pytest.approx(1.037, abs=0.001)
    assert all(abs(shift) < 0.5 for _, shift in (*largest.values(), *smallest.values()))
