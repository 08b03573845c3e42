"""Training sets drawn from published cells: their rows, their identity, made again bit for bit, and honest refusals."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from odc.geo.geom import box

from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.training import learn_model
from flows.steps.sampling.drawing import DrawnSet
from flows.steps.sampling.sample_files import DOCUMENT, TABLE, read_table
from flows.steps.sampling.sample_sets import find_samples
from flows.steps.sampling.sampled_cells import sampled_cells
from flows.steps.sampling.training_samples import samples_to_train_on
from products.area import Area
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.spec import FeaturesRecipe
from tests.flows.sampled_coast import (
    AREA,
    CLASSES,
    FEATURES,
    FEATURES_SAID,
    GRID,
    MOSAIC,
    TILES,
    YEAR,
    Coast,
    label_squares,
    publish_features,
    square,
)

OTHER: dict[str, Any] = {"name": "other_samples"}


@pytest.fixture(scope="module")
def labels(coast: Coast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_squares(tmp_path_factory.mktemp("labels") / "labels.geojson", coast.truth)


@pytest.fixture(scope="module")
def drawn(coast: Coast, labels: Path) -> DrawnSet:
    return coast.draw(labels)


def row_and_column(table: geopandas.GeoDataFrame) -> tuple[Any, Any]:
    columns, rows = ~MOSAIC.affine * (table["x"].to_numpy(), table["y"].to_numpy())
    return np.floor(rows).astype(int), np.floor(columns).astype(int)


def test_each_row_has_the_class_and_the_features_of_its_pixel(coast: Coast, drawn: DrawnSet) -> None:
    table = coast.table(drawn)
    row, column = row_and_column(table)
    assert (coast.truth[row, column] == table["code"]).all()
    assert (table["class"] == np.array(CLASSES)[table["code"] - 1]).all()
    names = list(FEATURES.feature_names)
    assert (table[names].to_numpy() == coast.values[:, row, column].T).all()
    assert set(table[names].dtypes.astype(str)) == {"float32"}
    assert (table["label_fraction"] == 1).all()


def test_a_row_knows_its_point_cell_period_and_labels(coast: Coast, drawn: DrawnSet) -> None:
    table = coast.table(drawn)
    assert table.crs == "EPSG:32647"
    assert (table.geometry.x == table["x"]).all() and (table.geometry.y == table["y"]).all()
    east = table["x"] > GRID.geobox(TILES[1]).extent.boundingbox.left
    ids = [str(each.cell.id) for each in coast.cells.cells]
    assert (table["cell"] == np.where(east, ids[1], ids[0])).all()
    assert set(table["period"]) == {"2020"}
    assert set(table["labels"]) == {"labels.geojson"}
    assert table["start"].astype(str).unique().tolist() == ["2020-01-01"]


def test_the_document_counts_rows_and_what_was_dropped(coast: Coast, drawn: DrawnSet) -> None:
    document = drawn.document()
    assert document["rows"] == {"mangrove": 100, "water": 100, "other": 100}
    assert document["dropped"]["not_drawn"] > 100
    assert (document["drawn"], document["simulated"], document["stale_cells"]) == (True, True, 0)
    assert json.dumps(document)


def test_a_set_made_again_is_the_same_bytes_and_is_not_written_again(
    coast: Coast, labels: Path, drawn: DrawnSet
) -> None:
    path = Path(drawn.document()["path"])
    content, before = path.read_bytes(), path.stat().st_mtime_ns
    again = coast.draw(labels)
    assert (again.drawn, again.set.files.id) == (False, drawn.set.files.id)
    assert path.stat().st_mtime_ns == before
    path.with_name(DOCUMENT).unlink()
    path.unlink()
    assert coast.draw(labels).drawn
    assert path.read_bytes() == content
    assert hashlib.sha256(content).hexdigest() == drawn.set.about["content_digest"]


def test_the_set_is_a_dataset_with_lineage_to_its_cells(coast: Coast, drawn: DrawnSet) -> None:
    row = coast.index.dc.index.datasets.get(drawn.set.files.id, include_sources=True)
    assert row.product.name == "coast_samples"
    assert {source.id for source in row.sources.values()} == set(coast.cells.ids)
    facts = row.metadata_doc["properties"]
    assert (facts["odc:product_family"], facts["neocube:area"]) == ("samples", AREA.name)
    assert facts["neocube:content_digest"] == drawn.set.about["content_digest"]


def test_other_labels_make_another_set_that_replaces_the_first_and_can_go_back(
    coast: Coast, labels: Path, drawn: DrawnSet, tmp_path: Path
) -> None:
    other = coast.draw(label_squares(tmp_path / "labels.geojson", coast.truth, step=9))
    assert other.set.files.id != drawn.set.files.id
    assert find_samples(coast.index, coast.storage, "coast_samples").files.id == other.set.files.id
    assert find_samples(coast.index, coast.storage, str(drawn.set.files.id)).about == drawn.set.about
    assert Path(drawn.document()["path"]).is_file()
    assert not coast.draw(labels).drawn
    assert find_samples(coast.index, coast.storage, "coast_samples").files.id == drawn.set.files.id


def test_sets_of_several_areas_stand_side_by_side_and_are_named_by_id(coast: Coast, labels: Path) -> None:
    cells = coast.cells
    said = {"name": "sites_samples", "classes": ["mangrove", "water"], "labels": {"edge_px": 0, "ignore": ["other"]}}
    whole = coast.draw(labels, **said)
    west = replace(cells, area=Area("west", AREA.geometry), cells=cells.cells[:1])
    part = coast.draw(labels, cells=west, **said)
    assert part.set.files.id != whole.set.files.id
    told = r"there are 2 training sets sites_samples: expected the id of one of them (?=.* of coast in 2020)(?=.* of west in 2020)"
    with pytest.raises(RequestError, match=told):
        find_samples(coast.index, coast.storage, "sites_samples")


def test_an_unknown_set_lists_the_known(coast: Coast, drawn: DrawnSet) -> None:
    for name in ("coast_sample", "coast_features", "61f9a897-7873-436a-9a46-a6d0fd2e019d"):
        with pytest.raises(
            RequestError, match=f"unknown samples '{name}': expected the name or the id .*coast_samples"
        ):
            find_samples(coast.index, coast.storage, name)


def test_a_set_whose_files_are_lost_is_drawn_again(coast: Coast, labels: Path) -> None:
    lost = coast.draw(labels, **OTHER)
    path = Path(lost.document()["path"])
    path.unlink()
    with pytest.raises(RequestError, match=r"the files of the training set .* are not in .*: draw it again"):
        find_samples(coast.index, coast.storage, str(lost.set.files.id))
    assert coast.draw(labels, **OTHER).drawn
    path.write_bytes(b"PAR1")
    with pytest.raises(RequestError, match=r"samples.parquet is not a readable table of samples"):
        read_table(lost.set.files, ["x"])
    assert (path.name, path.write_bytes(b"")) == (TABLE, 0)


def test_another_recipe_under_the_same_version_is_refused(coast: Coast, labels: Path, drawn: DrawnSet) -> None:
    with pytest.raises(RequestError, match="coast_samples version 1 was built from another recipe"):
        coast.draw(labels, seed=9)


def test_the_draw_does_not_depend_on_how_labels_are_cut(
    coast: Coast, labels: Path, drawn: DrawnSet, tmp_path: Path
) -> None:
    whole = geopandas.read_file(labels)
    halves = [tmp_path / "west.gpkg", tmp_path / "east.gpkg"]
    for number, path in enumerate(halves):
        whole.iloc[number::2].to_file(path)
    said = {"labels": [{"edge_px": 0}, {"edge_px": 0}], "name": "cut_samples"}
    one, two = coast.table(drawn), coast.table(coast.draw(*halves, **said))
    columns = ["x", "y", "code", *FEATURES.feature_names]
    assert (one[columns].to_numpy() == two[columns].to_numpy()).all()


def test_labels_that_contradict_are_left_out_and_counted_or_refused(coast: Coast, labels: Path, tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame({"class": ["mangrove"]}, geometry=[square(2, 2, 3)], crs="EPSG:32647")
    table.to_file(tmp_path / "more.gpkg")
    said: dict[str, Any] = {"labels": [{"edge_px": 0}, {"edge_px": 0}], "name": "contradicting_samples"}
    assert coast.draw(labels, tmp_path / "more.gpkg", **said).document()["dropped"]["contradicting"] == 18
    with pytest.raises(
        RequestError, match="18 labels contradict others at the same pixel of the tile 32647_r-276_c359"
    ):
        coast.draw(labels, tmp_path / "more.gpkg", **said | {"clean": {"contradicting": "error"}, "version": 2})


def test_labels_twice_count_once(coast: Coast, labels: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.geojson"
    again.write_bytes(labels.read_bytes())
    said: dict[str, Any] = {"labels": [{"edge_px": 0}, {"edge_px": 0}], "name": "twice_samples"}
    found = coast.draw(labels, again, **said).document()
    assert found["rows"] == {"mangrove": 100, "water": 100, "other": 100}
    assert found["dropped"]["duplicate"] == found["dropped"]["not_drawn"] + 300 + found["dropped"].get(
        "without_features", 0
    )


def test_reprojected_labels_are_noted_and_shapes_outside_counted(coast: Coast, tmp_path: Path) -> None:
    path = label_squares(tmp_path / "lonlat.geojson", coast.truth, crs="EPSG:4326")
    document = json.loads(path.read_text())
    far = shapely.box(10, 50, 10.1, 50.1).__geo_interface__
    document["features"].append({"type": "Feature", "properties": {"class": "water"}, "geometry": far})
    path.write_text(json.dumps(document))
    found = coast.draw(path, name="lonlat_samples", labels={"edge_px": 0, "min_label_fraction": 0.9}).document()
    assert found["notes"] == ["the labels lonlat.geojson were reprojected from EPSG:4326 to EPSG:32647"]
    assert found["dropped"]["outside"] == 1


def test_labels_elsewhere_and_of_one_class_are_refused_and_leave_nothing(coast: Coast, tmp_path: Path) -> None:
    far = geopandas.GeoDataFrame({"class": ["water"]}, geometry=[shapely.box(10, 50, 11, 51)], crs="EPSG:4326")
    far.to_file(tmp_path / "far.gpkg")
    with pytest.raises(RequestError, match=r"far.gpkg \(EPSG:4326\) share no ground with the area 'coast'"):
        coast.draw(tmp_path / "far.gpkg", name="far_samples")
    path = label_squares(tmp_path / "one.geojson", np.ones_like(coast.truth))
    with pytest.raises(RequestError, match=r"no labelled pixels of the class water, other \(there are mangrove: "):
        coast.draw(path, name="far_samples")
    assert not Path(coast.storage.path("samples", "far_samples")).exists()


def test_labels_of_another_epoch_need_rasters_to_compare_with(coast: Coast, labels: Path) -> None:
    with pytest.raises(
        RequestError, match=r"labels.geojson are of the epoch 2010, the cells of 2020: name label rasters"
    ):
        coast.draw(labels, name="epoch_samples", labels={"epoch": 2010})
    assert coast.draw(
        labels, name="epoch_samples", labels={"epoch": 2020, "dataset": "GMW", "dataset_version": 4}
    ).drawn


def test_a_cell_of_three_years_is_of_the_one_that_it_is_centred_on(coast: Coast, labels: Path) -> None:
    said = FEATURES_SAID | {"name": "wide_features", "period": {"length": "P3Y", "step": "P1Y"}}
    recipe = FeaturesRecipe.model_validate(said)
    (period,) = recipe.periods_in(YEAR)
    assert (period.start.year, period.end.year) == (2019, 2022)
    publish_features(coast.index, coast.storage, coast.values, recipe=recipe, period=period)
    cells = sampled_cells(coast.index, recipe, AREA, YEAR)
    wide: dict[str, Any] = {"cells": cells, "name": "wide_samples", "features": "wide_features"}
    with pytest.raises(RequestError, match=r"labels.geojson are of the epoch 2019, the cells of 2020: name label"):
        coast.draw(labels, labels={"epoch": 2019}, **wide)
    assert coast.draw(labels, labels={"epoch": 2020}, **wide).document()["notes"] == []


def test_a_lattice_draws_its_pixels_only(coast: Coast, tmp_path: Path) -> None:
    path = label_squares(tmp_path / "all.geojson", coast.truth, side=5, step=5)
    table = coast.table(coast.draw(path, name="lattice_samples", design={"systematic": {"step_px": 4}}))
    row, column = row_and_column(table)
    assert len(np.unique(row % 4)) == len(np.unique(column % 4)) == 1
    assert len(table) > 50


MODEL: dict[str, Any] = {
    "name": "coast_model",
    "version": 1,
    "kind": "model",
    "features": "coast_features",
    "samples": {"classes": ["water", "mangrove", "other"], "product": "trained_samples"},
    "split": {"block_m": 300, "folds": 4, "buffer_m": 30},
    "estimator": {"random_forest": {"trees": 15, "max_depth": 8}},
    "map": {"name": "coast_map"},
}


def test_a_model_learns_from_the_set_and_descends_from_its_cells(coast: Coast, labels: Path, tmp_path: Path) -> None:
    drawn, recipe = coast.draw(labels, name="trained_samples"), ModelRecipe.model_validate(MODEL)
    found = find_samples(coast.index, coast.storage, "trained_samples")
    cells, samples = samples_to_train_on(coast.index, found, FEATURES)
    resources = TrainingResources(tmp_path / "training")
    model = learn_model(coast.index, coast.storage, recipe, cells, samples, choose_backend("cpu"), 1, resources)
    assert model.card["metrics"]["holdout"]["overall"] > 0.9
    row = coast.index.dc.index.datasets.get(model.id, include_sources=True)
    assert {source.id for source in row.sources.values()} == set(coast.cells.ids)
    again = learn_model(coast.index, coast.storage, recipe, cells, samples, choose_backend("cpu"), 1, resources)
    assert (again.id, again.trained, drawn.set.about["rows"]["water"]) == (model.id, False, 100)


def test_a_set_of_other_features_or_without_a_class_is_refused(coast: Coast, labels: Path) -> None:
    found = coast.draw(labels, name="refused_samples").set
    with pytest.raises(
        RequestError, match="refused_samples holds pixels of coast_features: expected a training set of"
    ):
        samples_to_train_on(coast.index, found, FEATURES.model_copy(update={"name": "inland_features"}))
    _, samples = samples_to_train_on(coast.index, found, FEATURES)
    recipe = ModelRecipe.model_validate(MODEL | {"samples": {"classes": ["water", "snow"], "product": "x"}})
    with pytest.raises(RequestError, match=r"has no class 'snow': it has mangrove, other, water"):
        samples.samples(choose_backend("cpu"), recipe)


def test_a_model_recipe_names_a_training_set_or_labels() -> None:
    with pytest.raises(ValueError, match="`product` is a training set drawn already: leave `labels`"):
        ModelRecipe.model_validate(MODEL | {"samples": MODEL["samples"] | {"labels": "x.gpkg"}})


CLEAN = {"outliers": {"method": "isolation_forest", "drop": 0.1}}


def test_outliers_are_counted_and_stay_in_the_table_for_tests(coast: Coast, labels: Path) -> None:
    drawn = coast.draw(labels, name="clean_samples", clean=CLEAN)
    found, table = drawn.document(), coast.table(drawn)
    assert sum(found["rows"].values()) + found["dropped"]["outlier"] == 300 == len(table)
    assert 20 <= found["dropped"]["outlier"] <= 35
    assert table["is_outlier"].dtype == bool and table["is_outlier"].sum() == found["dropped"]["outlier"]
    assert any("outliers of their class are in the table, as is_outlier" in note for note in found["notes"])
    plain = coast.draw(labels, name="plain_samples")
    assert "is_outlier" not in coast.table(plain)
    assert set(zip(table["x"], table["y"], strict=True)) == {
        (x, y) for x, y in coast.table(plain)[["x", "y"]].to_numpy()
    }


def test_a_model_learns_from_no_outlier_and_is_tested_on_them(coast: Coast, labels: Path, tmp_path: Path) -> None:
    drawn = coast.draw(labels, name="tested_samples", clean=CLEAN)
    table = coast.table(drawn)
    recipe = ModelRecipe.model_validate(MODEL | {"name": "tested_model", "map": {"name": "tested_map"}})
    cells, samples = samples_to_train_on(coast.index, drawn.set, FEATURES)
    resources = TrainingResources(tmp_path / "training")
    model = learn_model(coast.index, coast.storage, recipe, cells, samples, choose_backend("cpu"), 1, resources)
    blocks, metrics = geopandas.read_parquet(Path(model.card_path).with_name("split.parquet")), model.card["metrics"]
    corners = blocks.bounds[["minx", "miny"]].to_numpy() // 300
    is_holdout = dict(zip(map(tuple, corners), blocks["is_holdout"], strict=True))
    at = table.assign(is_holdout=[is_holdout[x // 300, y // 300] for x, y in table[["x", "y"]].to_numpy()])
    assert metrics["holdout"]["pixels"] == at["is_holdout"].sum()
    assert at["is_outlier"][at["is_holdout"]].any()
    assert (
        sum(metrics["trained_on"].values())
        == blocks["trained_on"].sum()
        <= (~at["is_holdout"] & ~at["is_outlier"]).sum()
    )
    text = f"{table['is_outlier'].sum()} of the drawn pixels are outliers of their class: the model has learned from none of them"
    assert any(note.startswith(text) for note in model.card["notes"])


def test_a_set_that_lacks_the_outliers_of_its_tests_is_drawn_again(coast: Coast, labels: Path) -> None:
    found = coast.draw(labels, name="old_samples").set
    about = {**found.about, "recipe": {**found.about["recipe"], "clean": CLEAN}}
    with pytest.raises(RequestError, match=r"old_samples .* without its outliers, .* flatters: draw it again"):
        samples_to_train_on(coast.index, replace(found, about=about), FEATURES)


def test_a_set_near_the_edge_of_a_zone_keeps_the_zone_it_was_drawn_in(coast: Coast, tmp_path: Path) -> None:
    recipe = FEATURES.model_copy(
        update={"name": "edge_features", "grid": FEATURES.grid.model_copy(update={"crs": "utm"})}
    )
    area = Area("edge", box(101.9945, 6.0, 101.9965, 6.002, "EPSG:4326"))
    grid = recipe.grid.pixel_grid(area.geometry)
    tiles = grid.tiles(area.geometry)
    geobox = grid.mosaic(tiles)
    assert (grid.crs, recipe.grid.pixel_grid(geobox.extent.to_crs("EPSG:4326")).crs) == ("EPSG:32647", "EPSG:32648")
    publish_features(coast.index, coast.storage, coast.values, tiles, recipe, grid)
    cells = sampled_cells(coast.index, recipe, area, YEAR)
    left, top = geobox.affine * (0, 0)
    squares = [shapely.box(left + 300 * n, top - 300, left + 300 * n + 240, top - 60) for n in (1, 2, 3)]
    table = geopandas.GeoDataFrame({"class": CLASSES}, geometry=squares, crs=grid.crs)
    table.to_file(tmp_path / "labels.gpkg")
    drawn = coast.draw(tmp_path / "labels.gpkg", cells=cells, name="edge_samples", features=recipe.name)
    inputs, _ = samples_to_train_on(coast.index, drawn.set, recipe)
    assert inputs.grid == grid
    assert inputs.tiles == tiles
