"""Which platform passes when: repeat cycles, WRS-2 paths, MGRS squares, sun and tide."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import asin, atan2, cos, degrees, pi, radians, sin

from products.period import Period


@dataclass(frozen=True, slots=True)
class Platform:
    """A satellite: first and last day of its archive, days between passes, and `day + turn * path = phase (mod
    cycle)`."""

    name: str
    sensor: str
    first: date
    last: date
    cycle_days: int
    phase: int
    local_hour: float


PLATFORMS = (
    Platform("landsat-5", "tm", date(1984, 3, 16), date(2011, 11, 18), 16, 10, 9.95),
    Platform("landsat-7", "etm", date(1999, 6, 28), date(2022, 4, 6), 16, 2, 10.0),
    Platform("landsat-8", "oli", date(2013, 4, 11), date(9999, 1, 1), 16, 10, 10.2),
    Platform("landsat-9", "oli", date(2021, 10, 31), date(9999, 1, 1), 16, 2, 10.2),
    Platform("sentinel-2a", "msi", date(2015, 7, 4), date(9999, 1, 1), 10, 0, 10.5),
    Platform("sentinel-2b", "msi", date(2017, 7, 6), date(9999, 1, 1), 10, 5, 10.5),
)
SLC_OFF = date(2003, 5, 31)
OFFSET_FROM = datetime(2022, 1, 25, tzinfo=UTC)
"""From this day Sentinel-2 baselines are 04.00 and later."""


@dataclass(frozen=True, slots=True)
class Sun:
    """Where the sun stands, in degrees; azimuth from north, clockwise."""

    elevation_deg: float
    azimuth_deg: float


@dataclass(frozen=True, slots=True)
class Pass:
    """One platform's pass: `track` is the WRS-2 path or the relative orbit."""

    platform: Platform
    instant: datetime
    track: int

    @property
    def is_msi(self) -> bool:
        """Whether Sentinel-2 flies it."""
        return self.platform.sensor == "msi"

    @property
    def is_slc_off(self) -> bool:
        """Whether Landsat 7's scan-line corrector had failed."""
        return self.platform.sensor == "etm" and self.instant.date() >= SLC_OFF


def passes_over(longitude: float, latitude: float, period: Period, limit: int | None = None) -> list[Pass]:
    """The passes in a period by time, at most `limit` per platform, spread evenly; Landsat days are the true ones."""
    path = wrs_path_rows(longitude, latitude)[0]
    found: list[Pass] = []
    for platform in PLATFORMS:
        track = relative_orbit(longitude) if platform.sensor == "msi" else path
        mine = [Pass(platform, instant, track) for instant in _instants(platform, track, longitude, period)]
        if limit is not None and len(mine) > limit:
            mine = [mine[(2 * index + 1) * len(mine) // (2 * limit)] for index in range(limit)]
        found += mine
    return sorted(found, key=lambda one: (one.instant, one.platform.name))


def _instants(platform: Platform, track: int, longitude: float, period: Period) -> list[datetime]:
    utc_hour = (platform.local_hour - longitude / 15) % 24
    turn = 7 * track if platform.cycle_days == 16 else track
    instants = []
    for ordinal in range(period.start.toordinal() - 1, period.end.toordinal() + 1):
        day = date.fromordinal(ordinal)
        if (ordinal - turn) % platform.cycle_days == platform.phase and platform.first <= day <= platform.last:
            jitter_s = (ordinal * 7919 + platform.phase) % 47
            instants.append(
                datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=utc_hour, seconds=jitter_s)
            )
    return [instant for instant in instants if period.contains(instant)]


def wrs_path_rows(longitude: float, latitude: float) -> tuple[int, int, int]:
    """The WRS-2 path and the two descending rows nearest a place, from the nominal orbit (inclination 98.2 degrees,
    233 paths, 248 rows)."""
    latitude = max(-80.0, min(80.0, latitude))
    from_node = degrees(asin(sin(radians(latitude)) / sin(radians(98.2))))
    inertial = degrees(atan2(-cos(radians(98.2)) * sin(radians(from_node)), cos(radians(from_node))))
    node_longitude = longitude - inertial - from_node * 24.7 / 360
    path = round((-64.6 - node_longitude) % 360 / (360 / 233)) % 233 + 1
    row = 60 - from_node / (360 / 248)
    return path, int(row // 1), int(row // 1) + 1


def relative_orbit(longitude: float) -> int:
    """A nominal Sentinel-2 relative orbit, 1 to 143, for a longitude; not the true track."""
    return int((longitude + 180) % 360 / 360 * 143) + 1


def mgrs_squares(zone: int, latitude: float, easting_m: float, northing_m: float) -> tuple[str, str]:
    """The 100 km squares (as 47NPF) of a UTM place and of its nearer neighbour in east or west, westernmost first."""
    band = "CDEFGHJKLMNPQRSTUVWX"[min(19, max(0, int((latitude + 80) // 8)))]
    letters = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3]
    row = "ABCDEFGHJKLMNPQRSTUV"[(int(northing_m // 100_000) + (0 if zone % 2 else 5)) % 20]
    column = min(7, max(0, int(easting_m // 100_000) - 1))
    west = column - 1 if (easting_m % 100_000 < 50_000 and column > 0) or column == 7 else column
    return f"{zone:02d}{band}{letters[west]}{row}", f"{zone:02d}{band}{letters[west + 1]}{row}"


def sun_over(longitude: float, latitude: float, instant: datetime) -> Sun:
    """The sun's place, to about a degree (declination after Cooper 1969, mean solar time)."""
    day = instant.timetuple().tm_yday
    declination = radians(23.45) * sin(2 * pi * (284 + day) / 365)
    solar_hour = instant.hour + instant.minute / 60 + longitude / 15
    hour_angle, phi = radians(15 * (solar_hour - 12)), radians(latitude)
    elevation = asin(sin(phi) * sin(declination) + cos(phi) * cos(declination) * cos(hour_angle))
    east = -cos(declination) * sin(hour_angle)
    north = sin(declination) * cos(phi) - cos(declination) * cos(hour_angle) * sin(phi)
    return Sun(degrees(elevation), degrees(atan2(east, north)) % 360)


TIDE_SPEEDS_DEG_H: Mapping[str, float] = {"M2": 28.9841042, "S2": 30.0, "K1": 15.0410686, "O1": 13.9430356}
TIDE_AMPLITUDES_M: Mapping[str, float] = {"M2": 0.75, "S2": 0.35, "K1": 0.15, "O1": 0.08}


def tide_m(instant: datetime, phases_deg: Mapping[str, float]) -> float:
    """Tide above mean sea level from four constituents (speeds: Doodson 1921; amplitudes of the order found in the
    Strait of Malacca)."""
    hours = (instant - datetime(2000, 1, 1, tzinfo=UTC)) / timedelta(hours=1)
    return sum(
        TIDE_AMPLITUDES_M[name] * cos(radians(speed * hours - phases_deg[name]))
        for name, speed in TIDE_SPEEDS_DEG_H.items()
    )
