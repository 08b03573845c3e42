"""STAC for a map: one item for each period and piece, and the collection that holds them. Links and assets are relative."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from odc.geo.geobox import GeoBox

from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.learning.models import Model
from products.antimeridian import as_geojson, outline
from products.learning.learned import NO_PROBABILITY
from products.learning.maps import MAP_CLASS, PROBABILITY, class_colours
from products.learning.trust_layers import APPLICABLE, NOT_MAPPED, UNCERTAINTY
from products.period import Period

STAC_VERSION = "1.1.0"
EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
)
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def item_document(model: Model, plan: CubePlan, geobox: GeoBox, period: Period, label: str) -> dict[str, Any]:
    """The item of one period of a map, or of one piece of it; its class values are told by the classification extension."""
    geometry, box = as_geojson(outline(geobox))
    end = period.end - timedelta(microseconds=1)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": f"{plan.template.product}_{plan.area}_{label}",
        "collection": plan.template.product,
        "geometry": geometry,
        "bbox": list(box),
        "properties": {
            "title": f"{plan.template.title}, {plan.area}, {label}",
            "datetime": None,
            "start_datetime": _utc(period.start.isoformat()),
            "end_datetime": _utc(end.isoformat()),
            "proj:code": str(geobox.crs),
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.affine)[:6],
            "neocube:model": str(model.id),
            "neocube:simulated": model.simulated,
            "neocube:cells": [str(cell) for cell in plan.cell_ids],
        },
        "links": [
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "root", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": _assets(model),
    }


def collection_document(model: Model, plan: CubePlan, items: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The collection of a map over one area and CRS, of its items by the folder of each."""
    starts = [item["properties"]["start_datetime"] for item in items.values()]
    ends = [item["properties"]["end_datetime"] for item in items.values()]
    note = " Made from simulated data: it shows no real place." if model.simulated else ""
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": plan.template.product,
        "title": plan.template.title,
        "description": f"{plan.template.title} over {plan.area}, by model {model.id}.{note}",
        "license": "other",
        "extent": {
            "spatial": {"bbox": _boxes([item["bbox"] for item in items.values()])},
            "temporal": {"interval": [[min(starts), max(ends)]]},
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *({"rel": "item", "href": f"./{folder}/item.json", "type": "application/geo+json"} for folder in items),
        ],
    }


def _boxes(boxes: Sequence[list[float]]) -> list[list[float]]:
    """Where the items lie, each place once, after the box of them all where there are several; that goes round the world where one crosses the antimeridian."""
    each = [list(box) for box in dict.fromkeys(map(tuple, boxes))]
    if len(each) == 1:
        return each
    wests, souths, easts, norths = zip(*each, strict=True)
    is_across = any(west > east for west, east in zip(wests, easts, strict=True))
    west, east = (-180.0, 180.0) if is_across else (min(wests), max(easts))
    return [[west, min(souths), east, max(norths)], *each]


def _assets(model: Model) -> dict[str, Any]:
    colours = class_colours(model.recipe.class_names)
    classes = [
        {"value": code, "name": name, "description": name, "color_hint": "{:02X}{:02X}{:02X}".format(*colours[code])}
        for code, name in enumerate(model.recipe.class_names, start=1)
    ]
    bands = [{"name": f"{PROBABILITY}_{name}"} for name in model.recipe.class_names]
    cog = {"type": COG_TYPE, "data_type": "uint8"}
    return {
        MAP_CLASS: {
            "href": "./map_class.tif",
            "roles": ["data"],
            **cog,
            "nodata": 0,
            "classification:classes": classes,
        },
        PROBABILITY: {
            "href": "./probability.tif",
            "roles": ["data"],
            **cog,
            "nodata": NO_PROBABILITY,
            "unit": "percent",
            "bands": bands,
        },
        APPLICABLE: {
            "href": "./applicable.tif",
            "roles": ["data", "quality"],
            **cog,
            "nodata": NOT_MAPPED,
            "classification:classes": [
                {"value": 0, "name": "outside", "description": "unlike the training samples, or a feature is missing"},
                {"value": 1, "name": "inside", "description": "in the area of applicability"},
            ],
        },
        UNCERTAINTY: {
            "href": "./uncertainty.tif",
            "roles": ["data", "quality"],
            **cog,
            "nodata": NOT_MAPPED,
            "unit": "percent",
        },
        "quicklook": {"href": "./quicklook.png", "type": "image/png", "roles": ["overview"]},
    }


def _utc(text: str) -> str:
    return text.replace("+00:00", "Z")
