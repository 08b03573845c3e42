"""A Sentinel-2 L2A product as ESA delivers it: a STAC item from the metadata of its SAFE folder."""

import math
import re
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.landsat_mtl import safe_xml

PRODUCT_METADATA = "MTD_MSIL2A.xml"
MAX_XML_BYTES = 8_000_000
IMAGE = re.compile(r"_(B\d[\dA]|SCL)_([126]0)m(?:\.jp2)?$")
# Sentinel-2 Products Specification Document: band_id counts the bands of the instrument in order of wavelength
BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")

ReadFile = Callable[[str], bytes]


def safe_item(read: ReadFile) -> dict[str, Any]:
    """The item that a SAFE folder describes; `read` gives the bytes of a file by its path in the folder. ItemRefused otherwise."""
    product = safe_xml(PRODUCT_METADATA, read(PRODUCT_METADATA))
    images = [_text(each) for each in product.iter() if each.tag in ("IMAGE_FILE", "IMAGE_FILE_2A")]
    granules = {image.split("/")[1] for image in images if image.startswith("GRANULE/") and image.count("/") > 1}
    if len(granules) != 1:
        raise ItemRefused(f"{PRODUCT_METADATA} names {len(granules)} granules: expected one (compact SAFE format)")
    path = f"GRANULE/{granules.pop()}/MTD_TL.xml"
    return _item(product, path, safe_xml(path, read(path)), images)


def _item(product: Element, path: str, tile: Element, images: list[str]) -> dict[str, Any]:
    number = _said(product, "PRODUCT_URI").removesuffix(".SAFE")
    grids = _grids(tile)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": number,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "MultiPolygon", "coordinates": [[ring] for ring in _footprints(product)]},
        "properties": {
            "datetime": _said(tile, "SENSING_TIME"),
            "platform": _said(product, "SPACECRAFT_NAME").lower(),
            "s2:product_uri": f"{number}.SAFE",
            "s2:product_type": _said(product, "PRODUCT_TYPE"),
            "s2:processing_baseline": _said(product, "PROCESSING_BASELINE"),
            "s2:generation_time": _said(product, "GENERATION_TIME"),
            "s2:datatake_id": next((each.get("datatakeIdentifier", "") for each in product.iter("Datatake")), ""),
            "sat:relative_orbit": int(_said(product, "SENSING_ORBIT_NUMBER")),
            **_cloud_cover(product),
            **_angles(tile),
        },
        "assets": dict(_assets(images, _radiometry(product), grids)) | _granule(path, tile),
        "links": [],
    }


def _assets(
    images: list[str], radiometry: dict[str, dict[str, float]], grids: dict[str, dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    assets = []
    for image in images:
        if (found := IMAGE.search(image)) is not None and found[2] in grids:
            href = image if image.endswith(".jp2") else f"{image}.jp2"
            stated = {"raster:bands": [radiometry[found[1]]]} if found[1] in radiometry else {}
            assets.append((f"{found[1]}_{found[2]}m", {"href": href, **grids[found[2]], **stated}))
    return assets


def _granule(path: str, tile: Element) -> dict[str, dict[str, Any]]:
    """The metadata of the granule as an asset, if it has the angles over a grid."""
    return {} if next(tile.iter("Sun_Angles_Grid"), None) is None else {"granule_metadata": {"href": path}}


def _radiometry(product: Element) -> dict[str, dict[str, float]]:
    """Scale and, where the metadata has one, offset of each reflectance band: (DN + BOA_ADD_OFFSET) / quantification."""
    quantification = float(_said(product, "BOA_QUANTIFICATION_VALUE"))
    offsets = {BAND_IDS[int(each.get("band_id", "0"))]: float(_text(each)) for each in product.iter("BOA_ADD_OFFSET")}
    return {
        band: {"nodata": 0, "scale": 1 / quantification}
        | ({"offset": offsets[band] / quantification} if band in offsets else {})
        for band in BAND_IDS
    }


def _grids(tile: Element) -> dict[str, dict[str, Any]]:
    """The projection fields by pixel size in metres, as text."""
    code = _said(tile, "HORIZONTAL_CS_CODE").upper()
    sizes = {each.get("resolution", ""): each for each in tile.iter("Size")}
    grids = {}
    for each in tile.iter("Geoposition"):
        resolution = each.get("resolution", "")
        if resolution in sizes:
            west, north, across, down = (float(_said(each, key)) for key in ("ULX", "ULY", "XDIM", "YDIM"))
            shape = [int(_said(sizes[resolution], key)) for key in ("NROWS", "NCOLS")]
            grids[resolution] = {
                "proj:code": code,
                "proj:shape": shape,
                "proj:transform": [across, 0.0, west, 0.0, down, north],
            }
    return grids


def _footprints(product: Element) -> list[list[list[float]]]:
    """The rings (longitude, latitude) of the footprint, which the metadata lists as latitude, longitude."""
    rings = []
    for each in product.iter("EXT_POS_LIST"):
        numbers = [float(word) for word in _text(each).split()]
        rings.append([[longitude, latitude] for latitude, longitude in zip(numbers[::2], numbers[1::2], strict=True)])
    if not rings or min(map(len, rings)) < 4:
        raise ItemRefused(f"no footprint in {PRODUCT_METADATA}: expected EXT_POS_LIST")
    return rings


def _cloud_cover(product: Element) -> dict[str, float]:
    found = next(product.iter("Cloud_Coverage_Assessment"), None)
    return {} if found is None else {"eo:cloud_cover": float(_text(found))}


def _angles(tile: Element) -> dict[str, float]:
    """The mean angles of the sun, and of the view over the bands, in the terms of STAC, degrees; none where the metadata lacks them."""
    sun, views = _directions(tile, "Mean_Sun_Angle"), _directions(tile, "Mean_Viewing_Incidence_Angle")
    if not sun or not views:
        return {}
    east, north = (sum(part(math.radians(azimuth)) for _, azimuth in views) for part in (math.sin, math.cos))
    return {
        "view:sun_elevation": 90.0 - sun[0][0],
        "view:sun_azimuth": sun[0][1],
        "view:incidence_angle": sum(zenith for zenith, _ in views) / len(views),
        "view:azimuth": math.degrees(math.atan2(east, north)) % 360,
    }


def _directions(tile: Element, tag: str) -> list[tuple[float, float]]:
    """Zenith and azimuth of each element."""
    return [(float(_said(each, "ZENITH_ANGLE")), float(_said(each, "AZIMUTH_ANGLE"))) for each in tile.iter(tag)]


def _said(root: Element, tag: str) -> str:
    found = next(root.iter(tag), None)
    if found is None or not _text(found):
        raise ItemRefused(f"no {tag} in the metadata of the SAFE folder")
    return _text(found)


def _text(element: Element) -> str:
    return (element.text or "").strip()
