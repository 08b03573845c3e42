"""Areas by name, file or bounds."""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

import datacube_config
from flows.steps.vector_files import read_vector_file
from products.antimeridian import as_geojson
from products.area import Area, area_from_bounds, area_from_shape
from products.covered_ground import cut_to_bend
from products.errors import RequestError

NAMED_AREAS = Path(datacube_config.__file__).parent / "areas"
MOST_GEOJSON_BYTES, MOST_CORNERS = 200_000, 2000


def find_area(text: str) -> Area:
    """The area of a name in datacube_config/areas, a GeoJSON or GeoPackage path, or `west,south,east,north`.

    That of a file is called after it and after its polygons: files of one name, or a file that was changed, are other areas.
    """
    named = {name: NAMED_AREAS / f"{name}.geojson" for name in named_areas()}
    if text in named:
        return area_from_shape(text, _shape_of_file(named[text]))
    path = Path(text)
    if path.suffix.lower() in (".geojson", ".json", ".gpkg"):
        if not path.is_file():
            raise RequestError(f"no area file {text}: expected a GeoJSON or GeoPackage file")
        shape = _shape_of_file(path)
        return area_from_shape(_called(path.stem, shape), shape)
    if text.count(",") == 3:
        return area_from_bounds(text)
    near = difflib.get_close_matches(text, named) or list(named)
    known = f"; known names: {', '.join(near)}" if near else ""
    raise RequestError(
        f"unknown area {text!r}: expected a name, a GeoJSON or GeoPackage path, or west,south,east,north{known}"
    )


def named_areas() -> list[str]:
    """The names of the areas in datacube_config/areas."""
    return sorted(path.stem for path in NAMED_AREAS.glob("*.geojson"))


def area_from_geojson(text: str) -> Area:
    """The area of a GeoJSON text in degrees, called after its content; RequestError if it holds no polygon, or none that is simple to cut.

    It comes from strangers: mending an outline that crosses itself can take hours, so that such a one is refused.
    """
    if len(text.encode()) > MOST_GEOJSON_BYTES:
        raise RequestError(f"the GeoJSON has {len(text.encode())} bytes: expected at most {MOST_GEOJSON_BYTES}")
    try:
        parts = [shapely.force_2d(shapely.from_geojson(json.dumps(each))) for each in _polygons(json.loads(text))]
    except RequestError:
        raise
    except (shapely.errors.GEOSException, ValueError, RecursionError) as error:
        raise RequestError(
            f"expected GeoJSON with polygons in degrees: {' '.join(str(error).split())[:200]}"
        ) from error
    n_corners = sum(shapely.get_num_coordinates(part) for part in parts)
    if n_corners > MOST_CORNERS:
        raise RequestError(f"the GeoJSON has {n_corners} corners: simplify it to at most {MOST_CORNERS}")
    for part in parts:
        if not part.is_valid:
            raise RequestError(f"the outline crosses or touches itself: {shapely.is_valid_reason(part)}: draw it anew")
    shape = shapely.union_all(parts)
    return area_from_shape(_called("drawn", shape), shape)


def _called(what: str, shape: BaseGeometry) -> str:
    """With a digest of the polygons, once."""
    digest = hashlib.sha256(shapely.to_wkb(shape.normalize())).hexdigest()[:12]
    return what if what.endswith(f"_{digest}") else f"{what}_{digest}"


def _polygons(document: Any) -> list[dict[str, Any]]:  # noqa: ANN401, JSON
    """The polygons of a GeoJSON document; RequestError for any other kind of geometry."""
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        features = [each for each in document["features"] if isinstance(each, dict)]
        return [found for each in features for found in _polygons(each.get("geometry"))]
    if kind == "Feature":
        return _polygons({"type": "FeatureCollection", "features": [document]})
    if kind not in ("Polygon", "MultiPolygon"):
        raise RequestError(f"expected GeoJSON with polygons in degrees, got {str(kind)[:40]!r}")
    return [{"type": kind, "coordinates": document.get("coordinates")}]


def _shape_of_file(path: Path) -> BaseGeometry:
    try:
        table = read_vector_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise RequestError(f"the area file {path} cannot be read: {error}") from error
    if table.empty:
        raise RequestError(f"the area file {path} is empty: expected at least one polygon")
    if table.crs is None:
        raise RequestError(f"the area file {path} has no coordinate system: expected one, such as EPSG:4326")
    shapes = shapely.make_valid(table.geometry.values)
    if table.crs.is_geographic:
        return shapely.union_all(table.set_geometry(shapes).to_crs("EPSG:4326").geometry.values)
    # metres across the antimeridian are a belt round the world in degrees, unless they are cut there
    crs = CRS(table.crs)
    there = [shape for shape in shapes if shape is not None and not shape.is_empty]
    return shapely.union_all(
        [shapely.geometry.shape(as_geojson(cut_to_bend(Geometry(shape, crs)))[0]) for shape in there]
    )
