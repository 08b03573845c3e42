"""One STAC item as an EO3 dataset document, whatever catalogue it comes from."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from odc.geo.crs import CRS
from shapely.geometry.base import BaseGeometry

from flows.steps.archives.asset_hrefs import ItemPlace, exists, resolve_href
from flows.steps.archives.item_refused import ItemRefused, brief
from flows.steps.scenes.acquisition import Identity
from flows.steps.scenes.band_assets import band_assets
from flows.steps.scenes.convex_ring import Ring, bent_bounds_of, convex_ring
from flows.steps.scenes.eo3_geometry import bent_bounds, extent, geojson_footprint, grid_spatial, named_grids
from flows.steps.scenes.footprint import (
    AssetGrid,
    ReadGrid,
    grids_of,
    locate,
    lonlat_footprint,
    project_rings,
    turn_inside,
)
from flows.steps.scenes.item_facts import number
from flows.steps.scenes.landsat_identity import refuse_temperature
from flows.steps.scenes.radiometry import band_radiometry
from flows.steps.scenes.scene_identity import identify
from flows.steps.scenes.stated_sizes import stated_sizes
from flows.steps.scenes.view_angles import stated_angles

EO3_SCHEMA = "https://schemas.opendatacube.org/dataset"
SCENE_NAMESPACE = uuid5(NAMESPACE_URL, "https://neocube.org/scene")
MAX_ID, MAX_ASSETS = 256, 500
GRANULE = "granule_metadata"
# by ESA, in the bucket sentinel-s2-l2a, in copies of that
GRANULE_FILES = ("mtd_tl.xml", "metadata.xml", "granule_metadata.xml")


@dataclass(frozen=True, slots=True)
class SceneDocument:
    """A scene to be indexed: its EO3 document and what the rendition policy needs of it.

    `grid_fault`: what is wrong with its grids, empty if nothing is, None if nobody has looked. `sizes`: bytes of its files by band, as the item states them.
    """

    id: UUID
    product: str
    acquisition: str
    rendition: str
    location: str
    document: dict[str, Any]
    archive: str = ""
    slice: str = ""
    grid_fault: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)


def scene_id(product: str, acquisition: str, rendition: str) -> UUID:
    """The dataset id: the same from every archive, place and item id."""
    return uuid5(SCENE_NAMESPACE, f"{product}/{acquisition}/{rendition}")


@dataclass(slots=True)
class Draft:
    """What an item says, before its footprint is placed: `ring` where that is convex, `shape` where it is anything else.

    `granule`: where the metadata of its granule lies, if it has any.
    """

    item: dict[str, Any]
    place: ItemPlace
    archive: str
    identity: Identity
    assets: dict[str, dict[str, Any]]
    hrefs: dict[str, str]
    crs: CRS
    grids: dict[str, AssetGrid]
    ring: Ring | None
    shape: BaseGeometry | None
    granule: str | None = None


def normalise(item: dict[str, Any], place: ItemPlace, archive: str, read_grid: ReadGrid) -> SceneDocument:
    """The EO3 document of an item; ItemRefused with the cause, or NotAScene."""
    one = draft(item, place, archive, read_grid)
    return scene_of(one, next(iter(place_rings([one]).values()), None))


def draft(item: dict[str, Any], place: ItemPlace, archive: str, read_grid: ReadGrid) -> Draft:
    """All of an item but its place in its CRS; ItemRefused with the cause, or NotAScene."""
    _require_shape(item)
    refuse_temperature(item)
    ring = convex_ring(item.get("geometry"))
    shape = None if ring else lonlat_footprint(item)
    identity = identify(item)
    assets = band_assets(item["assets"], identity.sensor, archive)
    granule = _granule_href(assets.pop(GRANULE, None), place)
    hrefs = _band_hrefs(assets, place)
    stated, grids = grids_of(item, assets, hrefs, read_grid)
    return Draft(item, place, archive, identity, assets, hrefs, stated, grids, ring, shape, granule)


def place_rings(drafts: Iterable[Draft]) -> dict[int, Ring]:
    """The convex rings of some drafts in the CRS that each states, by `id` of the draft: one projection for each CRS."""
    alike: dict[str, list[Draft]] = defaultdict(list)
    for each in drafts:
        if each.ring is not None:
            alike[str(each.crs)].append(each)
    placed: dict[int, Ring] = {}
    for some in alike.values():
        rings = project_rings([each.ring for each in some if each.ring], some[0].crs)
        placed |= {id(each): ring for each, ring in zip(some, rings, strict=True)}
    return placed


def scene_of(one: Draft, ring: Ring | None) -> SceneDocument:
    """The EO3 document of a draft, whose ring was placed or is None; ItemRefused with the cause."""
    item, identity, hrefs = one.item, one.identity, one.hrefs
    names, grids = named_grids(one.grids)
    default = grids["default"]
    crs, geometry, note = _located(one, default, ring)
    number_ = scene_id(identity.sensor.product, identity.acquisition, identity.rendition)
    bounds = bent_bounds_of(one.ring) if one.ring else bent_bounds(_shape_of(one))
    document = {
        "$schema": EO3_SCHEMA,
        "id": str(number_),
        "label": item["id"],
        "product": {"name": identity.sensor.product},
        "crs": crs,
        "geometry": geometry,
        "grids": {name: {"shape": list(grid.shape), "transform": list(grid.transform)} for name, grid in grids.items()},
        "properties": {
            **_properties(item, identity, one.archive),
            "neocube:radiometry": {
                band: band_radiometry(identity.sensor, band, asset, item["properties"], identity.baseline)
                for band, asset in one.assets.items()
            },
            **({"neocube:note": note} if note else {}),
        },
        "measurements": {band: _measurement(href, names[band]) for band, href in hrefs.items()},
        "accessories": {GRANULE: {"path": one.granule}} if one.granule else {},
        "lineage": {},
        "grid_spatial": grid_spatial(crs, default, geometry),
        "extent": extent(bounds),
    }
    return SceneDocument(
        number_,
        identity.sensor.product,
        identity.acquisition,
        identity.rendition,
        one.place.location,
        document,
        one.archive,
        identity.slice,
        sizes=stated_sizes(one.assets, hrefs),
    )


def _located(one: Draft, grid: AssetGrid, ring: Ring | None) -> tuple[str, dict[str, Any], str | None]:
    """The CRS of a scene, its footprint there as GeoJSON, and a note where that is not the CRS that the item states."""
    if ring is not None and (turn := turn_inside(grid, ring)):
        vertices = list(map(list, ring if turn > 0 else reversed(ring)))
        return str(one.crs), {"type": "Polygon", "coordinates": [vertices]}, None
    located = locate(one.crs, grid, _shape_of(one))
    return str(located.crs), geojson_footprint(located.footprint), located.note


def _shape_of(one: Draft) -> BaseGeometry:
    return lonlat_footprint(one.item) if one.shape is None else one.shape


def _require_shape(item: dict[str, Any]) -> None:
    """ItemRefused for what is no STAC item at all, or too large for one."""
    for key, kind in (("id", str), ("properties", dict), ("assets", dict)):
        value = item.get(key)
        if not isinstance(value, kind) or not value:
            raise ItemRefused(f"no {key}: expected a STAC item with {key}, got {_kind_of(item, value)}")
    if not item["id"].isprintable() or len(item["id"]) > MAX_ID:
        raise ItemRefused(f"id: expected a printable text of at most {MAX_ID} characters, got {brief(item['id'])}")
    if not isinstance(item.get("collection"), str | None):
        raise ItemRefused(f"collection: expected a text, got {type(item['collection']).__name__}")
    if len(item["assets"]) > MAX_ASSETS:
        raise ItemRefused(f"assets: expected at most {MAX_ASSETS}, got {len(item['assets'])}")


def _kind_of(item: dict[str, Any], value: object) -> str:
    """What a document without items' keys is, where it says so."""
    if item.get("$schema") == EO3_SCHEMA:
        return "an EO3 dataset document"
    if item.get("type") in ("Collection", "Catalog"):
        return f"a STAC {item['type']}"
    return "nothing" if not value else brief(value)


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


def _granule_href(asset: dict[str, Any] | None, place: ItemPlace) -> str | None:
    """Where the metadata of a granule can be read; None where an archive may not name the place, or has no such file: an item does without."""
    if asset is None or str(asset["href"]).rpartition("/")[2].lower() not in GRANULE_FILES:
        return None
    try:
        href = resolve_href(asset["href"], place)
    except ItemRefused:
        return None
    return href if exists(href, place) else None


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
        **stated_angles(item["properties"]),
    }
    if identity.slice:
        found["neocube:slice"] = identity.slice
    if item["properties"].get("neocube:simulated") is True:
        found["neocube:simulated"] = True
    cloud = number(item["properties"].get("eo:cloud_cover"))
    return found if cloud is None else {**found, "eo:cloud_cover": cloud}
