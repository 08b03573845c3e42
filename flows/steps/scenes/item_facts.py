"""What a STAC item says, read with suspicion: texts, numbers and instants of the kind that is expected, or nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from math import isfinite
from typing import Any

from flows.steps.archives.item_refused import ItemRefused, brief

MAX_TEXT, MAX_TEXTS = 2048, 500
PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id", "landsat:product_id")
FIRST_YEAR, LAST_YEAR = 1972, 2100

Item = dict[str, Any]
Properties = dict[str, Any]


def text(properties: Properties, *names: str) -> str | None:
    """The first of some properties that is a text."""
    for name in names:
        value = properties.get(name)
        if value and isinstance(value, str) and len(value) <= MAX_TEXT:
            return value
    return None


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if (type(value) is float or type(value) is int) and -1e300 <= value <= 1e300:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not isfinite(value):
        return None
    return float(value)


def texts_of(item: Item) -> Iterator[str]:
    """The texts that may hold a product id, likely ones first: the item's id, hrefs of its assets, its properties."""
    assets = item.get("assets")
    hrefs = (
        (asset.get("href") for asset in assets.values() if isinstance(asset, dict)) if isinstance(assets, dict) else ()
    )
    properties = item["properties"]
    named = (properties.get(name) for name in PRODUCT_NAMES)
    for value in islice(chain((item["id"],), named, hrefs, properties.values()), MAX_TEXTS):
        if isinstance(value, str) and len(value) <= MAX_TEXT:
            yield value


def sensing_time(properties: Properties) -> datetime:
    """`datetime`, or `start_datetime` where it is null; UTC where no zone is given. ItemRefused if unreadable."""
    stated = properties.get("datetime") or properties.get("start_datetime")
    instant = iso_instant(stated)
    if instant is None:
        raise ItemRefused(f"no sensing time: expected an ISO datetime, got {brief(stated)}")
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ItemRefused(f"no sensing time: expected a year from {FIRST_YEAR} on, got {instant:%Y-%m-%d}")
    return instant


def require_day(sensed: datetime, day: datetime, named: str) -> None:
    """ItemRefused for a sensing time more than a day from the UTC day of an id, `named` in the message."""
    if abs((sensed.date() - day.date()).days) > 1:
        raise ItemRefused(f"sensing time {sensed:%Y-%m-%dT%H:%M:%SZ} contradicts {named}, of {day:%Y-%m-%d}")


def compact_instant(written: str | None) -> datetime | None:
    """The instant of `20200714T115552` or the day of `20200714`, UTC; None where the digits make none."""
    if not written:
        return None
    try:
        day = int(written[:4]), int(written[4:6]), int(written[6:8])
        time = (int(written[9:11]), int(written[11:13]), int(written[13:15])) if len(written) != 8 else (0, 0, 0)
        return datetime(*day, *time, tzinfo=UTC)
    except ValueError:
        return None


def compact(instant: datetime) -> str:
    """`20200714T115552`."""
    i = instant
    return f"{i.year:04d}{i.month:02d}{i.day:02d}T{i.hour:02d}{i.minute:02d}{i.second:02d}"


def iso_instant(stated: object) -> datetime | None:
    """An ISO datetime or date in UTC; None for anything else."""
    if not isinstance(stated, str) or len(stated) > 64:
        return None
    try:
        instant = datetime.fromisoformat(stated)
    except ValueError:
        return None
    if not 1 < instant.year < 9999:
        return None
    if instant.tzinfo is UTC:
        return instant
    offset = instant.utcoffset() or timedelta()
    return (instant.replace(tzinfo=None) - offset).replace(tzinfo=UTC)
