"""A network of chips learned from a training set that was drawn, and mapped in squares: with a card, lineage, and the shares of each class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.index.index_setup import init_index
from flows.steps.learning.drawn_chips import DrawnChips
from flows.steps.learning.feature_cells import FeatureCells, feature_cells
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.mapping import map_cells
from flows.steps.learning.models import Model, find_model
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.training import TrainedModel, learn_model
from flows.steps.learning.training_input import check_input
from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.sampling.sample_sets import find_samples
from flows.steps.sampling.training_samples import samples_to_train_on
from flows.steps.storage import open_storage, path_of
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from tests.flows.sampled_coast import (
    AREA,
    CLASSES,
    FEATURES,
    MOSAIC,
    TILE_PX,
    TILES,
    YEAR,
    Coast,
    features_of,
    publish_features,
)

REASON = "the packages of the extra deep are not installed"
pytest.importorskip("lightning", reason=REASON)
pytest.importorskip("segmentation_models_pytorch", reason=REASON)
SIZE_PX = 8
CHIPS: dict[str, Any] = {
    "encoder": "resnet18", "depth": 3, "batch": 8, "epochs": 3, "head": "shares", "learning_rate": 0.003,
}  # fmt: skip
MODEL: dict[str, Any] = {
    "name": "coast_chips",
    "version": 1,
    "kind": "model",
    "features": "coast_features",
    "samples": {"classes": list(CLASSES), "product": "coast_chip_set"},
    "split": {"block_m": 1440, "folds": 3, "buffer_m": 30},
    "estimator": {"chips": CHIPS},
    "map": {"name": "coast_chips_map"},
}
CPU = choose_backend("cpu")


def stripes() -> NDArray[np.uint8]:
    """Three classes in stripes that wave, (y, x)."""
    rows, columns = np.mgrid[0:TILE_PX, 0 : 2 * TILE_PX]
    return ((columns + 3 * np.sin(rows / 7)) // 12 % 3 + 1).astype(np.uint8)


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    """Two cells of striped ground, and a set of chips of it."""
    folder = tmp_path_factory.mktemp("coast")
    settings, labels = Settings(home=folder / "home"), folder / "labels.tif"
    shape = {"width": MOSAIC.width, "height": MOSAIC.height, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(labels, "w", driver="GTiff", crs="EPSG:32647", transform=MOSAIC.affine, **shape) as file:
        file.write(stripes(), 1)
        file.update_tags(simulated="yes")
    init_index(settings, folder)
    with open_index(settings) as index:
        storage, values = open_storage(settings), features_of(stripes())
        publish_features(index, storage, values)
        found = Coast(settings, index, storage, stripes(), values)
        found.draw(labels, name="coast_chip_set", chips={"size_px": SIZE_PX, "stride_px": 4})
        yield found


@pytest.fixture(scope="module")
def chips(coast: Coast) -> tuple[FeatureCells, DrawnChips]:
    cells, drawn = samples_to_train_on(
        coast.index, find_samples(coast.index, coast.storage, "coast_chip_set"), FEATURES
    )
    assert isinstance(drawn, DrawnChips)
    return cells, drawn


@pytest.fixture(scope="module")
def trained(
    coast: Coast, chips: tuple[FeatureCells, DrawnChips], tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    resources = TrainingResources(tmp_path_factory.mktemp("training"))
    return learn_model(coast.index, coast.storage, ModelRecipe.model_validate(MODEL), *chips, CPU, 1, resources)


def test_the_rows_of_a_set_of_chips_are_their_centres_main_classes_and_means(
    coast: Coast, chips: tuple[FeatureCells, DrawnChips]
) -> None:
    drawn, recipe = chips[1], ModelRecipe.model_validate(MODEL)
    assert (drawn.size_px, drawn.side_m, drawn.feature_names) == (8, 240, FEATURES.feature_names)
    samples = drawn.samples(CPU, recipe)
    number = samples.column("chip").astype(int)
    read, shares = drawn.read(number[[5, 0, 5]]), drawn.shares(recipe)
    np.testing.assert_array_equal(read[0], read[2])
    np.testing.assert_allclose(np.nanmean(read[0], axis=(1, 2)), samples.features[5], rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert (samples.column("code") == shares[number].argmax(axis=1) + 1).all()
    columns, rows = ~MOSAIC.affine * (samples.column("x").astype(float), samples.column("y").astype(float))
    row, column = int(rows[5]) - SIZE_PX // 2, int(columns[5]) - SIZE_PX // 2
    window = coast.truth[row : row + SIZE_PX, column : column + SIZE_PX]
    np.testing.assert_allclose([(window == code).mean() for code in (1, 2, 3)], shares[number[5]], atol=1e-6)


def test_the_card_tells_how_near_the_shares_are_on_chips_that_share_no_ground_with_the_trained_ones(
    coast: Coast, trained: TrainedModel
) -> None:
    metrics = trained.document()["metrics"]
    assert set(metrics["shares"]) == set(CLASSES) and metrics["shares"]["water"]["rmse"] < 0.5
    assert metrics["training"]["epochs"] == 3 and metrics["holdout"]["overall"] > 0.4
    assert metrics["split"]["buffer_m"] == pytest.approx(240 * 2**0.5)
    text = Path(path_of(trained.document()["card"])).read_text()
    assert "a resnet18 (" in text and "the share of each class of chips of 8 px" in text
    assert "## Shares on chips never trained on" in text and "![Grad-CAM](gradcam.png)" in text
    assert metrics["looks"] and {each["class"] for each in metrics["looks"]} <= set(CLASSES)
    assert (Path(trained.document()["card"]).parent / "feature_maps.png").read_bytes().startswith(b"\x89PNG")


def test_a_set_whose_codes_mean_other_classes_gives_another_model(
    coast: Coast, chips: tuple[FeatureCells, DrawnChips], trained: TrainedModel, tmp_path: Path
) -> None:
    """The pixels of both sets are the same, bit for bit: what changes is the order of `classes`, by which a raster's codes go."""
    labels, swapped = coast.settings.home.parent / "labels.tif", ["water", "mangrove", "other"]
    coast.draw(labels, name="coast_swapped_set", classes=swapped, chips={"size_px": SIZE_PX, "stride_px": 4})
    cells, drawn = samples_to_train_on(
        coast.index, find_samples(coast.index, coast.storage, "coast_swapped_set"), FEATURES
    )
    assert isinstance(drawn, DrawnChips) and drawn.source.digest == chips[1].source.digest
    recipe = ModelRecipe.model_validate(MODEL)
    found = learn_model(coast.index, coast.storage, recipe, cells, drawn, CPU, 1, TrainingResources(tmp_path))
    assert found.trained and found.id != trained.id
    before, after = (each.card["metrics"]["trained_on"] for each in (trained, found))
    assert (before["mangrove"], before["water"]) == (after["water"], after["mangrove"])
    back = learn_model(coast.index, coast.storage, recipe, *chips, CPU, 1, TrainingResources(tmp_path))
    assert (back.trained, back.id) == (False, trained.id)


def test_the_map_has_what_each_square_is_given_and_knows_its_cells(coast: Coast, trained: TrainedModel) -> None:
    model = find_model(coast.index, coast.storage, "coast_chips")
    assert isinstance(model, Model) and isinstance(model.learned, ChipNetwork) and model.id == trained.id
    cells = feature_cells(coast.index, FEATURES, AREA, YEAR)
    mapped = map_cells(coast.index, coast.storage, model, cells, 1)
    assert not mapped.failed and len(mapped.mapped) == 2
    cube = open_snapshot(mapped.cube).isel(period=0)
    row, column = TILES[0].row * TILE_PX, TILES[0].column * TILE_PX
    shares = model.learned.probabilities_of_window(coast.values, 0, row, column)
    there = np.isfinite(shares[0])
    assert np.abs(cube["probability"].values[:, there] - 100 * shares[:, there]).max() <= 1
    first = cube["map_class"].values[16:24, 16:24]
    assert (first == first[0, 0]).all() and set(np.unique(cube["map_class"].values)) <= {0, 1, 2, 3}
    again = map_cells(coast.index, coast.storage, model, cells, 1)
    assert not again.mapped and set(again.fresh) == set(mapped.mapped)


def test_chips_and_their_estimator_need_each_other(chips: tuple[FeatureCells, DrawnChips]) -> None:
    recipe = ModelRecipe.model_validate(MODEL)
    with pytest.raises(
        RequestError, match="'coast_chips' learns from whole chips: expected samples: .* a training set"
    ):
        check_input(recipe, LabelFile("labels.tif", Path("labels.tif")))
    forest = ModelRecipe.model_validate(MODEL | {"estimator": {"random_forest": {}}})
    with pytest.raises(RequestError, match="holds chips: expected estimator: .* got random_forest"):
        check_input(forest, chips[1])
    snow = MODEL | {"samples": {"classes": ["water", "snow"], "product": "coast_chip_set"}}
    with pytest.raises(RequestError, match="has no class 'snow': it has mangrove, water, other"):
        chips[1].shares(ModelRecipe.model_validate(snow))
