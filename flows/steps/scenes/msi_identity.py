"""Sentinel-2 Level-2A of every unit and baseline, as any provider tells of it."""

import re
from datetime import datetime

from flows.steps.archives.item_refused import ItemRefused, brief
from flows.steps.scenes.acquisition import Identity, another_product, fullest, sensor_on
from flows.steps.scenes.datastrip import msi_slice
from flows.steps.scenes.item_facts import (
    Item,
    Properties,
    compact,
    compact_instant,
    iso_instant,
    require_day,
    sensing_time,
    text,
    texts_of,
)
from flows.steps.scenes.pass_day import orbit_day

MSI_ID = re.compile(
    r"(S2[A-D])_MSIL2A_(\d{8}T\d{6})_(?:N(\d{4})_)?R(\d{3})_T(\d{2}[C-X][A-Z]{2})_(\d{8}T\d{6})", re.ASCII
)
MSI_TILE = re.compile(r"_T?(\d{2}[C-X][A-Z]{2})_", re.ASCII)
DATATAKE = re.compile(r"GS2[A-D]_(\d{8}T\d{6})_(\d{6})_N(\d{2}\.\d{2})", re.ASCII)
GRANULE = re.compile(r"S2[A-D]_OPER_MSI_L2A_TL_\w{4}_(\d{8}T\d{6})_A(\d{6})_T\w{5}_N(\d{2}\.\d{2})", re.ASCII)
BASELINE = re.compile(r"\d{2}\.\d{2}", re.ASCII)
TILE = re.compile(r"(?:0?[1-9]|[1-5]\d|60)[C-X][A-Z]{2}", re.ASCII)
OF_TOOLBOX = "99."
"""What Sen2Cor that anyone runs writes as baseline, 99.99 or 99.33, in the id or in the metadata: it contradicts no other."""

# relative orbit = (absolute orbit - offset) modulo 143, counted 1 to 143 (ESA Sentinel-2 products, orbit cycle 143)
ORBITS, ORBIT_OFFSET = 143, {"sentinel-2a": 140, "sentinel-2b": 26, "sentinel-2c": 113}

Found = re.Match[str] | None


def msi_scene(item: Item, platform: str) -> Identity:
    """The identity of a Sentinel-2 item; ItemRefused with the fact that is missing."""
    properties = item["properties"]
    _require_l2a(item)
    found = fullest(MSI_ID, texts_of(item))
    is_whole = found is not None and None not in found.groups()
    take, granule = (None, None) if is_whole else (fullest(each, texts_of(item)) for each in (DATATAKE, GRANULE))
    if found and platform != f"sentinel-{found[1][1:].lower()}":
        raise ItemRefused(f"platform {brief(platform)} contradicts the product id {found[0]}")
    tile = _tile(item, found)
    orbit = _relative_orbit(properties, platform, found, take, granule)
    sensed = sensing_time(properties)
    start = compact_instant(found[2] if found else take[1] if take else None) or sensed
    require_day(sensed, start, f"the id {found[0] if found else take[0] if take else ''}")
    baseline = _baseline(properties, found, take, granule)
    generated = _generated(properties, found, granule)
    strip = text(properties, "s2:datastrip_id", "eopf:datastrip_id")
    return Identity(
        sensor=sensor_on(platform),
        platform=platform,
        region=tile,
        acquired=sensed,
        acquisition=f"{platform}/{tile}/R{orbit:03d}/{start.date()}",
        pass_id=f"{platform}/R{orbit:03d}/{orbit_day(start)}",
        rendition=f"{baseline}/{compact(generated)}",
        processed=generated,
        baseline=baseline,
        slice=msi_slice([strip] if strip else texts_of(item), sensed, start),
    )


def _require_l2a(item: Item) -> None:
    kind = item["properties"].get("s2:product_type") or item["properties"].get("product:type")
    if kind == "S2MSI2A":
        return
    if kind or not any("MSIL2A" in each or "_L2A" in each or "l2a" in each for each in texts_of(item)):
        raise another_product(item, f"Sentinel-2 L2A, got product type {brief(kind)}" if kind else "Sentinel-2 L2A")


def _tile(item: Item, found: Found) -> str:
    properties = item["properties"]
    code = text(properties, "grid:code") or ""
    stated = code.removeprefix("MGRS-") if code.startswith("MGRS-") else found[5] if found else None
    stated = stated or text(properties, "s2:mgrs_tile")
    if stated is None and (match := fullest(MSI_TILE, texts_of(item))):
        stated = match[1]
    if stated is None or not TILE.fullmatch(stated):
        raise ItemRefused(f"no MGRS tile: expected grid:code, s2:mgrs_tile or a product id, got {brief(stated)}")
    tile = stated.zfill(5)
    if found and found[5] != tile:
        raise ItemRefused(f"tile {tile} contradicts the product id {found[0]}")
    return tile


def _relative_orbit(properties: Properties, platform: str, found: Found, take: Found, granule: Found) -> int:
    orbit: object = properties.get("sat:relative_orbit") or (found and int(found[4]))
    absolute = properties.get("sat:absolute_orbit") or (take and take[2]) or (granule and granule[2])
    if (
        not orbit
        and platform in ORBIT_OFFSET
        and isinstance(absolute, int | str)
        and re.fullmatch(r"[0-9]{1,6}", str(absolute))
    ):
        orbit = (int(absolute) - ORBIT_OFFSET[platform] - 1) % ORBITS + 1
    if not isinstance(orbit, int) or isinstance(orbit, bool) or not 1 <= orbit <= ORBITS:
        raise ItemRefused(
            f"no relative orbit: expected sat:relative_orbit, 1 to {ORBITS}, or a product id with R000, got {brief(orbit)}"
        )
    return orbit


def _baseline(properties: Properties, found: Found, take: Found, granule: Found) -> str:
    stated = properties.get("s2:processing_baseline", properties.get("sentinel:processing_baseline"))
    number = f"{found[3][:2]}.{found[3][2:]}" if found and found[3] else None
    baseline = (
        stated or number or (take and take[3]) or (granule and granule[3]) or properties.get("processing:version")
    )
    if not isinstance(baseline, str) or not BASELINE.fullmatch(baseline):
        raise ItemRefused(f"no processing baseline: expected one such as 05.00, got {brief(baseline)}")
    if number and number != baseline and not (number.startswith(OF_TOOLBOX) or baseline.startswith(OF_TOOLBOX)):
        raise ItemRefused(f"processing baseline {baseline} contradicts the product id {found[0] if found else number}")
    return baseline


def _generated(properties: Properties, found: Found, granule: Found) -> datetime:
    stated = iso_instant(text(properties, "s2:generation_time", "processing:datetime"))
    generated = (
        compact_instant(found[6] if found else None) or stated or compact_instant(granule[1] if granule else None)
    )
    if generated is None:
        raise ItemRefused("no generation time: expected s2:generation_time or a product id")
    return generated
