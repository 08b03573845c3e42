"""A search by area loses nothing whose edges bend, at a pole or across 180 degrees, and asks for no belt round the world."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid5

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from datacube.model import Range
from odc.geo.geom import Geometry, box, point

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from datacube_config.sources import SourceTable
from flows.steps.areas import find_area
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.cubes.passport import passport_of
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.index_setup import add_product
from flows.steps.index.scene_index import list_scenes, take_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.ingesting.ingest_rasters import ingest_rasters
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.rasters import find_rasters
from flows.steps.scenes.convex_ring import bent_bounds_of, bounds_of
from flows.steps.storage import open_storage
from flows.steps.upkeep.retire_selection import Selection, select_datasets
from flows.tiling import Cut
from products.area import Area
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE, CellKey
from products.period import Period, parse_period
from products.registry import features_recipe
from products.source_spec import SourceSpec
from products.template import odc_product_definition
from products.window_spec import RasterInput
from tests.flows.hostile_stac import hostile_stac
from tests.flows.published_product import TEMPLATE, TILE_PX
from tests.flows.test_scene_lookup import YEAR, scene

SOURCE = SourceSpec(collection="sentinel-2-l2a")
# The upper edge of the scene rises 1.5 km above the chord of its ends, which is straight in degrees; the cell lies on what rises.
SCENE = box(445_100, 8_890_200, 554_900, 9_000_000, "EPSG:32631")
CELL = box(490_000, 8_999_500, 510_000, 9_020_000, "EPSG:32631")
HEIGHTS = {
    "title": "heights",
    "kind": "elevation",
    "license": "CC0-1.0",
    "credit": "made up",
    "files": ["*.tif"],
    "name": r"(?P<tile>\w+)\.tif",
    "time": "static",
    "bands": {"height": {"dtype": "float32", "nodata": -9999, "units": "metre"}},
}
TABLE = SourceTable.model_validate({"rasters": {"heights": HEIGHTS}})


@pytest.fixture(params=["embedded_settings", "postgis_settings"])
def settings(request: pytest.FixtureRequest) -> Settings:
    found: Settings = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    with open_index(settings) as opened:
        yield opened


@pytest.mark.parametrize("bounds", [bounds_of, bent_bounds_of])
def test_a_scene_is_found_for_a_cell_on_what_rises_above_its_corners(index: Index, bounds: type[bounds_of]) -> None:
    """Also by a row of before, which has the bounds of the corners."""
    made = scene(0, 0, "2020-05-01T10:00:00Z")
    west, south, east, north = bounds(shapely.get_coordinates(SCENE.to_crs("EPSG:4326").geom).tolist())
    projection = {"spatial_reference": "EPSG:32631", "valid_data": SCENE.json}
    made.document.update(
        crs="EPSG:32631",
        grid_spatial={"projection": projection},
        extent={"lon": {"begin": west, "end": east}, "lat": {"begin": south, "end": north}},
    )
    take_scenes(index, [made])
    assert [found.id for found in find_scenes(index, [SOURCE], YEAR, CELL)] == [made.id]
    beside = box(490_000, 9_000_300, 510_000, 9_020_000, "EPSG:32631")
    assert find_scenes(index, [SOURCE], YEAR, beside) == []
    area = Area("cell", CELL.to_crs("EPSG:4326", resolution=100))
    assert [row["id"] for row in list_scenes(index, area=area)] == [str(made.id)]
    with index.engine.begin() as connection:
        bounds_text = ",".join(map(str, area.geometry.boundingbox.bbox))
        select_datasets(connection, index, Selection(area=bounds_text))
        assert connection.exec_driver_sql("select id from selected").scalars().all() == [made.id]


def test_a_raster_that_holds_a_pole_is_found_all_over_it_and_a_known_row_of_its_corners_is_mended(
    index: Index, tmp_path: Path
) -> None:
    transform = rasterio.Affine(250_000, 0, -2_000_000, 0, -250_000, 2_000_000)
    profile = {"driver": "GTiff", "height": 16, "width": 16, "count": 1, "dtype": "float32", "nodata": -9999}
    with rasterio.open(tmp_path / "pole.tif", "w", crs="EPSG:3031", transform=transform, **profile) as raster:
        raster.write(np.ones((1, 16, 16), np.float32))
    wanted = RasterInput("heights", "height", "nearest")
    ingest_rasters(index, "heights", str(tmp_path), TABLE)

    def n_found(longitude: float, latitude: float) -> int:
        x, y = point(longitude, latitude, "EPSG:4326").to_crs("EPSG:3031").coords[0]
        return len(find_rasters(index, [wanted], YEAR, box(x - 100, y - 100, x + 100, y + 100, "EPSG:3031")))

    places = [(0, -89.99), (179.99, -80), (-179.99, -80), (-60, -85), (10, -75)]
    assert [n_found(*place) for place in places] == [1] * 5 and n_found(0, -60) == 0
    (row,) = index.dc.index.datasets.search(product="heights")
    old = {"lon": {"begin": -135.0, "end": 135.0}, "lat": {"begin": -64.4, "end": -64.3}}
    row.metadata_doc["extent"] = old
    index.dc.index.datasets.update(row, {("extent",): lambda *_: True})
    if not index.dc.index.supports_spatial_indexes:  # which keep the geometry of the row, whatever its bounds say
        assert n_found(10, -75) == 0
    assert ingest_rasters(index, "heights", str(tmp_path), TABLE).unchanged == 1
    assert [n_found(*place) for place in places] == [1] * 5


@pytest.mark.parametrize("tile", [Tile("EPSG:3413", 0, -1), Tile("EPSG:3413", -1, 0), Tile("EPSG:3413", 0, 0)])
def test_a_cell_beside_a_pole_is_found_at_each_of_its_pixels(settings: Settings, index: Index, tile: Tile) -> None:
    grid = PixelGrid("EPSG:3413", 10_000.0, TILE_PX, 160_000.0)
    key = CellKey(TEMPLATE.product, TEMPLATE.version, tile, parse_period("2020"))
    add_product(index.dc, odc_product_definition(TEMPLATE))
    shapes = {
        "features": (1, 3, TILE_PX, TILE_PX),
        "accounts": (1, 2, TILE_PX, TILE_PX),
        "class_map": (1, TILE_PX, TILE_PX),
    }
    arrays = {array.name: np.zeros(shapes[array.name], array.dtype) for array in TEMPLATE.arrays}
    storage = open_storage(settings)
    publish_cell(index, storage, CellDraft(uuid5(NAMESPACE, key.label), key, TEMPLATE, grid, "digest", {}), arrays)
    x, y = (grid.geobox(tile).coordinates[axis].values for axis in ("x", "y"))
    for across, along in ((0, 0), (31, 31), (0, 31), (31, 0), (15, 15), (16, 16), (15, 16), (3, 16)):
        at = point(float(x[across]), float(y[along]), "EPSG:3413").to_crs("EPSG:4326").coords[0]
        made = passport_of(
            index, storage, TEMPLATE.product, lambda name: None, at, parse_period("2020"), 1, RasterAccess()
        )
        assert made["cell"]["tile"] == tile.label
    lat = Range(89.999, 90.0)
    at_pole = list(index.dc.index.datasets.search(product=TEMPLATE.product, lat=lat))
    assert len(at_pole) == (1 if tile == Tile("EPSG:3413", 0, -1) else 0)


def test_an_area_of_a_projected_file_has_the_ground_that_its_edges_hold(tmp_path: Path) -> None:
    square = shapely.box(-1_000_000, -2_500_000, 1_000_000, -500_000)
    geopandas.GeoDataFrame(geometry=[square], crs="EPSG:3413").to_file(tmp_path / "arctic.gpkg")
    area = find_area(str(tmp_path / "arctic.gpkg"))
    back = Geometry(area.geometry.geom, "EPSG:4326").to_crs("EPSG:3413", resolution=0.01)
    assert back.geom.symmetric_difference(square).area < 1e-4 * square.area
    small = shapely.box(500_000, 500_000, 501_000, 501_000)
    geopandas.GeoDataFrame(geometry=[small], crs="EPSG:32631").to_file(tmp_path / "site.gpkg")
    assert shapely.get_num_coordinates(find_area(str(tmp_path / "site.gpkg")).geometry.geom) == 5


def test_tiles_on_both_sides_of_the_antimeridian_are_no_belt_round_the_world() -> None:
    recipe = features_recipe("mangrove_features")
    grid = PixelGrid("EPSG:6933", 30.0, 256, 0.0)
    fiji = shapely.union(shapely.box(179.5, -17, 180, -16.5), shapely.box(-180, -17, -179.8, -16.5))
    area = Area("fiji", Geometry(fiji, "EPSG:4326"))
    tiles = grid.tiles(area.geometry)
    ground = Cut(
        recipe, area, grid, tiles, (Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)),)
    ).ground
    assert len(shapely.get_parts(ground.geom)) == 2
    assert ground.geom.area < 2 * len(tiles) * (256 * 30) ** 2
    assert all(ground.geom.contains(grid.geobox(tile).extent.geom) for tile in tiles)


def test_an_api_is_asked_for_both_sides_of_the_antimeridian_and_not_for_what_lies_between(
    embedded_settings: Settings, tmp_path: Path
) -> None:
    halves = [shapely.box(179.5, 60, 180, 61), shapely.box(-180, 60, -179.8, 61)]
    geopandas.GeoDataFrame(geometry=halves, crs="EPSG:4326").to_file(tmp_path / "bering.gpkg")
    with hostile_stac([]) as stac, open_index(embedded_settings) as index:
        ingest_archive(index, stac.url, area=find_area(str(tmp_path / "bering.gpkg")))
        asked = sorted(tuple(search["bbox"]) for _, search in stac.searches)
    west, east = asked
    assert west == pytest.approx((-180, 60, -179.8, 61), abs=0.02) and east == pytest.approx(
        (179.5, 60, 180, 61), abs=0.02
    )
    assert 0.01 < 60 - west[1] < 0.013  # 1.4 km: what an edge of 200 km rises above the parallel of its ends
