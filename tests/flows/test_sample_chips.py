"""Chips: pixels, masks and labels as cells and labels say, across tile edges, made again bit for bit."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import xarray

from flows.steps.learning.training_input import check_input
from flows.steps.sampling.drawing import DrawnSet
from flows.steps.sampling.sample_sets import find_samples
from flows.steps.sampling.training_samples import samples_to_train_on
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from tests.flows.sampled_coast import CLASSES, FEATURES, MOSAIC, TILE_PX, Coast, label_squares, square

SIZE = 16


@pytest.fixture(scope="module")
def labels(coast: Coast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_squares(tmp_path_factory.mktemp("labels") / "labels.geojson", coast.truth)


def opened(drawn: DrawnSet) -> xarray.Dataset:
    return xarray.open_zarr(drawn.document()["path"], consolidated=False).load()


def corners(chips: xarray.Dataset, size: int = SIZE) -> list[tuple[int, int]]:
    """Row and column of the first pixel of each chip in the mosaic."""
    columns, rows = ~MOSAIC.affine * (chips["centre_x"].values, chips["centre_y"].values)
    return [(int(np.floor(r)) - size // 2, int(np.floor(c)) - size // 2) for r, c in zip(rows, columns, strict=True)]


def test_chips_on_a_lattice_are_windows_of_the_features_and_of_the_labels(coast: Coast, labels: Path) -> None:
    drawn = coast.draw(labels, name="lattice_chips", chips={"size_px": SIZE})
    chips = opened(drawn)
    assert chips["data"].dims == ("sample", "feature", "y", "x")
    assert chips.sizes["sample"] == 2 * (TILE_PX // SIZE) ** 2 == drawn.set.about["chips"]
    assert list(chips["feature"].values) == list(FEATURES.feature_names)
    for number, (row, column) in enumerate(corners(chips)):
        window = (slice(row, row + SIZE), slice(column, column + SIZE))
        assert np.array_equal(chips["data"].values[number], coast.values[:, *window], equal_nan=True)
        label = chips["label"].values[number]
        assert (label[label > 0] == coast.truth[window][label > 0]).all()
    assert (~chips["mask"]).sum() == 1
    counted = {name: int((chips["label"] == code).sum()) for code, name in enumerate(CLASSES, start=1)}
    assert drawn.document()["rows"] == counted
    assert set(chips["cell"].values) == {str(each.cell.id) for each in coast.cells.cells}
    assert chips["label"].values.sum() > 0


def test_chips_around_labels_reach_over_tile_edges_and_are_empty_beyond_the_cells(coast: Coast, tmp_path: Path) -> None:
    places = [(30, TILE_PX - 2), (2, 100), (40, 90)]
    table = geopandas.GeoDataFrame(
        {"class": list(CLASSES)}, geometry=[square(r + 0.4, c + 0.4, 0.1).centroid for r, c in places], crs="EPSG:32647"
    )
    table.to_file(tmp_path / "points.gpkg")
    drawn = coast.draw(
        tmp_path / "points.gpkg", name="around_chips", chips={"size_px": SIZE, "around_labels": True, "min_labelled": 0}
    )
    chips = opened(drawn)
    assert set(corners(chips)) == {(r - SIZE // 2, c - SIZE // 2) for r, c in places}
    wide = np.pad(coast.values, ((0, 0), (SIZE, SIZE), (SIZE, SIZE)), constant_values=np.nan)
    for number, (row, column) in enumerate(corners(chips)):
        expected = wide[:, row + SIZE : row + 2 * SIZE, column + SIZE : column + 2 * SIZE]
        assert np.array_equal(chips["data"].values[number], expected, equal_nan=True)
        assert (chips["mask"].values[number] == np.isfinite(expected).all(axis=0)).all()
        assert chips["label"].values[number][SIZE // 2, SIZE // 2] > 0


def test_chips_of_passes_are_masked_where_they_are_not_clear(coast: Coast, labels: Path) -> None:
    said: dict[str, Any] = {"features": "coast_passes", "classes": ["mangrove", "water"]}
    source = {"edge_px": 0, "ignore": ["other"]}
    drawn = coast.draw(labels, cells=coast.passes, name="pass_chips", labels=source, chips={"size_px": 32}, **said)
    chips = opened(drawn)
    assert chips["data"].dims == ("sample", "band", "y", "x")
    cloudy = chips["period"].values == "landsat-8/127/2020-06-09"
    assert (chips.sizes["sample"], cloudy.sum()) == (10, 2)
    assert drawn.document()["dropped"]["without_features"] == 2
    assert np.datetime_as_string(chips["start"].values[cloudy], "m").tolist() == ["2020-06-09T03:30"] * 2
    for number, (row, column) in enumerate(corners(chips, 32)):
        day = sorted(set(chips["period"].values)).index(chips["period"].values[number])
        expected = coast.values[:2, row : row + 32, column : column + 32] + np.float32(day)
        assert np.array_equal(chips["data"].values[number], expected, equal_nan=True)


def test_chips_made_again_are_the_same_bytes(coast: Coast, labels: Path) -> None:
    drawn = coast.draw(labels, name="again_chips", chips={"size_px": 8, "stride_px": 4})
    folder = Path(drawn.document()["path"])
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert drawn.set.about["chips"] > 64
    (folder.parent / "samples.json").unlink()
    again = coast.draw(labels, name="again_chips", chips={"size_px": 8, "stride_px": 4})
    assert (again.drawn, again.set.about) == (True, drawn.set.about)
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_chips_with_few_labels_are_left_out_and_none_at_all_is_refused(coast: Coast, labels: Path) -> None:
    found = coast.draw(labels, name="few_chips", chips={"size_px": SIZE, "min_labelled": 0.2}).document()
    assert found["dropped"]["few_labels"] > 0
    with pytest.raises(RequestError, match="no chip of 16 x 16 pixels has labels and features"):
        coast.draw(labels, name="no_chips", chips={"size_px": SIZE, "min_labelled": 1})
    assert not Path(coast.storage.path("samples", "no_chips")).exists() or not list(
        Path(coast.storage.path("samples", "no_chips")).iterdir()
    )


def test_a_set_of_chips_trains_no_model_of_pixels(coast: Coast, labels: Path) -> None:
    coast.draw(labels, name="found_chips", chips={"size_px": SIZE})
    found = find_samples(coast.index, coast.storage, "found_chips")
    _, chips = samples_to_train_on(coast.index, found, FEATURES)
    model = {"version": 1, "kind": "model", "features": "coast_features", "map": {"name": "coast_map"}}
    recipe = ModelRecipe.model_validate({**model, "name": "coast_model", "samples": {"classes": list(CLASSES)}})
    with pytest.raises(RequestError, match=r"holds chips: expected estimator: \{chips: …\}, got random_forest, or a"):
        check_input(recipe, chips)
