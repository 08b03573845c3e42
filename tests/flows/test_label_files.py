"""Label files onto a grid: wholly inside, in any CRS, and clear refusals."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from shapely import Point

from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.labels import Labels
from flows.steps.learning.labels import open_labels as open_label_file
from products.errors import RequestError
from products.learning.recipe import SamplesSpec
from tests.flows.geojson_files import write_shapes

GRID = GeoBox((50, 50), Affine(30, 0, 400005, 0, -30, 1000005), "EPSG:32647")
LONLAT = CRS("EPSG:4326")


def spec(**changed: Any) -> SamplesSpec:
    return SamplesSpec.model_validate({"classes": ["mangrove", "water", "other"], "edge_px": 0} | changed)


def square(row: float, column: float, side: float) -> Geometry:
    left, top = GRID.affine * (column, row)
    return box(left, top - 30 * side, left + 30 * side, top, GRID.crs)


def geojson(path: Path, labels: list[tuple[Any, Geometry]], crs: CRS = LONLAT, **members: Any) -> Path:
    classes = [{"class": value} for value, _ in labels]
    return write_shapes(path, [shape.to_crs(crs) for _, shape in labels], classes, **members)


def raster(path: Path, values: NDArray[Any], geobox: GeoBox, nodata: int | None = None, crs: bool = True) -> Path:
    options = {"crs": str(geobox.crs)} if crs else {}
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "nodata": nodata, "transform": geobox.affine}
    with rasterio.open(path, "w", width=geobox.width, height=geobox.height, **profile, **options) as file:
        file.write(values, 1)
    return path


def open_labels(path: Path, wanted: SamplesSpec) -> Labels:
    return open_label_file(LabelFile(str(path), path), wanted)


def codes(path: Path, **changed: Any) -> NDArray[np.uint8]:
    return open_labels(path, spec(**changed)).codes(GRID, spec(**changed))


def test_only_pixels_wholly_inside_count(tmp_path: Path) -> None:
    found = codes(geojson(tmp_path / "l.geojson", [("mangrove", square(5, 5, 3)), ("water", square(20.5, 20.5, 4))]))
    assert (found[5:8, 5:8] == 1).all()
    assert (found[21:24, 21:24] == 2).all()
    assert np.bincount(found.ravel()).tolist() == [2500 - 18, 9, 9]


def test_edges_are_taken_off(tmp_path: Path) -> None:
    found = codes(geojson(tmp_path / "l.geojson", [("mangrove", square(5, 5, 9))]), edge_px=2)
    assert (found[7:12, 7:12] == 1).all()
    assert found.sum() == 25


def test_an_edge_is_the_same_where_the_grid_is_cut(tmp_path: Path) -> None:
    labels = open_labels(geojson(tmp_path / "l.geojson", [("mangrove", square(5, 5, 20))]), spec())
    whole = labels.codes(GRID, spec(edge_px=3))
    assert (labels.codes(GRID[:15, :25], spec(edge_px=3)) == whole[:15, :25]).all()


def test_pixels_of_two_classes_count_for_none_and_of_one_twice(tmp_path: Path) -> None:
    labels = [("water", square(10, 10, 10)), ("water", square(10, 18, 10)), ("other", square(12, 12, 3))]
    found = codes(geojson(tmp_path / "l.geojson", labels))
    assert (found[12:15, 12:15] == 0).all()
    assert (found == 2).sum() == 10 * 18 - 9


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32647", "EPSG:32648", "EPSG:6933"])
def test_labels_of_any_declared_crs_lie_in_the_same_place(tmp_path: Path, crs: str) -> None:
    shape = square(20, 20, 12).to_crs(CRS(crs)).geom
    table = geopandas.GeoDataFrame({"class": ["water"]}, geometry=[shape], crs=crs)
    table.to_file(tmp_path / "l.gpkg")
    labels = open_labels(tmp_path / "l.gpkg", spec())
    found = labels.codes(GRID, spec(edge_px=1))
    assert labels.source.crs == crs
    assert (found[22:30, 22:30] == 2).all()
    assert 64 <= (found == 2).sum() <= 100


def test_an_unknown_class_is_named(tmp_path: Path) -> None:
    path = geojson(tmp_path / "l.geojson", [("water", square(5, 5, 3)), ("bare", square(15, 15, 3))])
    with pytest.raises(RequestError, match=r"has the class 'bare': expected one of mangrove, water, other; say in"):
        codes(path)


def test_shapes_without_a_class_are_counted(tmp_path: Path) -> None:
    shapes = [("water", square(5, 5, 3)), (None, square(15, 15, 3)), (None, square(25, 25, 3))]
    path = geojson(tmp_path / "l.geojson", shapes)
    with pytest.raises(RequestError, match=r"2 of 3 shapes of the label file .* have no class in 'class': fill it in"):
        codes(path)


def test_values_and_ignored_ones_are_translated(tmp_path: Path) -> None:
    names = geojson(tmp_path / "l.geojson", [("bare", square(5, 5, 3)), ("cloud", square(15, 15, 3))])
    found = codes(names, values={"other": ["bare"]}, ignore=["cloud"])
    assert np.bincount(found.ravel()).tolist() == [2500 - 9, 0, 0, 9]
    numbers = geojson(tmp_path / "n.geojson", [(7.0, square(5, 5, 3)), (9.0, square(15, 15, 3))])
    found = codes(numbers, values={"mangrove": [7]}, ignore=[9])
    assert np.bincount(found.ravel()).tolist() == [2500 - 9, 9]


def test_what_each_value_was_taken_for_is_told_with_how_many_have_it(tmp_path: Path) -> None:
    wanted = spec(values={"mangrove": ["mangrove", 1], "water": ["water", 2]}, ignore=[9])
    corners = zip((2, 1.0, 2, 9), (5, 15, 25, 35), strict=True)
    numbers = geojson(tmp_path / "n.geojson", [(value, square(corner, corner, 3)) for value, corner in corners])
    assert open_labels(numbers, wanted).told([GRID], wanted) == (
        "1 as mangrove (1 shape)", "2 as water (2 shapes)", "9 as none (1 shape)",
    )  # fmt: skip
    values = np.zeros((50, 50), np.uint8)
    values[:2], values[10] = 3, 1
    wanted = spec()
    told = open_labels(raster(tmp_path / "n.tif", values, GRID), wanted).told([GRID], wanted)
    assert told == ("1 as mangrove (50 pixels)", "3 as other (100 pixels)")


def test_a_file_that_says_simulated_is_known_as_such(tmp_path: Path) -> None:
    labels = [("mangrove", square(5, 5, 3))]
    assert open_labels(geojson(tmp_path / "s.geojson", labels, simulated=True), spec()).source.simulated
    assert not open_labels(geojson(tmp_path / "r.geojson", labels), spec()).source.simulated


def test_a_geojson_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = geojson(tmp_path / "l.geojson", [("mangrove", square(5, 5, 3))], simulated=True)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    labels = open_labels(path, spec())
    assert labels.source.simulated and (labels.codes(GRID, spec())[5:8, 5:8] == 1).all()


def test_a_raster_of_the_grid_gives_its_codes(tmp_path: Path) -> None:
    values = np.zeros((50, 50), np.uint8)
    values[:, 10:20], values[:, 30:40] = 1, 3
    found = codes(raster(tmp_path / "l.tif", values, GRID))
    assert (found == values).all()


def test_a_finer_raster_counts_where_one_class_fills_the_pixel(tmp_path: Path) -> None:
    fine = np.ones((150, 150), np.uint8)
    fine[0:3, 0:3] = [[1, 1, 1], [1, 1, 1], [1, 1, 2]]  # 8 of 9
    fine[0:3, 3:6] = 2
    fine[3:6, 0:3] = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    found = codes(raster(tmp_path / "l.tif", fine, GRID.zoom_out(1 / 3)), min_label_fraction=0.85)
    assert found[:2, :2].tolist() == [[1, 2], [0, 1]]
    strict = codes(tmp_path / "l.tif", min_label_fraction=1.0)
    assert strict[:2, :2].tolist() == [[0, 2], [0, 1]]


def test_a_raster_in_another_crs_is_reprojected(tmp_path: Path) -> None:
    other = GRID.to_crs("EPSG:4326").pad(20)
    values = np.full(other.shape, 2, np.uint8)
    found = codes(raster(tmp_path / "l.tif", values, other))
    assert (found == 2).all()


def test_nodata_and_zero_of_a_raster_are_unlabelled(tmp_path: Path) -> None:
    values = np.full((50, 50), 255, np.uint8)
    values[:10], values[10:20] = 0, 1
    found = codes(raster(tmp_path / "l.tif", values, GRID, nodata=255))
    assert np.bincount(found.ravel()).tolist() == [2000, 500]


@pytest.mark.parametrize("zoom", [1, 1 / 3])
def test_beyond_a_raster_nothing_is_labelled_where_zero_is_a_class(tmp_path: Path, zoom: float) -> None:
    part = GRID[:20, :30].zoom_out(zoom)
    values = np.zeros(part.shape, np.uint8)
    values[: part.shape[0] // 2] = 1
    path = raster(tmp_path / "l.tif", values, part)
    found = codes(path, values={"mangrove": [1], "water": [2], "other": [0]})
    assert (found[:10, :30] == 1).all() and (found[10:20, :30] == 3).all()
    assert np.bincount(found.ravel()).tolist() == [2500 - 600, 300, 0, 300]


def test_what_the_mask_or_the_alpha_band_of_a_raster_hides_is_unlabelled(tmp_path: Path) -> None:
    values, is_shown = np.ones((50, 50), np.uint8), np.arange(50) < 20
    path = raster(tmp_path / "mask.tif", values, GRID)
    with rasterio.open(path, "r+") as file:
        file.write_mask(np.broadcast_to(is_shown, (50, 50)))
    assert (codes(path) == is_shown).all()
    profile = {"driver": "GTiff", "count": 2, "dtype": "uint8", "transform": GRID.affine, "crs": str(GRID.crs)}
    with rasterio.open(tmp_path / "alpha.tif", "w", width=50, height=50, ALPHA="YES", **profile) as file:
        file.write(np.stack([values, np.where(is_shown, values * 255, 0)]))
    assert (codes(tmp_path / "alpha.tif") == is_shown).all()


def test_overlap_is_told(tmp_path: Path) -> None:
    labels = open_labels(geojson(tmp_path / "l.geojson", [("mangrove", square(5, 5, 3))]), spec())
    assert labels.overlaps(GRID)
    assert not labels.overlaps(GRID.translate_pix(500, 0))
    values = open_labels(raster(tmp_path / "l.tif", np.ones((50, 50), np.uint8), GRID), spec())
    assert values.overlaps(GRID)
    assert not values.overlaps(GRID.translate_pix(500, 0))


BESIDE_THE_POLE_OF_THE_ZONE = box(9.2, 0.2, 9.4, 0.4, LONLAT)  # 90 degrees of longitude from its meridian
BEHIND_THE_ZONE = box(-95, -20, -50, 15, LONLAT)


def test_labels_anywhere_on_earth_leave_those_of_the_grid_as_they_are(tmp_path: Path) -> None:
    here = [("mangrove", square(5, 5, 9))]
    far = [
        ("mangrove", BESIDE_THE_POLE_OF_THE_ZONE),
        ("water", BESIDE_THE_POLE_OF_THE_ZONE),
        ("other", BEHIND_THE_ZONE),
    ]
    alone, among = geojson(tmp_path / "here.geojson", here), geojson(tmp_path / "world.geojson", here + far)
    assert (codes(among, edge_px=1) == codes(alone, edge_px=1)).all()
    labels = open_labels(among, spec())
    assert labels.overlaps(GRID) and not labels.overlaps(GRID.translate_pix(500, 0))


def test_a_polygon_round_the_earth_labels_what_it_holds_up_to_its_edge(tmp_path: Path) -> None:
    edge = float(GRID.extent.centroid.to_crs(LONLAT).coords[0][1])
    world = geojson(tmp_path / "l.geojson", [("water", box(-179, -60, 179, edge, LONLAT))])
    local = geojson(tmp_path / "part.geojson", [("water", box(98.085, 8, 98.11, edge, LONLAT))])
    found = codes(world)
    assert (found[:20] == 0).all() and (found[30:] == 2).all()
    assert (found == codes(local)).all()
    labels = open_labels(world, spec())
    assert (labels.codes(GRID[10:40, 20:], spec()) == found[10:40, 20:]).all()


@pytest.mark.parametrize("zone", [1, 60])
def test_labels_on_both_sides_of_the_antimeridian_are_found(tmp_path: Path, zone: int) -> None:
    middle = Geometry(Point(180, 9), LONLAT).to_crs(CRS(f"EPSG:326{zone:02}")).coords[0]
    grid = GeoBox((40, 40), Affine(30, 0, middle[0] - 600, 0, -30, middle[1] + 600), f"EPSG:326{zone:02}")
    sides = [("water", box(-180, 8, -170, 10, LONLAT)), ("mangrove", box(179.99, 8.9, 180, 9.1, LONLAT))]
    labels = open_labels(geojson(tmp_path / "l.geojson", sides), spec())
    found = labels.codes(grid, spec())
    assert (found[:, :18] == 1).all() and (found[:, 22:] == 2).all()


@pytest.mark.parametrize(("west", "east"), [(-180, 180), (0, 360), (0, 180), (97.9, 98.1)])
def test_a_raster_round_the_earth_shares_its_ground(tmp_path: Path, west: float, east: float) -> None:
    world = GeoBox((60, 60), Affine((east - west) / 60, 0, west, 0, -3, 90), LONLAT)
    labels = open_labels(raster(tmp_path / "l.tif", np.ones((60, 60), np.uint8), world), spec())
    for crs, is_shared in (("EPSG:32647", True), ("EPSG:32617", west < -80)):
        grid = GeoBox((50, 50), Affine(30, 0, 400005, 0, -30, 1000005), crs)
        assert (labels.codes(grid, spec()) > 0).any() == is_shared
        assert labels.overlaps(grid) == is_shared


def test_real_mangrove_tiles_are_read_as_a_finer_raster(shared_data: Path) -> None:
    path = next((shared_data / "labels" / "mangrove").glob("*1996*.tif"))
    wanted = spec(classes=["mangrove", "other"], values={"mangrove": [1], "other": [9]}, min_label_fraction=0.6)
    with rasterio.open(path) as file:
        values = file.read(1)
        row, column = np.argwhere(values[500:4000, 500:4000] == 1).mean(axis=0).astype(int) + 500
        x, y = file.xy(int(row), int(column))
    middle = box(x, y, x + 0.001, y + 0.001, LONLAT).to_crs(CRS("EPSG:32617")).centroid.coords[0]
    geobox = GeoBox((100, 100), Affine(60, 0, middle[0] - 3000, 0, -60, middle[1] + 3000), "EPSG:32617")
    found = open_labels(path, wanted).codes(geobox, wanted)
    nearest = open_labels(path, wanted).codes(geobox.zoom_out(0.4), wanted)
    assert found.any()
    assert (found == 1).mean() == pytest.approx((nearest == 1).mean(), abs=0.05)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.geojson", "no label file at .*absent.geojson"),
        (
            "labels.csv",
            "cannot read labels from .*labels.csv: expected .geojson, .gpkg or .tif; draw a training set .*: neocube sample, see docs",
        ),
        ("broken.geojson", "broken.geojson is not a readable label file"),
        ("broken.tif", "broken.tif is not a readable label raster"),
        ("empty.geojson", "empty.geojson has no polygons"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text("class,wkt\n")
    (tmp_path / "broken.geojson").write_text('{"type": "FeatureColl')
    (tmp_path / "broken.tif").write_bytes(b"II*\0nothing")
    geojson(tmp_path / "empty.geojson", [])
    with pytest.raises(RequestError, match=message):
        open_labels(tmp_path / name, spec())


def test_a_geojson_whose_coordinates_are_no_degrees_is_refused(tmp_path: Path) -> None:
    path = geojson(tmp_path / "metres.geojson", [("water", square(5, 5, 3))], GRID.crs)
    with pytest.raises(RequestError, match=r"metres.geojson is in EPSG:4326, degrees, but reaches from 400155, "):
        open_labels(path, spec())


def test_a_file_without_crs_is_refused(tmp_path: Path) -> None:
    path = raster(tmp_path / "l.tif", np.ones((50, 50), np.uint8), GRID, crs=False)
    with pytest.raises(RequestError, match=r"l.tif declares no CRS"):
        open_labels(path, spec())


def test_a_missing_field_lists_the_fields(tmp_path: Path) -> None:
    path = geojson(tmp_path / "l.geojson", [("water", square(5, 5, 3))])
    with pytest.raises(RequestError, match="has no field 'kind': expected one of class"):
        open_labels(path, spec(class_field="kind"))


def test_lines_are_refused(tmp_path: Path) -> None:
    path = geojson(tmp_path / "l.geojson", [("water", square(5, 5, 3).boundary)])
    with pytest.raises(RequestError, match="holds a LineString: expected polygons"):
        open_labels(path, spec())


def test_an_unknown_raster_value_is_named(tmp_path: Path) -> None:
    path = raster(tmp_path / "l.tif", np.full((50, 50), 9, np.uint8), GRID)
    with pytest.raises(RequestError, match="has the label value 9: expected 1, 2, 3"):
        codes(path)


def test_a_raster_of_floats_is_refused(tmp_path: Path) -> None:
    path = raster(tmp_path / "l.tif", np.ones((50, 50), np.float32), GRID)
    with pytest.raises(RequestError, match="holds float32: expected integers"):
        open_labels(path, spec())
