"""What a STAC item is a picture of: sensor, acquisition, rendition and pass, the same from every catalogue."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.steps.item_refused import ItemRefused, NotAScene
from flows.steps.pass_day import orbit_day, wrs_day
from products.sensors import SENSORS, Sensor

LANDSAT_ID = re.compile(r"\bL[CTE]0([45789])_(L2S[PR])_(\d{3})(\d{3})_(\d{8})_(?:(\d{8})_)?(\d{2})_(T1|T2|RT)")
MSI_ID = re.compile(r"(S2[A-D])_MSIL2A_(\d{8}T\d{6})_(?:N(\d{4})_)?R(\d{3})_T(\d{2}[A-Z]{3})_(\d{8}T\d{6})")
MSI_TILE = re.compile(r"_T?(\d{2}[C-X][A-Z]{2})_")
DATATAKE = re.compile(r"GS2[A-D]_(\d{8}T\d{6})_(\d{6})_N(\d{2}\.\d{2})")
GRANULE = re.compile(r"S2[A-D]_OPER_MSI_L2A_TL_\w{4}_(\d{8}T\d{6})_A(\d{6})_T\w{5}_N(\d{2}\.\d{2})")

# relative orbit = (absolute orbit - offset) modulo 143, counted 1 to 143 (ESA Sentinel-2 products, orbit cycle 143)
ORBIT_OFFSET = {"sentinel-2a": 140, "sentinel-2b": 26}
TIERS = ("RT", "T2", "T1")

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who took the picture, of what, when, and how it was processed; `region`: the WRS-2 path and row or MGRS tile."""

    sensor: Sensor
    platform: str
    region: str
    acquired: datetime
    acquisition: str
    pass_id: str
    rendition: str
    processed: datetime
    baseline: str | None = None


def identify(item: dict[str, Any]) -> Identity:
    """The identity of an item; ItemRefused with the fact that is missing, or NotAScene."""
    properties = item["properties"]
    names = _names(item)
    landsat, msi = _first(LANDSAT_ID, names), _first(MSI_ID, names)
    platform = _platform(properties, landsat, msi, names)
    if platform.startswith("landsat-"):
        return _landsat(item, platform, landsat)
    if platform.startswith("sentinel-2"):
        return _sentinel2(item, platform, msi, names)
    raise ItemRefused(
        f"platform {platform!r} of collection {item.get('collection')!r} is not read: "
        "expected Landsat 4 to 9 Collection 2 Level-2 or Sentinel-2 L2A"
    )


def sensing_time(properties: Properties) -> datetime:
    """`datetime`, or `start_datetime` where it is null; UTC where no zone is given. ItemRefused if unreadable."""
    text = properties.get("datetime") or properties.get("start_datetime")
    instant = _iso(text)
    if instant is None:
        raise ItemRefused(f"no sensing time: expected an ISO datetime, got {text!r}")
    return instant


def rendition_rank(rendition: str) -> tuple[str, int, str]:
    """Orders renditions of one acquisition, the chosen one last: number, tier, processing time (archives.yaml)."""
    number, *middle, processed = rendition.split("/")
    return number, TIERS.index(middle[0]) if middle else 0, processed


def rendition_difference(chosen: str, other: str) -> str:
    """What puts `chosen` above `other`: `baseline 05.00 > 02.14`, `tier T1 > RT`, `processed 20200824 > 20200204`."""
    pairs = list(zip(chosen.split("/"), other.split("/"), strict=True))
    labels = ("collection", "tier", "processed") if len(pairs) == 3 else ("baseline", "generated")
    return next(f"{label} {new} > {old}" for label, (new, old) in zip(labels, pairs, strict=True) if new != old)


def _landsat(item: dict[str, Any], platform: str, found: re.Match[str] | None) -> Identity:
    if item.get("collection") == "landsat-c2l2-st" or str(item["id"]).endswith("_ST"):
        raise NotAScene("surface temperature of a scene whose reflectance item is the scene")
    if found is None:
        raise ItemRefused(
            f"not a Landsat Collection 2 Level-2 item: expected an id or file names such as "
            f"LC08_L2SP_127057_20200114_20200824_02_T1, got {item['id']!r}"
        )
    _, _, path, row, day, processed, number, tier = found.groups()
    if number != "02" or processed is None:
        raise ItemRefused(f"expected a Landsat Collection 02 product id with its processing date, got {found[0]!r}")
    sensed = sensing_time(item["properties"])
    date = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    exact = sensed if "T" in str(item["properties"].get("datetime")) else None
    return Identity(
        sensor=_sensor(platform),
        platform=platform,
        region=path + row,
        acquired=sensed,
        acquisition=f"{platform}/{path}{row}/{date:%Y-%m-%d}",
        pass_id=f"{platform}/{path}/{wrs_day(int(path), exact, date)}",
        rendition=f"{number}/{tier}/{processed}",
        processed=datetime.strptime(processed, "%Y%m%d").replace(tzinfo=UTC),
    )


def _sentinel2(item: dict[str, Any], platform: str, found: re.Match[str] | None, names: list[str]) -> Identity:
    properties = item["properties"]
    _require_l2a(item, names)
    take, granule = _first(DATATAKE, names), _first(GRANULE, names)
    tile = _tile(properties, found, names)
    orbit = _relative_orbit(properties, platform, found, take, granule)
    sensed = sensing_time(properties)
    start = _compact(found[2] if found else take[1] if take else None) or sensed
    baseline = _baseline(properties, found, take, granule)
    generated = _generated(properties, found, granule)
    return Identity(
        sensor=_sensor(platform),
        platform=platform,
        region=tile,
        acquired=sensed,
        acquisition=f"{platform}/{tile}/R{orbit:03d}/{start:%Y-%m-%d}",
        pass_id=f"{platform}/R{orbit:03d}/{orbit_day(start)}",
        rendition=f"{baseline}/{generated:%Y%m%dT%H%M%S}",
        processed=generated,
        baseline=baseline,
    )


def _names(item: dict[str, Any]) -> list[str]:
    """The texts that may hold a product id: the item's id, its properties and the hrefs of its assets."""
    texts = [str(item["id"]), *(str(v) for v in item["properties"].values() if isinstance(v, str))]
    return texts + [str(a.get("href", "")) for a in item.get("assets", {}).values() if isinstance(a, dict)]


def _first(pattern: re.Pattern[str], texts: list[str]) -> re.Match[str] | None:
    """The first match, one with all groups if there is one."""
    matches = [match for text in texts if (match := pattern.search(text))]
    return next((match for match in matches if None not in match.groups()), matches[0] if matches else None)


def _platform(
    properties: Properties, landsat: re.Match[str] | None, msi: re.Match[str] | None, names: list[str]
) -> str:
    stated = properties.get("platform") or properties.get("eo:platform")
    if stated:
        return str(stated).lower().replace("_", "-").replace(" ", "-")
    if landsat:
        return f"landsat-{landsat[1]}"
    short = msi[1] if msi else re.match(r"S2[A-D]_", names[0]) and names[0][:3]
    if short:
        return f"sentinel-{short[1:].lower()}"
    raise ItemRefused("no platform: expected `platform` in the properties, or a product id")


def _sensor(platform: str) -> Sensor:
    for sensor in SENSORS.values():
        if platform in sensor.platforms:
            return sensor
    known = ", ".join(name for sensor in SENSORS.values() for name in sensor.platforms)
    raise ItemRefused(f"unknown platform {platform!r}: expected one of {known}")


def _require_l2a(item: dict[str, Any], names: list[str]) -> None:
    kind = item["properties"].get("s2:product_type") or item["properties"].get("product:type")
    known = kind == "S2MSI2A" or any("MSIL2A" in name or "_L2A" in name or "l2a" in name for name in names)
    if kind not in (None, "S2MSI2A") or not known:
        raise ItemRefused(f"not Sentinel-2 L2A: product type {kind!r}, collection {item.get('collection')!r}")


def _tile(properties: Properties, found: re.Match[str] | None, names: list[str]) -> str:
    code = str(properties.get("grid:code") or "")
    if code.startswith("MGRS-"):
        return code.removeprefix("MGRS-").zfill(5)
    if found:
        return found[5]
    if tile := properties.get("s2:mgrs_tile"):
        return str(tile)
    if match := _first(MSI_TILE, names):
        return match[1]
    raise ItemRefused("no MGRS tile: expected grid:code, s2:mgrs_tile or a product id")


def _relative_orbit(
    properties: Properties,
    platform: str,
    found: re.Match[str] | None,
    take: re.Match[str] | None,
    granule: re.Match[str] | None,
) -> int:
    if stated := properties.get("sat:relative_orbit"):
        return int(stated)
    if found:
        return int(found[4])
    absolute = properties.get("sat:absolute_orbit") or (take and take[2]) or (granule and granule[2])
    if absolute and platform in ORBIT_OFFSET:
        return (int(absolute) - ORBIT_OFFSET[platform] - 1) % 143 + 1
    raise ItemRefused("no relative orbit: expected sat:relative_orbit or a product id with R000")


def _baseline(
    properties: Properties, found: re.Match[str] | None, take: re.Match[str] | None, granule: re.Match[str] | None
) -> str:
    stated = next(
        (properties[k] for k in ("s2:processing_baseline", "sentinel:processing_baseline") if k in properties), None
    )
    number = f"{found[3][:2]}.{found[3][2:]}" if found and found[3] else None
    text = str(
        stated or number or (take and take[3]) or (granule and granule[3]) or properties.get("processing:version")
    )
    if not re.fullmatch(r"\d{2}\.\d{2}", text):
        raise ItemRefused(f"no processing baseline: expected one such as 05.00, got {text!r}")
    return text


def _generated(properties: Properties, found: re.Match[str] | None, granule: re.Match[str] | None) -> datetime:
    text = properties.get("s2:generation_time") or properties.get("processing:datetime")
    generated = _compact(found[6] if found else None) or _iso(text) or _compact(granule[1] if granule else None)
    if generated is None:
        raise ItemRefused("no generation time: expected s2:generation_time or a product id")
    return generated


def _compact(text: str | None) -> datetime | None:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if text else None


def _iso(text: object) -> datetime | None:
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
