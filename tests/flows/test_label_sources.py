"""Sources of labels onto the pixels of a tile: every format, any CRS, real files, and one clear error for each that cannot be meant."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pycocotools import mask as run_lengths

from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.label_rasters import label_pixel_size
from flows.steps.sampling.label_sources import LabelFiles, OpenLabels, open_source
from products.errors import RequestError
from products.learning.label_places import Places, each_once
from products.learning.label_spec import LabelsSpec

CRS = "EPSG:32647"
TILE = GeoBox((50, 50), Affine(30, 0, 400005, 0, -30, 1000005), CRS)
CLASSES = ("mangrove", "water", "other")
Shapes = list[tuple[Any, shapely.Geometry]]


def file(path: Path) -> LabelFile:
    return LabelFile(str(path), path)


def opened(
    path: Path,
    *,
    image: Path | None = None,
    stable: tuple[Path, ...] = (),
    ground: GeoBox = TILE,
    classes: tuple[str, ...] = CLASSES,
    **said: Any,
) -> OpenLabels:
    spec = LabelsSpec.model_validate({"edge_px": 0} | said)
    files = LabelFiles(spec, file(path), tuple(map(file, stable)), file(image) if image else None)
    return open_source(files, classes, ground)


def codes(source: OpenLabels, tile: GeoBox = TILE) -> NDArray[np.uint8]:
    """Class codes (y, x) of the places of a source, each pixel once."""
    found, _ = each_once(source.places(tile, 0)[0], tile.shape[1])
    picture = np.zeros(tile.shape, np.uint8)
    picture[found.row, found.column] = found.code
    return picture


def square(row: float, column: float, side: float) -> shapely.Polygon:
    left, top = TILE.affine * (column, row)
    return shapely.box(left, top - 30 * side, left + 30 * side, top)


def point(row: float, column: float) -> shapely.Point:
    return shapely.Point(TILE.affine * (column, row))


def table(shapes: Shapes, crs: str = CRS) -> geopandas.GeoDataFrame:
    values, geometries = zip(*shapes, strict=True)
    return geopandas.GeoDataFrame({"class": values}, geometry=list(geometries), crs=crs)


SHAPES: Shapes = [
    ("mangrove", square(5, 5, 3)),
    ("water", point(20.5, 30.2)),
    ("other", shapely.LineString([TILE.affine * (2.5, 40.5), TILE.affine * (8.5, 40.5)])),
]
EXPECTED = (
    {(row, column): 1 for row in (5, 6, 7) for column in (5, 6, 7)} | {(20, 30): 2} | {(40, c): 3 for c in range(2, 9)}
)


def said_by(picture: NDArray[np.uint8]) -> dict[tuple[int, int], int]:
    return {(int(r), int(c)): int(picture[r, c]) for r, c in zip(*np.nonzero(picture), strict=True)}


WRITERS: dict[str, Callable[[geopandas.GeoDataFrame, Path], object]] = {
    "labels.gpkg": lambda frame, path: frame.to_file(path),
    "labels.parquet": lambda frame, path: frame.to_parquet(path),
    "labels.geojson": lambda frame, path: frame.to_crs("EPSG:4326").to_file(path, driver="GeoJSON"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_polygons_points_and_lines_of_any_file_label_the_same_pixels(name: str, tmp_path: Path) -> None:
    WRITERS[name](table(SHAPES), tmp_path / name)
    source = opened(tmp_path / name)
    assert said_by(codes(source)) == EXPECTED
    assert source.source.crs == ("EPSG:4326" if name.endswith("geojson") else CRS)


def test_json_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    WRITERS["labels.geojson"](table(SHAPES), tmp_path / "l.geojson")
    document = json.loads((tmp_path / "l.geojson").read_text()) | {"simulated": True}
    (tmp_path / "l.geojson").write_text(json.dumps(document), encoding="utf-8-sig")
    source = opened(tmp_path / "l.geojson")
    assert said_by(codes(source)) == EXPECTED and source.source.simulated
    annotations = coco(tmp_path / "l.json")
    annotations.write_text(annotations.read_text(), encoding="utf-8-sig")
    image = raster(tmp_path / "scene.tif", np.zeros((40, 30), np.uint8), IMAGE)
    assert len(said_by(codes(opened(annotations, image=image)))) == 6


def test_shares_of_polygons_are_known_and_those_of_points_are_not(tmp_path: Path) -> None:
    table([("water", square(5, 5, 2.8)), ("water", point(20.5, 20.5))]).to_file(tmp_path / "l.gpkg")
    places, dropped = opened(tmp_path / "l.gpkg").places(TILE, 4)
    assert sorted(places.fraction[places.row < 10].tolist()) == pytest.approx([0.8] * 4 + [1] * 4)
    assert np.isnan(places.fraction[places.row == 20]).all()
    assert set(places.source.tolist()) == {4}
    assert dropped == {"mixed": 1}


def test_a_table_of_coordinates_needs_its_crs(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    here = geopandas.GeoSeries([point(20.5, 30.2)], crs=CRS).to_crs("EPSG:4326").iloc[0]
    path.write_text(f"longitude,latitude,class\n{here.x:.7f},{here.y:.7f},water\n")
    assert said_by(codes(opened_table(path, crs="EPSG:4326"))) == {(20, 30): 2}
    with pytest.raises(RequestError, match=r"has coordinates in longitude and latitude, but no CRS: say `crs:`"):
        opened_table(path)
    with pytest.raises(RequestError, match="unknown CRS 'EPSG:99'"):
        opened_table(path, crs="EPSG:99")
    with pytest.raises(RequestError, match="is in EPSG:4326, degrees, but reaches from"):
        opened_table(written(tmp_path / "m.csv", "x,y,class\n400100,999900,water\n"), crs="EPSG:4326")


def opened_table(path: Path, **said: Any) -> OpenLabels:
    return open_source(LabelFiles(LabelsSpec.model_validate(said), file(path)), CLASSES, TILE)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said", "words"),
    [
        ("", {}, "is empty: expected a line of names"),
        ("x,y,class\n", {}, "holds text: expected coordinates|is empty: expected at least one shape"),
        ("a,b,class\n1,2,water\n", {}, "has no columns of coordinates that are known by name: say `x:` and `y:`, of a, b, class"),
        ("a,b,class\n1,2,water\n", {"x": "a", "y": "c"}, "has no field 'c': expected one of a, b, class"),
        ("x,y,class\n1,,water\n", {}, "has 1 rows without a place"),
        ("x,y,class\nwest,3,water\n", {}, "the column x of .* holds text"),
        ("x,y,kind\n400100,999900,water\n", {}, "has no field 'class': expected one of x, y, kind"),
        ("x,y,class\n400100,999900,water\n400100,999930,\n", {}, "1 of 2 shapes of the label file .* have no class in 'class'"),
        ("x,y,class\n400100,999900,snow\n", {}, "has the class 'snow': expected one of mangrove, water, other"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_meant_is_refused(text: str, said: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        opened_table(written(tmp_path / "points.csv", text), crs=CRS, **said)


def test_crossing_edges_are_repaired_and_counted(tmp_path: Path) -> None:
    left, top = TILE.affine * (5, 5)
    bow = shapely.Polygon([(left, top), (left + 300, top - 300), (left + 300, top), (left, top - 300)])
    table([("water", bow)]).to_file(tmp_path / "l.gpkg")
    source = opened(tmp_path / "l.gpkg")
    assert source.n_repaired == 1
    assert 20 < (codes(source) == 2).sum() < 50


def test_shapes_beyond_all_tiles_are_counted(tmp_path: Path) -> None:
    table([("water", square(5, 5, 2)), ("water", square(90, 90, 2))]).to_file(tmp_path / "l.gpkg")
    assert opened(tmp_path / "l.gpkg").n_outside([TILE]) == 1


def test_shapes_anywhere_on_earth_are_counted_and_leave_those_of_the_tile_as_they_are(tmp_path: Path) -> None:
    far = [shapely.box(9.2, 0.2, 9.4, 0.4), shapely.box(-95, -20, -50, 15), shapely.Point(9.3, 0.3)]
    here = table([("water", square(5, 5, 3))]).to_crs("EPSG:4326").geometry
    among = table([("water", shape) for shape in (*here, *far)], "EPSG:4326")
    among.to_file(tmp_path / "l.gpkg")
    source = opened(tmp_path / "l.gpkg")
    assert said_by(codes(source)) == {(row, column): 2 for row in (5, 6, 7) for column in (5, 6, 7)}
    assert (source.n_repaired, source.n_outside([TILE])) == (0, 3)


def test_shapes_round_the_earth_label_what_they_hold_up_to_their_edge(tmp_path: Path) -> None:
    latitude = float(table([("other", point(25, 25))]).to_crs("EPSG:4326").geometry.iloc[0].y)
    shapes = [
        ("water", shapely.box(-179, -60, 179, latitude)),
        ("other", shapely.LineString([(-179, 9.04), (179, 9.04)])),
    ]
    local = shapely.box(98, 8, 98.2, 10)
    table(shapes, "EPSG:4326").to_file(tmp_path / "l.gpkg")
    table([(name, shape.intersection(local)) for name, shape in shapes], "EPSG:4326").to_file(tmp_path / "part.gpkg")
    source = opened(tmp_path / "l.gpkg")
    found = codes(source)
    assert (found == codes(opened(tmp_path / "part.gpkg"))).all()
    assert (found[:20] == 0).all() and (found[26:] == 2).all() and source.n_repaired == 0


def test_overlapping_classes_contradict_each_other(tmp_path: Path) -> None:
    shapes = [("water", square(5, 5, 4)), ("other", square(7, 7, 4))]
    table(shapes).to_file(tmp_path / "l.gpkg")
    places, dropped = opened(tmp_path / "l.gpkg").places(TILE, 0)
    assert dropped == {"contradicting": 4}
    assert np.bincount(places.code).tolist() == [0, 0, 12, 12]


def test_edges_and_small_patches_are_dropped_and_counted(tmp_path: Path) -> None:
    table([("water", square(5, 5, 5)), ("other", square(20, 20, 2))]).to_file(tmp_path / "l.gpkg")
    places, dropped = opened(tmp_path / "l.gpkg", edge_px=1, min_mapping_unit_m2=5 * 900).places(TILE, 0)
    assert len(places) == 9
    assert dropped == {"below_mapping_unit": 4, "edge": 16}
    with pytest.raises(RequestError, match="min_mapping_unit_m2 1e.06 is 1112 pixels: expected at most 500"):
        opened(tmp_path / "l.gpkg", min_mapping_unit_m2=1e6).places(TILE, 0)


@pytest.mark.parametrize("name", ["labels.shp", "labels.tif", "labels.gpkg"])
def test_a_file_that_is_not_there_or_not_known_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no label file at .*: expected one of .geojson, .json, .gpkg"):
        opened(tmp_path / name)
    (tmp_path / "labels.shp").write_bytes(b"x")
    with pytest.raises(RequestError, match="cannot read labels from .*shp"):
        opened(tmp_path / "labels.shp")


def test_an_empty_file_of_shapes_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "l.geojson", json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(RequestError, match="l.geojson is empty: expected at least one shape"):
        opened(tmp_path / "l.geojson")


def raster(path: Path, values: NDArray[Any], geobox: GeoBox, nodata: float | None = None) -> Path:
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "nodata": nodata, "transform": geobox.affine}
    with rasterio.open(path, "w", crs=str(geobox.crs), width=geobox.width, height=geobox.height, **profile) as out:
        out.write(values, 1)
    return path


def test_of_a_finer_raster_a_pixel_takes_the_class_that_fills_it_and_zero_may_be_one(tmp_path: Path) -> None:
    fine = np.zeros((200, 200), np.uint8)
    fine[:40, :40] = 1
    fine[0, 0:1] = 0  # one sixteenth of the first pixel
    fine[20:22, 20:23] = 0  # six sixteenths of another
    path = raster(tmp_path / "l.tif", fine, TILE.zoom_out(0.25))
    source = opened(path, values={"mangrove": [1]})
    places, dropped = source.places(TILE, 0)
    assert len(places) == 99
    assert places.fraction[(places.row == 0) & (places.column == 0)].tolist() == [15 / 16]
    assert dropped == {"mixed": 1}


def test_beyond_a_raster_nothing_is_labelled(tmp_path: Path) -> None:
    path = raster(tmp_path / "l.tif", np.zeros((10, 10), np.uint8), TILE[:10, :10])
    assert said_by(codes(opened(path, **{"class": "other", "min_value": 0}))) == {
        (row, column): 3 for row in range(10) for column in range(10)
    }


def test_a_raster_round_the_earth_shares_the_ground_of_every_tile(tmp_path: Path) -> None:
    world = GeoBox((60, 60), Affine(6, 0, -180, 0, -3, 90), "EPSG:4326")
    source = opened(raster(tmp_path / "l.tif", np.ones((60, 60), np.uint8), world))
    assert all(source.overlaps(TILE.translate_pix(columns, 0)) for columns in (-5000, 0, 8000))


def test_a_pixel_of_a_raster_is_as_large_as_it_is_here_however_far_the_raster_reaches(tmp_path: Path) -> None:
    there = {
        "crs": "EPSG:4326",
        "transform": Affine(0.0025, 0, -180, 0, -0.0025, 90),
        "width": 144_000,
        "height": 72_000,
    }
    stored = {"driver": "GTiff", "count": 1, "dtype": "uint8", "tiled": True, "blockxsize": 4096, "blockysize": 4096}
    with rasterio.open(tmp_path / "l.tif", "w", sparse_ok=True, **there, **stored):
        pass
    with rasterio.open(tmp_path / "l.tif") as world:
        degree_m = 110_600, 111_320 * np.cos(np.radians(9.03))
        assert label_pixel_size(world, TILE) == pytest.approx(0.0025 * np.sqrt(np.prod(degree_m)), rel=2e-3)


def test_water_by_a_threshold_of_a_percentage(tmp_path: Path) -> None:
    share = np.zeros((50, 50), np.float32)
    share[10:20, 10:20] = 95
    share[30:40] = 60
    source = opened(raster(tmp_path / "w.tif", share, TILE), **{"class": "water", "min_value": 90})
    assert (codes(source)[10:20, 10:20] == 2).all()
    assert len(said_by(codes(source))) == 100
    with pytest.raises(RequestError, match="holds float32: expected integers, one for each class, or `class` and"):
        opened(tmp_path / "w.tif")


def test_only_what_epochs_agree_on_is_taken(tmp_path: Path) -> None:
    now, then = np.zeros((2, 50, 50), np.uint8)
    now[5:15, 5:15], then[5:15, 8:18] = 1, 1
    path, other = raster(tmp_path / "2020.tif", now, TILE), raster(tmp_path / "1996.tif", then, TILE)
    source = opened(path, stable=(other,), values={"mangrove": [1]})
    places, dropped = source.places(TILE, 0)
    assert (len(places), dropped) == (70, {"unstable": 30})
    assert source.source.digest != opened(path, values={"mangrove": [1]}).source.digest


def test_an_unknown_value_of_a_raster_is_named(tmp_path: Path) -> None:
    path = raster(tmp_path / "l.tif", np.full((50, 50), 7, np.uint8), TILE)
    with pytest.raises(RequestError, match="has the label value 7: expected 1; say in values what it means"):
        opened(path, values={"mangrove": [1]}).places(TILE, 0)


IMAGE = TILE[:40, :30]


def coco(path: Path, **annotation: Any) -> Path:
    document = {
        "images": [{"id": 3, "width": 30, "height": 40, "file_name": "scene.png"}],
        "categories": [{"id": 1, "name": "water"}],
        "annotations": [{"id": 5, "image_id": 3, "category_id": 1, "bbox": [4, 6, 3, 2], **annotation}],
    }
    return written(path, json.dumps(document))


def packed() -> dict[str, Any]:
    mask = np.zeros((40, 30), np.uint8, order="F")
    mask[6:8, 4:7] = 1
    found = run_lengths.encode(mask)
    return {"size": found["size"], "counts": found["counts"].decode()}


@pytest.mark.parametrize(
    "annotation",
    [
        {},
        {"segmentation": [[4, 6, 7, 6, 7, 8, 4, 8]]},
        {"segmentation": {"size": [40, 30], "counts": [166, 2, 38, 2, 38, 2, 952]}},
        {"segmentation": packed()},
    ],
)
def test_boxes_polygons_and_run_lengths_of_coco_lie_on_their_image(annotation: dict[str, Any], tmp_path: Path) -> None:
    image = raster(tmp_path / "scene.tif", np.zeros((40, 30), np.uint8), IMAGE)
    source = opened(coco(tmp_path / "l.json", **annotation), image=image, edge_px=0)
    assert said_by(codes(source)) == {(row, column): 2 for row in (6, 7) for column in (4, 5, 6)}


def test_coco_without_its_image_or_with_another_is_refused(tmp_path: Path) -> None:
    path = coco(tmp_path / "l.json")
    with pytest.raises(RequestError, match="are in pixels: say with `image:` which georeferenced image they lie on"):
        opened(path)
    other = raster(tmp_path / "other.tif", np.zeros((50, 50), np.uint8), TILE)
    with pytest.raises(RequestError, match=r"annotates an image of 40 x 30 pixels, .* has 50 x 50"):
        opened(path, image=other)
    image = raster(tmp_path / "scene.tif", np.zeros((40, 30), np.uint8), IMAGE)
    broken = coco(tmp_path / "b.json", segmentation={"size": [9, 9], "counts": [81]})
    with pytest.raises(
        RequestError, match=r"the annotation 5 of .* is no box, polygon or run length: a mask of \[9, 9\]"
    ):
        opened(broken, image=image)


def total(places: Places) -> list[int]:
    return np.bincount(places.code).tolist()


def test_real_vessels_lie_where_their_annotations_say(shared_data: Path) -> None:
    folder = shared_data / "labels/vessels/casablanca"
    image = folder / "casablanca_2023-04-26_B08.tif"
    with rasterio.open(image) as scene:
        grid = GeoBox((scene.height, scene.width), scene.transform, str(scene.crs))
    source = opened(folder / "casablanca_coco.json", image=image, ground=grid, classes=("vessel", "sea"))
    places, _ = source.places(grid, 0)
    document = json.loads((folder / "casablanca_coco.json").read_text())
    assert len(document["annotations"]) == 15
    assert total(places) == [0, sum(each["area"] for each in document["annotations"])]


def test_real_mangroves_are_those_of_both_epochs(shared_data: Path) -> None:
    folder = shared_data / "labels/mangrove"
    now, then = (folder / f"GMW_N26W082_{year}_v3.tif" for year in (2020, 1996))
    with rasterio.open(now) as scene:
        values = scene.read(1)
        row, column = (int(each) for each in np.argwhere(values == 1)[values.sum() // 2])
        x, y = geopandas.GeoSeries([shapely.Point(scene.xy(row, column))], crs=scene.crs).to_crs("EPSG:32617").iloc[0].coords[0]  # fmt: skip
    grid = GeoBox((128, 128), Affine(30, 0, round(x - 1920), 0, -30, round(y + 1920)), "EPSG:32617")
    said: dict[str, Any] = {"values": {"mangrove": [1]}, "ground": grid, "edge_px": 1}
    alone, _ = opened(now, **said).places(grid, 0)
    both, dropped = opened(now, stable=(then,), **said).places(grid, 0)
    assert 0 < len(both) < len(alone)
    assert dropped["unstable"] > 0
    assert (both.fraction >= 0.75).all()


def test_real_points_and_polygons_label_the_pixels_below_them(shared_data: Path) -> None:
    points = shared_data / "timeseries/L8NY18/ny_samples_open.geojson"
    grid = GeoBox((80, 80), Affine(3000, 0, 540000, 0, -3000, 4660000), "EPSG:32618")
    source = opened(points, ground=grid, classes=("water", "urban", "vegetation"))
    places, _ = source.places(grid, 0)
    assert len(places) + source.n_outside([grid]) == 27
    polygons = shared_data / "labels/landcover_lt5_amazon/training_polygons.geojson"
    with rasterio.open(shared_data / "labels/landcover_lt5_amazon/LT52240631988227CUB02_B4.TIF") as scene:
        grid = GeoBox((scene.height, scene.width), scene.transform, "EPSG:32622")
    names = ("cleared", "forest", "water", "fallen_dry")
    found, _ = opened(polygons, ground=grid, classes=names).places(grid, 0)
    assert all(count > 50 for count in total(found)[1:])
