"""A quick look before an order: a coarse recipe of the colours, the pixels of the picture, and the few passes that show most."""

import math
from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np
import shapely
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box, point

from products.antimeridian import LONLAT, in_one_piece
from products.area import Area
from products.errors import RequestError
from products.grid import LANDSAT_ANCHOR_M, REACH_M, no_tile
from products.passes import passes_of
from products.pixel.model_mask import RESOLUTION_RANGE_M
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.source_spec import ClearSpec, SourceSpec
from products.spec import FeaturesRecipe

SIDE_PX = 256
RIM_PX = 0.75  # what edges bend in degrees changes neither the outermost pixels of a picture nor their size
EDGE_PX = 16
TRUE_COLOUR = ("red", "green", "blue")
POINTS = 8  # a side of the lattice on which views are counted
VIEWS, MOST_PASSES = 4, 24
UNKNOWN_CLOUD = 50.0  # percent, of a scene whose catalogue does not say


def preview_box(recipe: SceneRecipe, area: Geometry) -> GeoBox:
    """The rectangle around an area, at most SIDE_PX whole groups of product pixels a side, on the grid of the product."""
    grid = recipe.grid.pixel_grid(area)
    here = area.to_crs(CRS(grid.crs), resolution=0.01, wrapdateline=False).boundingbox
    if not all(map(math.isfinite, here.bbox)):
        raise RequestError(f"the area lies beyond the reach of {grid.crs}: ask for less ground")
    factor = max(1, math.ceil(max(here.span_x, here.span_y) / (grid.resolution_m * (SIDE_PX - 1))))
    side = factor * grid.resolution_m
    anchor = LANDSAT_ANCHOR_M if recipe.grid.anchor == "landsat" else 0.0
    left, top = (math.floor((here.left - anchor) / side), math.ceil((here.top - anchor) / side))
    right, bottom = (math.ceil((here.right - anchor) / side), math.floor((here.bottom - anchor) / side))
    bounds = (left * side + anchor, bottom * side + anchor, right * side + anchor, top * side + anchor)
    return GeoBox.from_bbox(bounds, CRS(grid.crs), shape=(top - bottom, right - left), tight=True)


def area_around(recipe: SceneRecipe, longitude: float, latitude: float) -> Area:
    """The ground of SIDE_PX product pixels a side around a place, but for a rim, for a look at the pixels of the product themselves.

    RequestError where the CRS of the product ends nearer than that, as world-wide ones do at 180 degrees.
    """
    name = f"{longitude:g},{latitude:g}"
    place = point(longitude, latitude, CRS("EPSG:4326"))
    grid = recipe.grid.pixel_grid(place)
    x, y = place.to_crs(CRS(grid.crs)).coords[0]
    if not max(abs(x), abs(y)) <= REACH_M:
        raise no_tile(name, grid.crs)
    left, bottom = (math.floor((at - grid.anchor_m) / grid.resolution_m) - SIDE_PX // 2 for at in (x, y))
    edges = (left + RIM_PX, bottom + RIM_PX, left + SIDE_PX - RIM_PX, bottom + SIDE_PX - RIM_PX)
    ground = box(*(grid.anchor_m + edge * grid.resolution_m for edge in edges), CRS(grid.crs))
    outline = ground.segmented(EDGE_PX * grid.resolution_m)
    if not _comes_back(outline, RIM_PX * grid.resolution_m / 2):
        raise RequestError(
            f"the {SIDE_PX} pixels of {grid.resolution_m:g} m a side around {name!r} reach beyond the edge of {grid.crs}: "
            "expected a place farther from it, or an area up to it"
        )
    return Area(name, in_one_piece(outline))


def _comes_back(outline: Geometry, most_m: float) -> bool:
    """Whether the corners of a shape are in degrees the same places that its CRS says: beyond its edge it says others, or none."""
    crs = outline.crs
    assert crs is not None
    x, y = np.array(outline.exterior.coords).T
    there, back = crs.transformer_to_crs(LONLAT), LONLAT.transformer_to_crs(crs)
    again_x, again_y = back(*there(x, y))
    return bool((np.hypot(again_x - x, again_y - y) <= most_m).all())


def preview_recipe(recipe: SceneRecipe, resolution_m: float) -> FeaturesRecipe:
    """The geomedian of the sources of a recipe in true colour, else in the first bands that all have, masked alike, on coarser pixels.

    Masks grow by as many metres; a model that does not see such pixels leaves the delivered mask.
    """
    every = recipe.bands()
    bands = TRUE_COLOUR if every.issuperset(TRUE_COLOUR) else tuple(sorted(every))[:3]
    sources = [_coarse(source, recipe.grid.resolution_m, resolution_m) for source in recipe.sources]
    return FeaturesRecipe.model_validate(
        {
            "name": recipe.name,
            "version": recipe.version,
            "kind": "features",
            "grid": {**recipe.grid.model_dump(), "resolution_m": resolution_m},
            "sources": sources,
            "harmonise": recipe.harmonise,
            "brdf": recipe.brdf,
            "period": "P1Y",
            "features": [{"geomedian": {"bands": bands}}],
        }
    )


def _coarse(source: SourceSpec, from_m: float, to_m: float) -> SourceSpec:
    clear = source.clear
    metres = {"dilate": clear.growth_px(from_m) * from_m, "open": clear.opening_px(from_m) * from_m}
    fitted = {key: value for name, m in metres.items() for key, value in _in_metres(name, m, to_m).items()}
    low, high = RESOLUTION_RANGE_M
    no_model = {} if low <= to_m <= high else {"model": None, "model_version": None, "decide": "model"}
    changed = ClearSpec.model_validate({**clear.model_dump(), **fitted, **no_model})
    return source.model_copy(update={"clear": changed, "resampling": "average"})


def _in_metres(name: str, metres: float, pixel_m: float) -> dict[str, float | None]:
    return {f"{name}_px": 0, f"{name}_m": metres if metres >= pixel_m else None}


def chosen_passes(
    scenes: Sequence[Scene], cloud_percent: Mapping[UUID, float], ground: Geometry
) -> list[tuple[Scene, ...]]:
    """Scenes pass by pass, the clearest first, until each point of a lattice over the ground (degrees) is seen VIEWS times; at most MOST_PASSES."""
    west, south, east, north = ground.boundingbox.bbox
    at = (np.arange(POINTS) + 0.5) / POINTS
    x, y = (each.ravel() for each in np.meshgrid(west + at * (east - west), south + at * (north - south)))
    views = np.zeros(x.size, int)
    known = [
        (float(np.mean([cloud_percent.get(scene.id, UNKNOWN_CLOUD) for scene in members])), members)
        for _, members in passes_of(scenes)
    ]
    chosen: list[tuple[Scene, ...]] = []
    for _, members in sorted(known, key=lambda pair: pair[0]):
        sees = shapely.contains_xy(shapely.union_all([scene.ground.geom for scene in members]), x, y)
        if len(chosen) < MOST_PASSES and (views[sees] < VIEWS).any():
            chosen.append(members)
            views += sees
    return chosen
