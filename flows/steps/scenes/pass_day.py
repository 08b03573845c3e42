"""The solar day of a pass: one for all the rows or tiles that a platform sees in it."""

from datetime import datetime, timedelta

LANDSAT_NODE_HOUR, MSI_NODE_HOUR = 10.2, 10.5  # mean local solar time of the descending node (USGS, ESA)
WRS2_FIRST_NODE, WRS2_PATHS = -64.6, 233  # longitude where path 1 crosses the equator, degrees east (USGS WRS-2)


def wrs_day(path: int, sensed: datetime | None, date: datetime) -> str:
    """The solar day where a WRS-2 path crosses the equator, the same for all its rows, also across 180 degrees.

    Where the item states no time, that of a mean pass on the UTC day `date`.
    """
    node = (WRS2_FIRST_NODE - (path - 1) * 360 / WRS2_PATHS + 180) % 360 - 180
    instant = sensed or date + timedelta(hours=(LANDSAT_NODE_HOUR - node / 15) % 24)
    return f"{instant + timedelta(hours=node / 15):%Y-%m-%d}"


def orbit_day(start: datetime) -> str:
    """The solar day where the orbit of a datatake begun at `start` crosses the equator, the same for all its tiles."""
    hour = start.hour + start.minute / 60 + start.second / 3600
    return str((start + timedelta(hours=(MSI_NODE_HOUR - hour + 12) % 24 - 12)).date())
