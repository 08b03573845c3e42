"""Coordinate systems that catalogues state: by code only, so that nothing in an item makes PROJ open a file."""

import re
from functools import lru_cache
from typing import Any

from odc.geo.crs import CRS
from pyproj import Transformer
from pyproj.exceptions import CRSError, ProjError

from flows.steps.archives.item_refused import ItemRefused, brief

CODE = re.compile(r"[A-Z]{3,8}:\d{1,7}", re.ASCII)
MAX_WKT = 20_000
# Texts that PROJ reads from: a definition of its own, which may name files, is not one of these.
WKT_START = ("PROJCRS[", "PROJCS[", "GEOGCRS[", "GEOGCS[", "GEODCRS[", "BOUNDCRS[")
SOUTHERN_ICE = "EPSG:3031"


def stated_crs(place: dict[str, Any]) -> CRS | None:
    """The CRS that the properties or an asset state, in STAC 0.8 to 1.1; ItemRefused for one that cannot be used."""
    if code := place.get("proj:code"):
        return _by_code(code)
    if epsg := place.get("proj:epsg", place.get("eo:epsg")):
        return _by_code(f"EPSG:{epsg}" if isinstance(epsg, int | str) else epsg)
    if wkt := place.get("proj:wkt2"):
        return _by_wkt(wkt)
    return None


def candidate_systems(longitude: float, latitude: float) -> list[CRS]:
    """What the grid of a scene at a place can be in: the UTM zones around it, and Antarctic polar stereographic."""
    zone = int(((longitude + 180) % 360) // 6)
    # Landsat writes southern scenes in northern zones, with northings below zero.
    codes = [f"EPSG:{base + (zone + step) % 60 + 1}" for step in (0, -1, 1) for base in (32600, 32700)]
    return [_crs(code) for code in ([*codes, SOUTHERN_ICE] if latitude < -60 else codes)]


@lru_cache(maxsize=1024)
def from_lonlat(crs: str) -> Transformer:
    """Degrees (longitude, latitude) to the units of a CRS."""
    return Transformer.from_crs("EPSG:4326", crs, always_xy=True)


@lru_cache(maxsize=1024)
def _crs(code: str) -> CRS:
    return CRS(code)


def _by_code(code: object) -> CRS:
    text = code.upper().strip() if isinstance(code, str) else ""
    if not CODE.fullmatch(text):
        raise ItemRefused(f"unknown coordinate system {brief(code)}: expected a code such as EPSG:32633")
    return _usable(text)


def _by_wkt(wkt: object) -> CRS:
    """A system written out, if it is a known one."""
    if not isinstance(wkt, str) or len(wkt) > MAX_WKT or not wkt.lstrip().upper().startswith(WKT_START):
        raise ItemRefused(f"unreadable proj:wkt2: expected the WKT of a known system, got {brief(wkt)}")
    code = _code_of(wkt)
    if code is None:
        raise ItemRefused("the coordinate system of proj:wkt2 has no code: expected proj:code or proj:epsg")
    return _usable(code)


@lru_cache(maxsize=256)
def _code_of(wkt: str) -> str | None:
    try:
        authority = CRS(wkt).proj.to_authority(min_confidence=70)
    except (CRSError, ValueError) as error:
        raise ItemRefused(f"unreadable proj:wkt2: {brief(str(error))}") from error
    return f"{authority[0]}:{authority[1]}" if authority else None


@lru_cache(maxsize=1024)
def _usable(code: str) -> CRS:
    try:
        crs = _crs(code)
        horizontal = (crs.projected or crs.geographic) and len(crs.proj.axis_info) == 2
        if horizontal:
            from_lonlat(str(crs))
    except (CRSError, ProjError, ValueError) as error:
        raise ItemRefused(f"unknown coordinate system {code!r}") from error
    if not horizontal:
        raise ItemRefused(f"the coordinate system {code} is not one of maps: expected a projected one")
    return crs
