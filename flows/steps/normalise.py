"""One STAC item as an EO3 dataset document, whatever catalogue it comes from."""

from collections import Counter
from dataclasses import dataclass
from math import isfinite
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import shapely
from datacube.index.eo3 import EO3_SCHEMA, prep_eo3

from datacube_config.archives import asset_names
from flows.steps.asset_hrefs import ItemPlace, exists, resolve_href
from flows.steps.footprint import PixelGrid, ReadGrid, grids_of, located_crs, lonlat_footprint, project
from flows.steps.item_refused import ItemRefused
from flows.steps.radiometry import band_radiometry
from flows.steps.scene_identity import Identity, identify
from products.sensors import Sensor

SCENE_NAMESPACE = uuid5(NAMESPACE_URL, "https://neocube.org/scene")


@dataclass(frozen=True, slots=True)
class SceneDocument:
    """A scene to be indexed: its EO3 document and what the rendition policy needs of it."""

    id: UUID
    product: str
    acquisition: str
    rendition: str
    location: str
    document: dict[str, Any]


def scene_id(product: str, acquisition: str, rendition: str) -> UUID:
    """The dataset id: the same from every archive, place and item id."""
    return uuid5(SCENE_NAMESPACE, f"{product}/{acquisition}/{rendition}")


def normalise(item: dict[str, Any], place: ItemPlace, archive: str, read_grid: ReadGrid) -> SceneDocument:
    """The EO3 document of an item; ItemRefused with the cause, or NotAScene."""
    _require_shape(item)
    footprint = lonlat_footprint(item)
    identity = identify(item)
    assets = _band_assets(item["assets"], identity.sensor)
    hrefs = _band_hrefs(assets, place)
    crs, grids = grids_of(item, assets, hrefs, read_grid)
    crs, note = located_crs(crs, next(iter(grids.values())), footprint)
    names = _grid_names(grids)
    number = scene_id(identity.sensor.product, identity.acquisition, identity.rendition)
    document = {
        "$schema": EO3_SCHEMA,
        "id": str(number),
        "label": str(item["id"]),
        "product": {"name": identity.sensor.product},
        "crs": str(crs),
        "geometry": shapely.geometry.mapping(_polygonal(project(footprint, crs))),
        "grids": {name: {"shape": list(grid.shape), "transform": list(grid.transform)} for grid, name in names.items()},
        "properties": {
            **_properties(item, identity, archive),
            "neocube:radiometry": {
                band: band_radiometry(identity.sensor, band, asset, item["properties"], identity.baseline)
                for band, asset in assets.items()
            },
            **({"neocube:note": note} if note else {}),
        },
        "measurements": {band: _measurement(hrefs[band], names[grids[band]]) for band in assets},
        "accessories": {},
        "lineage": {},
    }
    return SceneDocument(
        number,
        identity.sensor.product,
        identity.acquisition,
        identity.rendition,
        place.location,
        prep_eo3(document, remap_lineage=False),
    )


def _require_shape(item: dict[str, Any]) -> None:
    for key, kind in (("id", str), ("properties", dict), ("assets", dict)):
        value = item.get(key)
        if not isinstance(value, kind) or not value:
            raise ItemRefused(f"no {key}: expected a STAC item with {key}, got {type(value).__name__}")
    if not item["id"].isprintable():
        raise ItemRefused(f"id: expected a printable text, got {item['id']!r}")
    if not isinstance(item.get("collection"), str | None):
        raise ItemRefused(f"collection: expected a text, got {type(item['collection']).__name__}")


def _band_assets(assets: dict[str, Any], sensor: Sensor) -> dict[str, dict[str, Any]]:
    """The item's asset for each band of the sensor; ItemRefused for a required band without one."""
    by_name = {_plain(name): asset for name, asset in assets.items() if isinstance(asset, dict)}
    found: dict[str, dict[str, Any]] = {}
    for band, names in asset_names(sensor.name).items():
        asset = next((by_name[_plain(name)] for name in names if by_name.get(_plain(name), {}).get("href")), None)
        if asset is not None:
            found[band] = asset
        elif band in sensor.reflectance or band == sensor.mask:
            raise ItemRefused(f"missing asset {band}: the item has none of {', '.join(names)} with an href")
    return found


def _band_hrefs(assets: dict[str, dict[str, Any]], place: ItemPlace) -> dict[str, str]:
    hrefs = {}
    for band, asset in assets.items():
        try:
            hrefs[band] = resolve_href(asset["href"], place)
        except ItemRefused as refusal:
            raise ItemRefused(f"asset {band}: {refusal}") from refusal
        if not exists(hrefs[band], place):
            raise ItemRefused(f"missing asset {band}: {hrefs[band]} does not exist")
    return hrefs


def _plain(name: str) -> str:
    lower = name.lower()
    return lower.removesuffix(".tif").removesuffix(".jp2")


def _grid_names(grids: dict[str, PixelGrid]) -> dict[PixelGrid, str]:
    """The finest grid is EO3's default, the others are named by their pixel size in CRS units."""
    finest_first = sorted(Counter(grids.values()), key=lambda grid: (abs(grid.transform[0]), grid.transform))
    names: dict[PixelGrid, str] = {}
    for grid in finest_first:
        name = f"g{abs(grid.transform[0]):g}".replace(".", "p") if names else "default"
        names[grid] = name if name not in names.values() else f"{name}_{len(names)}"
    return names


def _measurement(href: str, grid: str) -> dict[str, Any]:
    return {"path": href} if grid == "default" else {"path": href, "grid": grid}


def _properties(item: dict[str, Any], identity: Identity, archive: str) -> dict[str, Any]:
    found = {
        "datetime": identity.acquired.isoformat(),
        "eo:platform": identity.platform,
        "eo:instrument": identity.sensor.name,
        "odc:processing_datetime": identity.processed.isoformat(),
        "odc:file_format": "GeoTIFF",
        "odc:region_code": identity.region,
        "neocube:item_id": item["id"],
        "neocube:collection": identity.sensor.collection,
        "neocube:archive": archive,
        "neocube:acquisition": identity.acquisition,
        "neocube:rendition": identity.rendition,
        "neocube:pass": identity.pass_id,
    }
    cloud = item["properties"].get("eo:cloud_cover")
    return {**found, "eo:cloud_cover": float(cloud)} if isinstance(cloud, int | float) and isfinite(cloud) else found


def _polygonal(shape: shapely.geometry.base.BaseGeometry) -> shapely.geometry.base.BaseGeometry:
    """The polygons of a shape, exteriors counter-clockwise, without the lines that making it valid may leave."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.orient_polygons(shapely.union_all(parts))
