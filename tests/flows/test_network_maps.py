"""A network trained on published cells and mapped over them: without seams, idempotent, with lineage to the neighbours it looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.crs import CRS

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, cell_path, publish_cell
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.index.index_setup import add_product, init_index
from flows.steps.learning.cell_windows import features_with_margin, named_features, neighbour_ids
from flows.steps.learning.feature_cells import FeatureCells, feature_cells
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.mapping import MapResult, map_cells
from flows.steps.learning.models import Model, find_model
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.training import TrainedModel, learn_model
from flows.steps.networks.network import Network
from flows.steps.storage import Storage, open_storage, path_of
from products.area import Area
from products.devices import choose_backend
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from products.identity import CellKey, SourceKey, cell_id
from products.learning.recipe import EstimatorSpec, ModelRecipe, SelectionSpec
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.template import features_template, odc_product_definition
from tests.flows.sampled_coast import coast_features

REASON = "the packages of the extra deep are not installed"
pytest.importorskip("lightning", reason=REASON)
pytest.importorskip("segmentation_models_pytorch", reason=REASON)
TILE_PX = 48
FEATURES = coast_features(TILE_PX)
NETWORK: dict[str, Any] = {
    "depth": 3, "patch_px": 16, "overlap_px": 6, "batch": 4, "patches": 16, "epochs": 2, "patience": 5,
}  # fmt: skip
MODEL = ModelRecipe.model_validate(
    {
        "name": "coast_network",
        "version": 1,
        "kind": "model",
        "features": "coast_features",
        "samples": {"classes": ["mangrove", "water", "other"], "edge_px": 0, "max_per_class": 2000},
        "split": {"block_m": 720, "folds": 4, "buffer_m": 30},
        "estimator": {"unet": NETWORK},
        "map": {"name": "coast_network_map"},
    }
)
TILES = tuple(Tile("EPSG:32647", row, column) for row in (-369, -368) for column in (478, 479))
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
GRID = PixelGrid("EPSG:32647", 30.0, TILE_PX, 15.0)
MOSAIC = GRID.mosaic(TILES)
EVERYWHERE = Area("everywhere", MOSAIC.pad(-3).extent.to_crs(CRS("EPSG:4326")))
ONE_TILE = Area("one_tile", GRID.geobox(TILES[3]).pad(-3).extent.to_crs(CRS("EPSG:4326")))
CPU = choose_backend("cpu")


@dataclass(frozen=True)
class Coast:
    """A store and an index with four cells of known features; `features` (feature, y, x) are those of all."""

    index: Index
    storage: Storage
    features: NDArray[np.float32]
    labels: Path

    def cells(self, area: Area) -> FeatureCells:
        return feature_cells(self.index, FEATURES, area, YEAR)

    def train(self, labels: Path | None = None, **changed: Any) -> TrainedModel:
        recipe, path = MODEL.model_copy(update=changed), labels or self.labels
        return learn_model(
            self.index, self.storage, recipe, self.cells(EVERYWHERE), LabelFile(str(path), path), CPU, 1,
            TrainingResources(path.parent),
        )  # fmt: skip

    def map(self, area: Area) -> MapResult:
        return map_cells(self.index, self.storage, self.model, self.cells(area), 1)

    @property
    def model(self) -> Model:
        return self.called("coast_network")

    def called(self, name: str) -> Model:
        found = find_model(self.index, self.storage, name)
        assert isinstance(found, Model)
        return found


def truth() -> NDArray[np.uint8]:
    """Water, mangrove and other land from west to east, (y, x)."""
    rows, columns = np.mgrid[0 : 2 * TILE_PX, 0 : 2 * TILE_PX]
    return np.digitize(columns + 6 * np.sin(rows / 7), (33, 64)).choose([2, 1, 3]).astype(np.uint8)


def known_features() -> NDArray[np.float32]:
    levels = np.array([[0, 0, 0], [0.03, 0.3, 0.8], [0.05, 0.02, -0.4], [0.2, 0.25, 0.1]])
    found = levels[truth()].transpose(2, 0, 1) + np.random.default_rng(2).normal(0, 0.04, (3, *MOSAIC.shape))
    found[:, 60:63, 60:63] = found[:, :, 80:83] = np.nan
    found[1, 10, 10] = np.nan
    return found.astype(np.float32)


def publish(index: Index, storage: Storage, tile: Tile, values: NDArray[np.float32], source: str = "1") -> None:
    template = features_template(FEATURES)
    key = CellKey(FEATURES.name, FEATURES.version, tile, YEAR)
    accounts = np.zeros((1, len(ACCOUNT_NAMES), TILE_PX, TILE_PX), np.uint16)
    number = cell_id(key, [SourceKey("scene", source)], FEATURES.digest())
    draft = CellDraft(number, key, template, GRID, FEATURES.digest(), {})
    publish_cell(index, storage, draft, {"features": values[None], "accounts": accounts})


def window(tile: Tile) -> tuple[slice, slice]:
    row, column = (tile.row - TILES[0].row) * TILE_PX, (tile.column - TILES[0].column) * TILE_PX
    return slice(row, row + TILE_PX), slice(column, column + TILE_PX)


def write_labels(path: Path, codes: NDArray[np.uint8]) -> Path:
    shape = {"width": MOSAIC.width, "height": MOSAIC.height, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32647", transform=MOSAIC.affine, **shape) as file:
        file.write(codes, 1)
        file.update_tags(simulated="yes")
    return path


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    folder = tmp_path_factory.mktemp("coast")
    settings = Settings(home=folder / "home")
    init_index(settings, folder)
    with open_index(settings) as index:
        storage, features = open_storage(settings), known_features()
        add_product(index.dc, odc_product_definition(features_template(FEATURES)))
        for tile in TILES:
            publish(index, storage, tile, features[:, *window(tile)])
        yield Coast(index, storage, features, write_labels(folder / "labels.tif", truth()))


@pytest.fixture(scope="module")
def trained(coast: Coast) -> TrainedModel:
    return coast.train()


@pytest.fixture(scope="module")
def mapped(coast: Coast, trained: TrainedModel) -> MapResult:
    assert trained.trained
    return coast.map(EVERYWHERE)


def test_the_margin_of_a_cell_is_what_its_neighbours_hold(coast: Coast) -> None:
    names, cells = ("ndvi_p50", "red"), coast.cells(EVERYWHERE).cells
    padded = np.pad(coast.features, ((0, 0), (60, 60), (60, 60)), constant_values=np.nan)[[2, 0]]
    for tile in TILES:
        rows, columns = window(tile)
        found = features_with_margin(coast.storage, cells, tile, YEAR, TILE_PX, 60, names)
        expected = padded[:, rows.start : rows.stop + 120, columns.start : columns.stop + 120]
        np.testing.assert_array_equal(found, expected)
    assert len(neighbour_ids(cells, TILES[0], YEAR, TILE_PX, 60)) == 3
    assert neighbour_ids(cells, TILES[0], YEAR, TILE_PX, 0) == []


def test_a_feature_that_a_cell_lacks_is_named(coast: Coast) -> None:
    cell = coast.cells(EVERYWHERE).cells[TILES[0].label, YEAR.label]
    opened = open_snapshot(coast.storage.url(cell_path(coast.storage, cell.product, cell.id)))
    with pytest.raises(
        RequestError, match="the feature 'blue' is not in a cell of its product, which has red, nir, ndvi_p50"
    ):
        named_features(opened, ("red", "blue"))


def test_the_card_tells_hold_out_training_and_network(coast: Coast, trained: TrainedModel) -> None:
    metrics = trained.document()["metrics"]
    assert metrics["score"] == "regression score"
    assert metrics["holdout"]["overall"] > 0.6 and metrics["holdout"]["pixels"] > 100
    assert metrics["training"]["epochs"] == 2 and len(metrics["folds"]) == 1
    text = Path(path_of(trained.document()["card"])).read_text()
    assert "a U-Net with resnet18" in text and "| epoch | loss | validation |" in text
    folder = Path(coast.storage.path("models", "coast_network", str(trained.id)))
    assert {"network.safetensors", "card.json", "card.md"} <= {path.name for path in folder.iterdir()}
    assert {"gradcam.png", "feature_maps.png"} <= {path.name for path in folder.iterdir()}
    assert "![Grad-CAM](gradcam.png)" in text and [look["class"] for look in metrics["looks"]] == list(
        dict.fromkeys(look["class"] for look in metrics["looks"])
    )
    assert not (coast.labels.parent / str(trained.id)).exists()


def test_training_the_same_again_finds_the_model(coast: Coast, trained: TrainedModel) -> None:
    again = coast.train()
    assert (again.id, again.trained) == (trained.id, False)
    assert isinstance(coast.model.learned, Network) and coast.model.id == trained.id


def test_labels_on_pixels_without_any_feature_teach_a_network_nothing(coast: Coast, trained: TrainedModel) -> None:
    is_seen = np.isfinite(coast.features).any(axis=0)
    seen = write_labels(coast.labels.parent / "seen.tif", np.where(is_seen, truth(), 0).astype(np.uint8))
    assert coast.train(seen, name="network_of_the_seen").trained
    assert coast.called("network_of_the_seen").digest == coast.model.digest


def test_the_map_is_that_of_the_whole_area_at_once(coast: Coast, mapped: MapResult) -> None:
    network = coast.model.learned
    assert isinstance(network, Network) and not mapped.failed
    row, column = TILES[0].row * TILE_PX, TILES[0].column * TILE_PX
    shares = network.probabilities_of_window(coast.features, 0, row, column)
    is_there = np.isfinite(shares[0])
    cube = open_snapshot(mapped.cube).isel(period=0)
    np.testing.assert_array_equal(cube["map_class"].values, np.where(is_there, np.nan_to_num(shares).argmax(0) + 1, 0))
    np.testing.assert_array_equal(cube["probability"].values[:, is_there], np.rint(100 * shares[:, is_there]))
    assert (cube["probability"].values[:, ~is_there] == 255).all() and not is_there.all()
    assert (cube["map_class"].values == truth())[is_there].mean() > 0.6


def test_where_the_model_is_applicable_is_told_of_every_pixel_that_is_mapped(mapped: MapResult) -> None:
    cube = open_snapshot(mapped.cube).isel(period=0)
    codes, applicable, index = (cube[name].values for name in ("map_class", "applicable", "dissimilarity"))
    assert codes[10, 10] > 0 and np.isnan(index[10, 10]) and applicable[10, 10] == 0
    assert ((applicable == 255) == (codes == 0)).all()
    (said,) = mapped.files.applicability
    assert said["inside_share"] == pytest.approx((applicable[codes > 0] == 1).mean(), abs=0.02)


def test_a_map_cell_knows_the_neighbours_that_it_looked_at_and_is_the_same_over_a_smaller_area(
    coast: Coast, mapped: MapResult
) -> None:
    again = coast.map(ONE_TILE)
    assert not again.mapped and set(again.fresh) <= set(mapped.mapped) and len(again.fresh) == 1
    row = coast.index.dc.index.datasets.get(again.fresh[0], include_sources=True)
    cells = {cell.id for cell in coast.cells(EVERYWHERE).cells.values()}
    assert {source.id for source in row.sources.values()} == {*cells, mapped.model.id}


def test_a_neighbour_that_changes_makes_the_map_cells_that_looked_at_it_anew(coast: Coast, mapped: MapResult) -> None:
    publish(coast.index, coast.storage, TILES[0], coast.features[:, *window(TILES[0])] + 0.01, "2")
    changed = coast.map(ONE_TILE)
    assert len(changed.mapped) == 1 and not set(changed.mapped) & set(mapped.mapped)
    publish(coast.index, coast.storage, TILES[0], coast.features[:, *window(TILES[0])], "1")


def test_a_network_takes_no_selection_and_one_estimator_stands_alone() -> None:
    with pytest.raises(ValueError, match="selection chooses features of single pixels: leave it out"):
        ModelRecipe.model_validate(MODEL.model_dump() | {"selection": SelectionSpec(method="recursive", keep=1)})
    with pytest.raises(ValueError, match="estimator names random_forest and unet: expected exactly one kind"):
        EstimatorSpec.model_validate({"random_forest": {"trees": 5}, "unet": {}})
    with pytest.raises(RequestError, match="the recipe 'coast_network' has no network: expected estimator"):
        _ = MODEL.model_copy(update={"estimator": EstimatorSpec()}).network
