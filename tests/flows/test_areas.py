"""Areas by name, file or bounds: files of one name are other areas where their ground is another."""

import json
from pathlib import Path

import geopandas
import pytest
import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry

import flows
from datacube_config.settings import Settings
from flows.steps.areas import area_from_geojson, find_area
from products.errors import RequestError
from tests.flows.geojson_files import write_shapes

WEST, EAST = (100.838, 4.94, 100.842, 4.944), (100.846, 4.952, 100.85, 4.956)


def written(path: Path, *boxes: tuple[float, ...]) -> str:
    return str(write_shapes(path, [shapely.box(*bounds) for bounds in boxes]))


def test_a_file_is_called_after_its_name_and_its_polygons(tmp_path: Path) -> None:
    first = find_area(written(tmp_path / "area.geojson", WEST, EAST)).name
    assert first.startswith("area_")
    assert find_area(written(tmp_path / "other/area.geojson", EAST, WEST)).name == first
    assert find_area(written(tmp_path / "area.geojson", WEST)).name != first
    assert find_area(written(tmp_path / "demo.geojson", WEST)).name != "demo" == find_area("demo").name


def test_outlines_that_cross_themselves_are_mended_feature_by_feature(tmp_path: Path) -> None:
    path = tmp_path / "crossing.geojson"
    rings = [[[x, 0], [x + 1, 1], [x + 1, 0], [x, 1], [x, 0]] for x in (0, 0.5)]
    shapes = [{"type": "Polygon", "coordinates": [ring]} for ring in rings]
    features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in (*shapes, None)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = find_area(str(path)).geometry
    assert found.is_valid and found.geom.area == pytest.approx(0.875)
    for x, inside in ((0.1, True), (0.5, False), (1.4, True)):
        assert found.geom.contains(shapely.Point(x, 0.5)) is inside


def test_a_file_in_metres_across_the_antimeridian_is_ground_on_both_sides(tmp_path: Path) -> None:
    west = CRS("EPSG:32760")
    crossing = Geometry(shapely.box(179.9, -16.9, 180.19, -16.7), "EPSG:4326").to_crs(west).boundingbox.bbox
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(*crossing), None], crs="EPSG:32760")
    frame.to_file(tmp_path / "fiji.gpkg")
    found = find_area(str(tmp_path / "fiji.gpkg"))
    assert found.geometry.geom.area < 0.1
    assert found.meets(shapely.Point(179.95, -16.8)) and found.meets(shapely.Point(-179.85, -16.8))
    assert not found.meets(shapely.Point(30.01, -16.84))


def test_a_drawn_area_that_was_kept_as_a_file_keeps_its_name(tmp_path: Path) -> None:
    drawn = area_from_geojson(shapely.to_geojson(shapely.box(*WEST)))
    assert find_area(written(tmp_path / f"{drawn.name}.geojson", WEST)).name == drawn.name


def test_cubes_of_two_files_of_one_name_are_two(
    ingested_settings: Settings, small_recipe: Path, tmp_path: Path
) -> None:
    assert ingested_settings.home.is_dir()
    west, east = (written(tmp_path / name / "area.geojson", box) for name, box in (("w", WEST), ("e", EAST)))
    for area in (west, east):
        assert flows.build(str(small_recipe), area, "2020")["failed"] == []
    found = [flows.open_cube("mangrove_features", area=area) for area in (west, east)]
    assert found[0].odc.geobox != found[1].odc.geobox
    with pytest.raises(RequestError, match="no cube of 'mangrove_features' over 'area_"):
        flows.open_cube("mangrove_features", area=written(tmp_path / "w/area.geojson", WEST, EAST))
