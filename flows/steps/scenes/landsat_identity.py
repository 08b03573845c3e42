"""Landsat Collection 2 Level-2: Landsat 4 TM to 9 OLI-2, with or without surface temperature. MSS is not read."""

import re

from flows.steps.archives.item_refused import ItemRefused, NotAScene, brief
from flows.steps.scenes.acquisition import Identity, another_product, fullest, sensor_on
from flows.steps.scenes.datastrip import landsat_slice
from flows.steps.scenes.item_facts import Item, compact_instant, require_day, sensing_time, text, texts_of
from flows.steps.scenes.pass_day import WRS2_PATHS, wrs_day

LANDSAT_ID = re.compile(r"\bL[COTE]0([4-9])_(L2S[PR])_(\d{3})(\d{3})_(\d{8})_(?:(\d{8})_)?(\d{2})_(T1|T2|RT)", re.ASCII)
OTHER_ID = re.compile(r"\bL[COTEM]0\d_L\d\w{2}_\d{6}_\d{8}_(?:\d{8}_)?\d{2}_(?:T1|T2|RT)", re.ASCII)
MSS_ID = re.compile(r"\bLM(?:0[1-5]_|[1-5]\d{13})", re.ASCII)
EXPECTED = "Landsat Collection 2 Level-2, whose product ids are such as LC08_L2SP_127057_20200114_20200824_02_T1"
WRS2_ROWS = 248


def refuse_temperature(item: Item) -> None:
    """NotAScene for a surface temperature item: USGS delivers one beside the reflectance item of each scene."""
    if item.get("collection") == "landsat-c2l2-st" or item["id"].endswith("_ST"):
        raise NotAScene("surface temperature of a scene whose reflectance item is the scene")


def landsat_scene(item: Item, platform: str) -> Identity:
    """The identity of a Landsat item; ItemRefused with what it is instead."""
    found = fullest(LANDSAT_ID, texts_of(item))
    if found is None:
        raise _instead(item, platform)
    digit, _, path, row, day, processed, number, tier = found.groups()
    if number != "02" or processed is None:
        raise ItemRefused(f"expected a Landsat Collection 02 product id with its processing date, got {found[0]!r}")
    if platform != f"landsat-{digit}":
        raise ItemRefused(f"platform {brief(platform)} contradicts the product id {found[0]}")
    sensed, date, made = sensing_time(item["properties"]), compact_instant(day), compact_instant(processed)
    if date is None or made is None or not (1 <= int(path) <= WRS2_PATHS and 1 <= int(row) <= WRS2_ROWS):
        raise ItemRefused(f"no path, row and days in the product id {found[0]}")
    require_day(sensed, date, f"the product id {found[0]}")
    exact = sensed if "T" in str(text(item["properties"], "datetime")) else None
    return Identity(
        sensor=sensor_on(platform),
        platform=platform,
        region=path + row,
        acquired=sensed,
        acquisition=f"{platform}/{path}{row}/{date:%Y-%m-%d}",
        pass_id=f"{platform}/{path}/{wrs_day(int(path), exact, date)}",
        rendition=f"{number}/{tier}/{processed}",
        processed=made,
        slice=landsat_slice(text(item["properties"], "landsat:scene_id")),
    )


def _instead(item: Item, platform: str) -> ItemRefused:
    """Why an item of a Landsat platform is no Level-2 scene."""
    instruments = str(item["properties"].get("instruments") or text(item["properties"], "eo:instrument", "instrument"))[
        :80
    ]
    is_mss = platform in ("landsat-1", "landsat-2", "landsat-3") or "mss" in instruments.lower()
    if is_mss or fullest(MSS_ID, texts_of(item)):
        return ItemRefused(
            f"Landsat MSS is not read: it has no Level-2 surface reflectance (platform {brief(platform)})"
        )
    other = fullest(OTHER_ID, texts_of(item))
    return another_product(item, EXPECTED + (f", got {other[0]}" if other else ""))
