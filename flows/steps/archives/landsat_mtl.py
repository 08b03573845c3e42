"""A Landsat Collection 2 Level-2 product as USGS delivers it: a STAC item from its MTL file (json, xml or txt)."""

import json
import re
from typing import Any
from xml.etree import ElementTree

from flows.steps.archives.item_refused import ItemRefused

MAX_MTL_BYTES = 1_000_000
MTL_SUFFIXES = ("_MTL.json", "_MTL.xml", "_MTL.txt")
QUALITY = {"qa_pixel": "FILE_NAME_QUALITY_L1_PIXEL", "qa_radsat": "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION"}
POLAR = {"PS": "EPSG:3031"}  # Landsat products south of 63 degrees South may be in Antarctic polar stereographic

Groups = dict[str, dict[str, str]]


def mtl_item(name: str, raw: bytes) -> dict[str, Any]:
    """The item that an MTL file describes, its hrefs beside it; ItemRefused for one that says too little."""
    groups = read_mtl(name, raw)
    try:
        return _item(groups)
    except ItemRefused:
        raise
    except (KeyError, ValueError) as error:
        raise ItemRefused(f"{name} lacks or misstates {error}: expected a Collection 2 Level-2 MTL file") from error


def read_mtl(name: str, raw: bytes) -> Groups:
    """The groups of an MTL file, whatever its form."""
    if len(raw) > MAX_MTL_BYTES:
        raise ItemRefused(f"{name} has {len(raw)} bytes: expected at most {MAX_MTL_BYTES}")
    try:
        if name.endswith(".json"):
            document = json.loads(raw)["LANDSAT_METADATA_FILE"]
            return {group: {key: str(value) for key, value in facts.items()} for group, facts in document.items()}
        if name.endswith(".xml"):
            root = safe_xml(name, raw)
            return {group.tag: {fact.tag: (fact.text or "").strip() for fact in group} for group in root}
        return _odl(raw.decode("ascii"))
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ItemRefused(f"unreadable {name}: {type(error).__name__}: {error}") from error


def safe_xml(name: str, raw: bytes) -> ElementTree.Element:
    """The root of an XML document without a document type, so without entities; ItemRefused otherwise."""
    if b"\x00" in raw:  # UTF-16 and UTF-32, in which a document type would not be seen
        raise ItemRefused(f"{name} is not in an encoding of single bytes: expected XML in UTF-8")
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise ItemRefused(f"{name} declares a document type: expected plain XML")
    try:
        return ElementTree.fromstring(raw)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ItemRefused(f"unreadable {name}: {error}") from error


def _item(groups: Groups) -> dict[str, Any]:
    contents, image = groups["PRODUCT_CONTENTS"], groups["IMAGE_ATTRIBUTES"]
    number = contents["LANDSAT_PRODUCT_ID"]
    if contents["PROCESSING_LEVEL"] not in ("L2SP", "L2SR"):
        raise ItemRefused(f"{number} is {contents['PROCESSING_LEVEL']}: expected Level-2 (L2SP or L2SR)")
    properties = {
        "datetime": f"{image['DATE_ACQUIRED']}T{image['SCENE_CENTER_TIME']}",
        "platform": image["SPACECRAFT_ID"].lower().replace("_", "-"),
        "eo:cloud_cover": float(image["CLOUD_COVER"]),
        **_angles(image),
        **_grid(groups["PROJECTION_ATTRIBUTES"]),
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": number,
        "collection": "landsat-c2-l2",
        "geometry": {"type": "Polygon", "coordinates": [_corners(groups["PROJECTION_ATTRIBUTES"])]},
        "properties": properties,
        "assets": _assets(contents, groups.get("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", {})),
        "links": [],
    }


def _angles(image: dict[str, str]) -> dict[str, float]:
    """The sun over the middle of the scene, and that the sensor looked straight down, unless the file says otherwise; degrees."""
    keys = {"view:sun_elevation": "SUN_ELEVATION", "view:sun_azimuth": "SUN_AZIMUTH"}
    found = {name: float(image[key]) for name, key in keys.items() if key in image}
    return found if image.get("NADIR_OFFNADIR", "NADIR") != "NADIR" else {**found, "view:off_nadir": 0.0}


def _assets(contents: dict[str, str], scaling: dict[str, str]) -> dict[str, dict[str, Any]]:
    assets: dict[str, dict[str, Any]] = {}
    for key, href in contents.items():
        if (found := re.fullmatch(r"FILE_NAME_BAND_(\d)", key)) is not None:
            radiometry = {
                word: float(scaling[f"REFLECTANCE_{fact}_BAND_{found[1]}"])
                for word, fact in (("scale", "MULT"), ("offset", "ADD"))
                if f"REFLECTANCE_{fact}_BAND_{found[1]}" in scaling
            }
            assets[f"SR_B{found[1]}"] = {"href": href, "raster:bands": [{"nodata": 0, **radiometry}]}
    return assets | {band: {"href": contents[key]} for band, key in QUALITY.items() if key in contents}


def _grid(facts: dict[str, str]) -> dict[str, Any]:
    """The pixel grid: MTL gives the centres of the corner pixels; northern UTM zones also count the south, negative."""
    pixel = float(facts["GRID_CELL_SIZE_REFLECTIVE"])
    west, north = (float(facts[f"CORNER_UL_PROJECTION_{axis}_PRODUCT"]) for axis in "XY")
    code = POLAR.get(facts["MAP_PROJECTION"]) or f"EPSG:{32600 + int(facts['UTM_ZONE'])}"
    return {
        "proj:code": code,
        "proj:shape": [int(facts["REFLECTIVE_LINES"]), int(facts["REFLECTIVE_SAMPLES"])],
        "proj:transform": [pixel, 0.0, west - pixel / 2, 0.0, -pixel, north + pixel / 2],
    }


def _corners(facts: dict[str, str]) -> list[list[float]]:
    """The ring of the product's corners in degrees, which holds the footprint."""
    corners = [[float(facts[f"CORNER_{corner}_{axis}_PRODUCT"]) for axis in ("LON", "LAT")] for corner in ("UL", "LL", "LR", "UR")]  # fmt: skip
    return [*corners, corners[0]]


def _odl(text: str) -> Groups:
    """The groups within the outermost of an ODL text."""
    groups: Groups = {}
    inside: list[str] = []
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            inside.append(value)
        elif key == "END_GROUP":
            inside.pop()
        elif len(inside) == 2 and value:
            groups.setdefault(inside[1], {})[key] = value.strip('"')
    return groups
