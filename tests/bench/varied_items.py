"""As many Sentinel-2 items as wanted, made from the real ones of Earth Search v1: other tiles, other dates, other ids."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[3] / "shared/data/stac/earth_search/v1"
PAGE = 200
ZONES, ROWS = 57, 20
BANDS_OF_LATITUDE = "UTSRQPNMLK"
ROW_DEG, ROW_M = 0.9, 100_000

Item = dict[str, Any]


def write_pages(folder: Path, n_items: int, start: int = 0) -> Path:
    """Item collections of 200, as a client would save the pages of the API."""
    folder.mkdir(parents=True, exist_ok=True)
    items = varied_items(n_items, start)
    for number in range(-(-n_items // PAGE)):
        page = {"type": "FeatureCollection", "features": list(islice(items, PAGE))}
        (folder / f"page_{start + number * PAGE:08d}.json").write_text(json.dumps(page, separators=(",", ":")))
    return folder


def varied_items(n_items: int, start: int = 0) -> Iterator[Item]:
    """The items number `start` and following: every tile of a belt of 57 UTM zones and 20 rows, then 5 days later again."""
    known = real_items()
    texts = [json.dumps(item, separators=(",", ":")) for item in known]
    for number in range(start, start + n_items):
        which, place = number % len(known), number // len(known)
        yield _moved(known[which], texts[which], place % (ZONES * ROWS), place // (ZONES * ROWS))


def real_items() -> list[Item]:
    """The Sentinel-2 items of Earth Search v1 in the shared data."""
    pages = [json.loads(path.read_text()) for path in sorted(SOURCE.glob("*.json"))]
    return [item for page in pages for item in page["features"] if item["collection"] == "sentinel-2-l2a"]


def _moved(item: Item, text: str, place: int, turn: int) -> Item:
    """The item in another zone, some rows to the south, on another day."""
    tile, sensed = item["properties"]["grid:code"].removeprefix("MGRS-"), item["properties"]["datetime"][:10]
    zone, row = 2 + place % ZONES, place // ZONES
    # The first letter of the square tells the rows of one band apart; neocube reads no place from a tile's name.
    name = f"{zone:02d}{BANDS_OF_LATITUDE[row // 2]}{'AB'[row % 2]}{tile[4:]}"
    day = date.fromisoformat(sensed) - timedelta(days=2500) + timedelta(days=5 * turn)
    renamed = text.replace(tile, name).replace(sensed, str(day))
    renamed = renamed.replace(sensed.replace("-", ""), str(day).replace("-", ""))
    east, south = 6 * (zone - int(tile[:2])), ROW_DEG * row
    moved: Item = json.loads(renamed)
    rings = moved["geometry"]["coordinates"]
    moved["geometry"]["coordinates"] = [[[x + east, y - south] for x, y in ring] for ring in rings]
    moved["bbox"] = [
        moved["bbox"][0] + east,
        moved["bbox"][1] - south,
        moved["bbox"][2] + east,
        moved["bbox"][3] - south,
    ]
    moved["properties"]["proj:epsg"] = 32600 + zone
    for asset in moved["assets"].values():
        if "proj:transform" in asset:
            asset["proj:transform"][5] -= ROW_M * row
    return moved
