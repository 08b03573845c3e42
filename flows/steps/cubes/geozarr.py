"""What a Zarr group says of its place and its overviews, by the Zarr conventions that GeoZarr composes."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from odc.geo.geobox import GeoBox

from products.template import CellTemplate
from products.window.overviews import FACTOR, Method

SELF: Final = "."
LAYERS: Final = "neocube:layers"  # of each layer of a stack its `units` and `long_name`
RESAMPLING: Final[dict[Method, str]] = {"mean": "average", "mean_count": "average", "mode": "mode"}
# https://github.com/zarr-conventions, version 0.1 of each
CONVENTIONS: Final = {
    "multiscales": ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "proj": ("f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information for geospatial data"),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
}


def level_geobox(geobox: GeoBox, level: int) -> GeoBox:
    """The pixels of an overview of a geobox of whole tiles."""
    return geobox.zoom_out(FACTOR**level) if level else geobox


def geozarr_attributes(geobox: GeoBox, template: CellTemplate, levels: int = 0) -> dict[str, Any]:
    """The attributes of a group of arrays (…, y, x): `proj:` and `spatial:`, and `multiscales` if it has overviews as groups 1, 2, …"""
    names = ["proj", "spatial", *(["multiscales"] if levels else [])]
    bounds = geobox.extent.boundingbox
    said = {
        "zarr_conventions": [_convention(name) for name in names],
        "proj:code": str(geobox.crs),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": [bounds.left, bounds.bottom, bounds.right, bounds.top],
        "spatial:registration": "pixel",
        **_placed(geobox),
    }
    if levels:
        layout = [{"asset": SELF, **_relative(0), **_placed(geobox)}]
        layout += [
            {"asset": str(level), "derived_from": SELF, **_relative(level), **_placed(level_geobox(geobox, level))}
            for level in range(1, levels + 1)
        ]
        said["multiscales"] = {"layout": layout, **_method(array.overview for array in template.arrays)}
    return said


def without_geozarr(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """The attributes that stay true of a part: not those of the store's layout and extent, which no file format but JSON holds."""
    layout = ("zarr_conventions", "multiscales")
    return {
        name: said for name, said in attributes.items() if name not in layout and not str(name).startswith("spatial:")
    }


def _convention(name: str) -> dict[str, str]:
    identity, description = CONVENTIONS[name]
    return {
        "uuid": identity,
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{name}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{name}/blob/v0.1/README.md",
        "name": name,
        "description": description,
    }


def _placed(geobox: GeoBox) -> dict[str, Any]:
    return {"spatial:shape": list(geobox.shape), "spatial:transform": list(geobox.affine)[:6]}


def _relative(level: int) -> dict[str, Any]:
    """Pixel edges of a level lie on pixel edges of the tile: nothing is shifted."""
    return {"transform": {"scale": [float(FACTOR**level)] * 2, "translation": [0.0, 0.0]}}


def _method(methods: Iterable[Method]) -> dict[str, str]:
    """One name where all arrays have it; otherwise only their own `cell_methods` tell."""
    found = {RESAMPLING[method] for method in methods}
    return {"resampling_method": found.pop()} if len(found) == 1 else {}
