"""Tables of samples: files of every kind, rasters under labels, the command, and the recipes of the service on real labelled data."""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner

from flows.cli import main
from flows.steps.learning.model_files import read_model
from flows.steps.learning.rasters_under_labels import clear_series, reduced, under_labels, values_at
from flows.steps.learning.table_files import read_tables, tables_digest
from products.errors import RequestError
from products.learning.sample_table import sample_table
from products.learning.table_trial import tried
from products.registry import table_recipe

GROUND = Affine(30, 0, 500_000, 0, -30, 4_000_000)
HARSHA_BANDS = ("b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8a", "b9")
SEEN = pd.DataFrame({"x": [1.5, 2.5, 3.5], "kind": ["a", "b", "a"]})


def write_raster(path: Path, values: Any, nodata: float | None = None) -> Path:
    content = np.asarray(values)
    profile = {"driver": "GTiff", "width": content.shape[1], "height": content.shape[0], "count": 1}
    with rasterio.open(
        path, "w", **profile, dtype=content.dtype, crs="EPSG:32616", transform=GROUND, nodata=nodata
    ) as file:
        file.write(content, 1)
    return path


def write_labels(path: Path, shapes: list[Any], crs: str | None = "EPSG:32616") -> Path:
    frame = geopandas.GeoDataFrame({"class": [f"c{n}" for n in range(len(shapes))]}, geometry=shapes, crs="EPSG:32616")
    frame.to_crs(crs).to_file(path)
    return path


def written(folder: Path, suffix: str) -> Path:
    """The same rows as a file of a kind."""
    path = folder / f"seen{suffix}"
    if suffix == ".csv":
        SEEN.to_csv(path, index=False)
    elif suffix == ".parquet":
        SEEN.to_parquet(path)
    else:
        places = [shapely.Point(number, 1) for number in range(3)]
        geopandas.GeoDataFrame(SEEN, geometry=places, crs="EPSG:4326").to_file(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".gpkg", ".geojson"])
def test_a_table_is_the_same_in_every_kind_of_file(suffix: str, tmp_path: Path) -> None:
    frame = read_tables([str(written(tmp_path, suffix))])
    assert frame["x"].tolist() == SEEN["x"].tolist() and frame["kind"].tolist() == SEEN["kind"].tolist()
    assert frame["file"].tolist() == ["seen"] * 3


def test_a_text_of_numbers_has_its_columns_in_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    np.savetxt(path, [[1.0, 0.25], [0.0, 0.5]], header="Class blue", fmt="%.6f")
    assert read_tables([str(path)]).drop(columns="file").to_dict("list") == {"Class": [1.0, 0.0], "blue": [0.25, 0.5]}


def test_a_labelled_chip_is_a_row_a_pixel(tmp_path: Path) -> None:
    image = np.arange(24, dtype=np.float32).reshape(2, 2, 6)
    np.savez(tmp_path / "chip.npz", img=image, msk=np.array([[[0], [1]], [[3], [4]]], np.uint8))
    frame = read_tables([str(tmp_path / "chip.npz")])
    assert frame["label"].tolist() == [0, 1, 3, 4] and frame["swir2"].tolist() == [5.0, 11.0, 17.0, 23.0]
    np.savez(tmp_path / "few.npz", img=image[..., :4], msk=np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(RequestError, match=r"few.npz is no table: expected img \(y, x, blue green"):
        read_tables([str(tmp_path / "few.npz")])


def test_tables_that_cannot_be_read_together_are_refused(tmp_path: Path) -> None:
    one = str(written(tmp_path, ".csv"))
    for place, said in (
        (one, "two tables are called 'seen'"),
        (str(tmp_path / "no.csv"), "no table at"),
        ("a.tif", "a.tif is no table: expected"),
    ):
        with pytest.raises(RequestError, match=said):
            read_tables([one, place])
    other = tmp_path / "other.csv"
    SEEN.rename(columns={"x": "z"}).to_csv(other, index=False)
    with pytest.raises(RequestError, match="have other columns: x, z"):
        read_tables([one, str(other)])
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(RequestError, match=r"broken.parquet is no table: "):
        read_tables([str(tmp_path / "broken.parquet")])


def test_the_digest_of_tables_knows_contents_and_names_and_no_order(tmp_path: Path) -> None:
    one, two = str(written(tmp_path, ".csv")), str(written(tmp_path, ".parquet"))
    assert tables_digest([one, two]) == tables_digest([two, one]) != tables_digest([one])
    before = tables_digest([one])
    Path(one).write_text(Path(one).read_text() + "9,a\n")
    assert tables_digest([one]) != before


def test_tables_are_one_table_in_whatever_order_they_are_named(tmp_path: Path) -> None:
    places = []
    for name in ("west", "east", "middle"):
        SEEN.assign(x=SEEN["x"] + len(name)).to_csv(tmp_path / f"{name}.csv", index=False)
        places.append(str(tmp_path / f"{name}.csv"))
    pd.testing.assert_frame_equal(read_tables(places), read_tables(places[::-1]))
    assert read_tables(places)["file"].unique().tolist() == ["east", "middle", "west"]


def test_points_in_another_crs_take_the_pixel_that_they_lie_in(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "r.tif", np.arange(20, dtype=np.int16).reshape(4, 5), nodata=7)
    inside, hole, outside = (shapely.Point(*(GROUND @ place)) for place in ((3.4, 2.6), (2.5, 1.5), (-0.5, 1.0)))
    labels = write_labels(tmp_path / "p.geojson", [inside, hole, outside], "EPSG:4326")
    found = under_labels(labels, {"red": (raster, 1)})
    assert found["red"].tolist()[0] == 13.0 and np.isnan(found["red"].tolist()[1:]).all()
    assert found["class"].tolist() == ["c0", "c1", "c2"] and found["place"].tolist() == [0, 1, 2]


def test_polygons_take_all_pixels_whose_centres_they_hold(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "r.tif", np.arange(20, dtype=np.float32).reshape(4, 5))
    square = shapely.box(*(GROUND @ (1, 3)), *(GROUND @ (3, 1)))
    corner = shapely.box(*(GROUND @ (4, 1)), *(GROUND @ (5, 0)))
    found = under_labels(write_labels(tmp_path / "a.gpkg", [square, corner], "EPSG:4326"), {"red": (raster, 1)})
    assert sorted(found.loc[found.place == 0, "red"]) == [6.0, 7.0, 11.0, 12.0]
    assert found.loc[found.place == 1, "red"].tolist() == [4.0]


def test_labels_of_lines_are_refused(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "r.tif", np.zeros((2, 2), np.uint8))
    labels = write_labels(tmp_path / "l.gpkg", [shapely.LineString([(500_000, 4_000_000), (500_030, 4_000_000)])])
    with pytest.raises(RequestError, match="the labels hold LineString: expected points, or polygons"):
        under_labels(labels, {"red": (raster, 1)})


def test_a_series_leaves_out_clouds_fill_and_ground_without_a_scene(tmp_path: Path) -> None:
    scenes = []
    for number, (flags, value) in enumerate([([[16, 0], [1, 0]], 5), ([[0, 0], [0, 0]], 9)]):
        red = write_raster(tmp_path / f"red{number}.tif", np.full((2, 2), value, np.uint16))
        scenes.append({"red": red, "qa": write_raster(tmp_path / f"qa{number}.tif", np.array(flags, np.uint16))})
    places = [shapely.Point(*(GROUND @ place)) for place in ((0.5, 0.5), (1.5, 0.5), (0.5, 1.5), (9, 9))]
    points = write_labels(tmp_path / "p.gpkg", places)
    series = clear_series(points, scenes, "qa", 4)
    np.testing.assert_array_equal(series["red"], [[np.nan, 5, np.nan, np.nan], [9, 9, 9, np.nan]])
    table = reduced(points, series, (50,))
    assert table["red_p50"].tolist()[:3] == [9.0, 7.0, 9.0] and np.isnan(table["red_p50"][3])
    assert table["n_clear"].tolist() == [1, 2, 1, 0]


def test_training_on_tables_prints_metrics_and_card_and_does_it_once(neocube_home: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for name in ("north", "south"):
        x = random.normal(0, 1, 60)
        pd.DataFrame({"x": x, "kind": np.where(x > 0, "b", "a")}).to_csv(tmp_path / f"{name}.csv", index=False)
    recipe = tmp_path / "sides.recipe.yaml"
    recipe.write_text(
        "name: sides\nversion: 1\nkind: model\nestimator: linear\n"
        "table: {target: kind, features: [x], classes: {left: [a], right: [b]}}\n"
    )
    asked = ["train", str(recipe), "--table", str(tmp_path / "north.csv"), "--table", str(tmp_path / "south.csv")]
    answer = CliRunner().invoke(main, [*asked, "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["trained"] and document["metrics"]["by_group"]["north"]["balanced_accuracy"]["value"] > 0.9
    card = Path(document["card"])
    assert card.read_text().startswith("# sides, version 1") and "![trial](trial.png)" in card.read_text()
    assert document["pictures"] == [str(card.with_name("trial.png"))]
    assert card.with_name("trial.png").read_bytes().startswith(b"\x89PNG")
    model = read_model(Path(document["card"]).parent / "linear.npz")
    assert model.classify(np.array([[-1.0, 1.0]], np.float32))[0].tolist() == [1, 2]
    again = CliRunner().invoke(main, asked)
    assert f"model {document['model']} was there already" in again.stdout
    assert again.stdout.endswith(f"picture {card.with_name('trial.png')}\n")
    assert "north: balanced accuracy" in again.stdout and "note: Two groups are one pair" in again.stdout


def test_a_table_is_not_asked_for_an_area(neocube_home: Path, tmp_path: Path) -> None:
    table = str(written(tmp_path, ".csv"))
    asked = CliRunner().invoke(main, ["train", "cropland_tables", "--table", table, "--area", "demo"])
    assert asked.exit_code == 2 and "leave out --area, or --table" in asked.stderr
    bare = CliRunner().invoke(main, ["train", "cropland_tables"])
    assert bare.exit_code == 2 and "'cropland_tables' is learned from a table: give its files" in bare.stderr
    wrong = CliRunner().invoke(main, ["train", "cropland_tables", "--table", table])
    assert wrong.exit_code == 2 and "the table has no column 'Class'" in wrong.stderr


def metrics_of(name: str, frame: pd.DataFrame) -> dict[str, Any]:
    recipe = table_recipe(name)
    return tried(sample_table(frame, recipe), recipe)


def test_cropland_learned_in_one_region_says_little_of_the_other_and_random_folds_hide_it(shared_data: Path) -> None:
    """The figure that was hoped for, 0.75, is not reached: whoever reaches it changes this test."""
    folder = shared_data / "labels" / "cropland"
    frame = read_tables([str(folder / f"{name}_training_data.txt") for name in ("eastern", "western")])
    metrics = metrics_of("cropland_tables", frame)
    for region in ("eastern_training_data", "western_training_data"):
        found = metrics["by_group"][region]["balanced_accuracy"]
        assert 0.53 < found["interval_95"][0] < found["value"] < found["interval_95"][1] < 0.65
    assert metrics["random_folds"]["balanced_accuracy"] > 0.68


@pytest.mark.parametrize(("every", "least"), [(53, 0.58), pytest.param(1, 0.60, marks=pytest.mark.full)])
def test_clouds_are_told_from_one_sensor_to_the_other(shared_data: Path, every: int, least: float) -> None:
    """Kappa, of all pixels of two chips or some of them."""
    folder = shared_data / "labels" / "clouds"
    frame = read_tables([str(folder / "sentinel2.npz"), str(folder / "landsat5.npz")]).iloc[::every]
    metrics = metrics_of("cloud_pixels", frame)
    assert metrics["by_group"]["landsat5"]["kappa"]["value"] >= 0.70
    assert metrics["by_group"]["sentinel2"]["kappa"]["value"] >= least


def test_chlorophyll_is_told_better_than_by_ndci(shared_data: Path) -> None:
    folder = shared_data / "labels" / "chl_a"
    bands = {name: (folder / "S2_Harsha.tif", number) for number, name in enumerate(HARSHA_BANDS, start=1)}
    frame = under_labels(folder / "harsha_points_open.geojson", bands).assign(file="harsha")
    metrics = metrics_of("chlorophyll_matchups", frame)
    ours, ndci = (metrics[name]["median_symmetric_accuracy_percent"] for name in ("model", "baseline"))
    assert metrics["rows"] == 28 and ours < 22 < 24 < ndci
    assert 0.97 < metrics["model"]["bias_factor"] < 1.03
    assert 0.85 <= metrics["interval"]["covered"] <= 1
    assert metrics["share_better_than_baseline"] > 0.7


def test_land_cover_of_one_scene_is_told_in_areas_never_seen(shared_data: Path) -> None:
    folder = shared_data / "labels" / "landcover_lt5_amazon"
    bands = {f"b{number}": (folder / f"LT52240631988227CUB02_B{number}.TIF", 1) for number in range(1, 8)}
    frame = under_labels(folder / "training_polygons.geojson", bands)
    assert frame["place"].nunique() == 36
    metrics = metrics_of("landcover_scene", frame.iloc[::3])
    assert metrics["all"]["balanced_accuracy"]["interval_95"][0] > 0.98


def test_land_cover_is_told_from_a_year_of_scenes(shared_data: Path) -> None:
    folder = shared_data / "timeseries" / "L8NY18"
    names = ("B2", "B3", "B4", "B5", "B6", "B7", "BQA")
    scenes = [
        {name.lower(): next(each.glob(f"*_{name}.TIF")) for name in names}
        for each in sorted(folder.iterdir())
        if each.is_dir()
    ]
    points = folder / "ny_samples_open.geojson"
    frame = reduced(points, clear_series(points, scenes, "bqa", 4), (50, 90)).assign(file="new_york")
    metrics = metrics_of("landcover_series", frame)
    assert (metrics["rows"], metrics["rows_dropped"]) == (24, 3)
    assert metrics["all"]["overall"] >= 0.95


def test_values_outside_a_raster_are_missing(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "r.tif", np.ones((2, 2), np.uint8))
    x, y = np.array([500_001.0, 400_000.0]), np.array([3_999_999.0, 4_100_000.0])
    found = values_at(raster, 1, x, y, "EPSG:32616")
    assert found[0] == 1 and np.isnan(found[1])
