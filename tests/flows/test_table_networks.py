"""Networks that learn from tables: series of labelled points, and chips cut from labelled pictures; on known rows, and on the real ones of the service."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from click.testing import CliRunner

from flows.cli import main
from flows.steps.learning.model_files import read_model
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.rasters_under_labels import at_steps, clear_series
from flows.steps.learning.table_files import read_tables
from flows.steps.learning.table_networks import TableNetworks, validation_rows
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.sample_table import held_out, sample_table
from products.learning.table_recipe import TableRecipe
from products.learning.table_trial import Answers, scored, tried
from products.registry import parse_recipe, table_recipe
from tests.products.table_recipes import recipe_of

REASON = "the packages of the extra deep are not installed"
COURSES = """
name: courses
version: 1
kind: model
table: {target: kind, classes: {early: [a], late: [b]}, features: [ndvi], steps: 6, group: place}
estimator:
  tempcnn: {filters: 8, kernel: 3, dense: 8, dropout: 0, batch: 8, epochs: 6, patience: 6, learning_rate: 0.01}
"""
CHIPS = """
name: squares
version: 1
kind: model
table: {target: label, classes: {dark: [1], bright: [4]}, features: [blue, nir], chip_px: 8}
estimator:
  chips: {encoder: resnet18, depth: 3, batch: 8, epochs: 4, patience: 4, dropout: 0, learning_rate: 0.003}
"""


def metrics_of(recipe: TableRecipe, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    networks = TableNetworks(TrainingResources(folder), "trial", choose_backend("cpu"))
    return tried(sample_table(frame, recipe), recipe, 1, networks)


def rows_of_courses(n: int = 64) -> pd.DataFrame:
    """Two places; both kinds have the same values, one in the first half of the year and one in the second."""
    random, late = np.random.default_rng(2), np.arange(n) % 2
    courses = np.stack([np.roll([0.1, 0.8, 0.3, 0.1, 0.1, 0.1], 3 * each) for each in late]) + random.normal(
        0, 0.05, (n, 6)
    )
    frame = pd.DataFrame(courses, columns=[f"ndvi_{step}" for step in range(1, 7)])
    return frame.assign(kind=np.where(late, "b", "a"), place=np.where(np.arange(n) % 4 < 2, "north", "south"))


def test_the_courses_of_a_place_never_seen_are_told_by_the_command_and_the_network_is_kept(
    neocube_home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lightning", reason=REASON)
    rows_of_courses().to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "courses.recipe.yaml").write_text(COURSES)
    asked = ["train", str(tmp_path / "courses.recipe.yaml"), "--table", str(tmp_path / "rows.parquet"), "--json"]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["metrics"]["by_group"]["north"]["balanced_accuracy"]["value"] > 0.9
    assert "random_folds" not in document["metrics"]
    folder = Path(document["card"]).parent
    assert (
        "A fifth of the rows that were learned from, drawn by the seed, said when to stop"
        in (folder / "card.md").read_text()
    )
    network = read_model(folder / "network.safetensors")
    assert network.feature_names == tuple(f"ndvi_{step}" for step in range(1, 7))
    codes = network.classify(np.array([[0.1, 0.8, 0.3, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.8, 0.3]], np.float32).T)[
        0
    ]
    assert codes.tolist() == [1, 2]
    assert list((neocube_home / "training").glob("*")) == []
    assert not json.loads(CliRunner().invoke(main, asked).stdout)["trained"]


def pictures(folder: Path) -> list[str]:
    """Two labelled pictures whose halves are dark and bright; the second is brighter as a whole."""
    random, found = np.random.default_rng(4), []
    for number, name in enumerate(("one", "two")):
        is_bright = np.broadcast_to(np.arange(64) >= 32, (64, 64))
        image = (0.1 + 0.05 * number + 0.4 * is_bright)[..., None] + random.normal(0, 0.02, (64, 64, 6))
        np.savez(folder / f"{name}.npz", img=image.astype(np.float32), msk=np.where(is_bright, 4, 1)[..., None])
        found.append(str(folder / f"{name}.npz"))
    return found


def test_the_chips_of_a_picture_never_seen_are_told(tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason=REASON)
    metrics = metrics_of(recipe_of(CHIPS), read_tables(pictures(tmp_path)), tmp_path)
    assert metrics["rows"] == 128 and metrics["all"]["balanced_accuracy"]["value"] > 0.9


def test_a_network_is_a_file_of_weights_that_another_begins_with(tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason=REASON)
    recipe = recipe_of(CHIPS.replace("epochs: 4", "epochs: 1"))
    table = sample_table(read_tables(pictures(tmp_path)), recipe)
    networks = TableNetworks(TrainingResources(tmp_path / "training"), "trial", choose_backend("cpu"))
    first = networks(recipe, 1).fit(table.values, table.target.astype(np.int64)).learned
    assert first is not None
    path = tmp_path / "network.safetensors"
    path.write_bytes(first.to_bytes())
    held = CHIPS.replace("epochs: 4", f"epochs: 1, weights: {path}, freeze: 2")
    second = networks(recipe_of(held), 1).fit(table.values, table.target.astype(np.int64)).learned
    assert second is not None
    for name in ("encoder.conv1.weight", "encoder.layer1.0.conv1.weight"):
        np.testing.assert_array_equal(second.weights[name], first.weights[name])
    assert (second.weights["encoder.layer2.0.conv1.weight"] != first.weights["encoder.layer2.0.conv1.weight"]).any()


def test_chips_are_squares_of_their_picture_and_have_its_most_frequent_class(tmp_path: Path) -> None:
    frame = read_tables(pictures(tmp_path))
    frame.loc[(frame.row < 3) & (frame.column < 4), "label"] = 4
    frame.loc[(frame.file == "two") & (frame.row == 8) & (frame.column == 9), "nir"] = np.nan
    table = sample_table(frame, recipe_of(CHIPS))
    chips = table.values.reshape(2, 8, 8, 2, 8, 8)
    with np.load(tmp_path / "two.npz") as arrays:
        image = arrays["img"]
    np.testing.assert_array_equal(chips[1, 2, 5, 1], image[16:24, 40:48, 3].astype(np.float64))
    assert np.isnan(chips[1, 1, 1, :, 0, 1]).all() and np.isnan(chips).sum() == 2
    assert table.target.reshape(2, 8, 8)[0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert (table.group == np.repeat([0, 1], 64)).all() and table.group_names == ("one", "two") and table.n_dropped == 1
    with pytest.raises(RequestError, match="no square of 128 px fits into the pictures: lower chip_px"):
        sample_table(frame, recipe_of(CHIPS.replace("chip_px: 8", "chip_px: 128")))


def test_a_picture_smaller_than_a_chip_leaves_the_scores_of_others_under_their_names() -> None:
    parts = []
    for name, side_px in (("a", 16), ("b", 6), ("c", 24)):
        row, column = (axis.ravel() for axis in np.mgrid[:side_px, :side_px])
        pixels = {"file": name, "row": row, "column": column, "blue": 0.1, "nir": 0.2}
        parts.append(pd.DataFrame(pixels | {"label": np.where(column < 8, 1, 4)}))
    recipe = recipe_of(CHIPS)
    table = sample_table(pd.concat(parts, ignore_index=True), recipe)
    assert [int(test.sum()) for test in held_out(table, recipe)] == [4, 9]
    told = np.where(table.group == 0, 3 - table.target, table.target)
    by_group = scored(table, recipe, Answers(told, *np.empty((3, 0))))["by_group"]
    assert {name: each["balanced_accuracy"]["value"] for name, each in by_group.items()} == {"a": 0.0, "c": 1.0}
    assert table.group_names == ("a", "c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COURSES.replace(", steps: 6", ""), "tempcnn learns from series: say in table.steps how many columns each has"),
        (
            COURSES.replace("classes: {early: [a], late: [b]}, ", ""),
            "tempcnn tells classes: name them in table.classes",
        ),
        (CHIPS.replace(", chip_px: 8", ""), r"estimator: \{chips: …\} and table.chip_px, .* need each other"),
        (CHIPS.replace("epochs: 4", "head: shares"), "chips of a table have one date, and their most frequent class"),
        (
            COURSES.replace("  tempcnn", "  linear: {}\n  tempcnn"),
            "estimator names linear and tempcnn: expected exactly",
        ),
        (COURSES.replace("  tempcnn: {", "  tempcnm: {"), "unknown key 'tempcnm'; near ones: tempcnn"),
    ],
)
def test_a_network_that_does_not_fit_its_table_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parse_recipe(text, "mine.yaml")


def test_a_fifth_of_each_class_says_when_to_stop_and_never_all_of_it() -> None:
    target = np.repeat([1, 2], [20, 3])
    rows = validation_rows(target, 1)
    assert (rows[:20].sum(), rows[20:].sum()) == (4, 1)
    assert (validation_rows(target, 1) == rows).all() and (validation_rows(target, 2) != rows).any()
    with pytest.raises(RequestError, match="the class with code 2 has one row to learn from"):
        validation_rows(np.array([1, 1, 2]), 1)


def test_points_have_straight_lines_between_clear_scenes_and_their_values_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "points.geojson"
    table = geopandas.GeoDataFrame({"class": ["a", "b"]}, geometry=[shapely.Point(0, 0)] * 2, crs="EPSG:4326")
    table.to_file(path)
    days = [date(2018, 1, 11), date(2018, 1, 1), date(2018, 1, 21)]
    found = at_steps(path, {"red": np.array([[4.0, np.nan], [2.0, np.nan], [np.nan, np.nan]])}, days, 5)
    assert found.filter(like="red").to_numpy()[0].tolist() == [2, 3, 4, 4, 4]
    assert np.isnan(found.filter(like="red").to_numpy()[1]).all() and found["class"].tolist() == ["a", "b"]


def courses_of_new_york(folder: Path) -> pd.DataFrame:
    names = ("B2", "B3", "B4", "B5", "B6", "B7", "BQA")
    scenes = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    files = [{name.lower(): next(each.glob(f"*_{name}.TIF")) for name in names} for each in scenes]
    days = [datetime.strptime(each.name.split("_")[3], "%Y%m%d").date() for each in scenes]
    points = folder / "ny_samples_open.geojson"
    return at_steps(points, clear_series(points, files, "bqa", 4), days, 12).assign(file="new_york")


@pytest.mark.full
@pytest.mark.parametrize("each_row", [False, True])
def test_land_cover_is_told_from_the_course_of_a_year(each_row: bool, shared_data: Path, tmp_path: Path) -> None:
    """24 real points, each left out in turn, or a fourth of them at a time."""
    pytest.importorskip("lightning", reason=REASON)
    recipe, frame = table_recipe("landcover_courses"), courses_of_new_york(shared_data / "timeseries" / "L8NY18")
    if not each_row:
        spec = recipe.table.model_copy(update={"group": "fourth"})
        recipe = recipe.model_copy(update={"leave_out": "group", "table": spec})
        frame = frame.assign(fourth=np.arange(len(frame)) % 4)
    metrics = metrics_of(recipe, frame, tmp_path)
    assert (metrics["rows"], metrics["rows_dropped"]) == (24, 3)
    assert metrics["all"]["overall"] >= 0.75


@pytest.mark.full
def test_clouds_of_squares_are_told_on_a_sensor_never_seen_without_weights_of_elsewhere(
    shared_data: Path, tmp_path: Path
) -> None:
    """`cloud_chips` on the real chips but for the weights of ImageNet, which are not at hand: better than chance, and worse than single pixels."""
    pytest.importorskip("lightning", reason=REASON)
    shipped = table_recipe("cloud_chips")
    assert shipped.estimator.chips is not None
    alone = shipped.estimator.chips.model_copy(update={"weights": None, "freeze": 0, "thaw": None})
    recipe = shipped.model_copy(update={"estimator": shipped.estimator.model_copy(update={"chips": alone})})
    files = [str(shared_data / "labels" / "clouds" / f"{name}.npz") for name in ("sentinel2", "landsat5")]
    metrics = metrics_of(recipe, read_tables(files), tmp_path)
    kappa = {name: scores["kappa"]["value"] for name, scores in metrics["by_group"].items()}
    assert metrics["all"]["pixels"] == 512 and kappa.keys() == {"landsat5", "sentinel2"}
    assert kappa["landsat5"] > 0.3 and kappa["sentinel2"] > 0.15
