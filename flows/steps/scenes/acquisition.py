"""What is known of a scene before its pixels: who took it, of what, when, in which pass, and how it was processed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from flows.steps.archives.item_refused import ItemRefused, brief
from flows.steps.scenes.item_facts import Item, text
from products.sensors import SENSORS, Sensor


@dataclass(frozen=True, slots=True)
class Identity:
    """Who took the picture, of what, when, and how it was processed; `region`: the WRS-2 path and row or MGRS tile.

    `slice` tells apart what two receiving stations took of one acquisition.
    """

    sensor: Sensor
    platform: str
    region: str
    acquired: datetime
    acquisition: str
    pass_id: str
    rendition: str
    processed: datetime
    baseline: str | None = None
    slice: str = ""


def sensor_on(platform: str) -> Sensor:
    """The sensor of a platform; ItemRefused for one that is not read."""
    for sensor in SENSORS.values():
        if platform in sensor.platforms:
            return sensor
    known = ", ".join(name for sensor in SENSORS.values() for name in sensor.platforms)
    raise ItemRefused(f"unknown platform {brief(platform)}: expected one of {known}")


def fullest(pattern: re.Pattern[str], texts: Iterable[str]) -> re.Match[str] | None:
    """The first match with all groups, else the first match."""
    partial = None
    for each in texts:
        if match := pattern.search(each):
            if None not in match.groups():
                return match
            partial = partial or match
    return partial


def another_product(item: Item, expected: str) -> ItemRefused:
    """The refusal of an item of a product that is not read, by the name its catalogue has for it."""
    properties = item["properties"]
    name = text(properties, "odc:product") or text(item, "collection") or item["id"]
    is_of_a_cube = any(str(key).startswith("odc:") for key in properties)
    used = " (of an Open Data Cube: recipes read it there as it is)" if is_of_a_cube else ""
    return ItemRefused(f"{brief(name)} is another product{used}: expected {expected}")
