"""What people write for an area, a period or a place, in Python as on the command line."""

from collections.abc import Sequence
from pathlib import Path

from products.errors import RequestError

AnyArea = str | Path | Sequence[float]
AnyPeriod = str | int


def area_text(area: AnyArea) -> str:
    """An area as the command line takes it: a name, a path, or `west,south,east,north`, also of four numbers; RequestError."""
    if isinstance(area, str | Path):
        return str(area)
    try:
        return ",".join(str(float(number)) for number in area)
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"expected an area as a name, a GeoJSON or GeoPackage path, or west, south, east, north in degrees, got a {type(area).__name__}"
        ) from error


def period_text(period: AnyPeriod) -> str:
    """A period as the command line takes it, such as 2020 or 2020-01-01/2020-06-30; a year may be a number."""
    return str(period)


def place_at(at: str | Sequence[float]) -> tuple[float, float]:
    """Longitude and latitude of `LON,LAT` or of two numbers; RequestError, also where they can only be meant the other way round."""
    try:
        longitude, latitude = (float(part) for part in (at.split(",") if isinstance(at, str) else at))
    except (TypeError, ValueError):
        longitude = latitude = float("nan")
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise RequestError(f"expected at as LON,LAT in degrees, such as 100.845,4.95, got {at!r}")
    return longitude, latitude
