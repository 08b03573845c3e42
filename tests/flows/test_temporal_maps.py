"""A network over time trained on published series and mapped over them, cell by cell; single-pixel estimators learn from series as well."""

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
from flows.steps.learning.cell_windows import feature_stack, named_features
from flows.steps.learning.feature_cells import FeatureCells, feature_cells
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.mapping import map_cells
from flows.steps.learning.models import Model, find_model
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.temporal_training import temporal_id
from flows.steps.learning.training import TrainedModel, learn_model
from flows.steps.networks.temporal_network import TemporalNetwork
from flows.steps.storage import Storage, open_storage, path_of
from products.area import Area
from products.devices import choose_backend
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE, CellKey, SourceKey, cell_id
from products.learning.recipe import EstimatorSpec, MapSpec, ModelRecipe
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import features_recipe
from products.series_spec import SeriesRecipe
from products.template import odc_product_definition, series_template

REASON = "the packages of the extra deep are not installed"
pytest.importorskip("lightning", reason=REASON)
TILE_PX, N_STEPS = 48, 4
SERIES = SeriesRecipe.model_validate(
    {
        "name": "coast_series",
        "version": 1,
        "kind": "series",
        "grid": {"crs": "EPSG:32647", "resolution_m": 30, "tile_px": TILE_PX, "anchor": "landsat"},
        "period": "P1Y",
        "step": "P3M",
        "sources": [{"collection": "landsat-c2-l2"}],
        "bands": ["red"],
        "indices": ["NDVI"],
        "fill": "linear",
    }
)
SMALL: dict[str, Any] = {"filters": 8, "kernel": 3, "dense": 16, "batch": 64, "epochs": 4, "learning_rate": 0.01}
MODEL = ModelRecipe.model_validate(
    {
        "name": "coast_courses",
        "version": 1,
        "kind": "model",
        "features": "coast_series",
        "samples": {"classes": ["evergreen", "water", "deciduous"], "edge_px": 0, "max_per_class": 600},
        "split": {"block_m": 720, "folds": 4, "buffer_m": 30},
        "estimator": {"tempcnn": SMALL},
        "explain": {"pixels": 100, "repeats": 2},
        "map": {"name": "coast_courses_map"},
    }
)
TILES = (Tile("EPSG:32647", -369, 478), Tile("EPSG:32647", -369, 479))
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
GRID = PixelGrid("EPSG:32647", 30.0, TILE_PX, 15.0)
MOSAIC = GRID.mosaic(TILES)
EVERYWHERE = Area("everywhere", MOSAIC.pad(-3).extent.to_crs(CRS("EPSG:4326")))
CPU = choose_backend("cpu")
NDVI = np.array([[0, 0, 0, 0], [0.7, 0.7, 0.7, 0.7], [-0.3, -0.3, -0.3, -0.3], [0.2, 0.7, 0.7, 0.2]])


@dataclass(frozen=True)
class Coast:
    """A store and an index with two cells of known series; `series` (step, layer, y, x) are those of both."""

    index: Index
    storage: Storage
    series: NDArray[np.float32]
    labels: Path

    @property
    def cells(self) -> FeatureCells:
        return feature_cells(self.index, SERIES, EVERYWHERE, YEAR)

    def train(self, **changed: Any) -> TrainedModel:
        recipe, labels = MODEL.model_copy(update=changed), LabelFile(str(self.labels), self.labels)
        resources = TrainingResources(self.labels.parent)
        return learn_model(self.index, self.storage, recipe, self.cells, labels, CPU, 1, resources)

    def model(self, name: str = "coast_courses") -> Model:
        found = find_model(self.index, self.storage, name)
        assert isinstance(found, Model)
        return found


def truth() -> NDArray[np.uint8]:
    """Three classes in stripes that wave, (y, x)."""
    rows, columns = np.mgrid[0:TILE_PX, 0 : 2 * TILE_PX]
    return ((columns + 3 * np.sin(rows / 7)) // 8 % 3 + 1).astype(np.uint8)


def known_series() -> NDArray[np.float32]:
    """(step, layer, y, x): NDVI by class and step, red that tells nothing; some pixels have no series."""
    random = np.random.default_rng(2)
    ndvi = np.moveaxis(NDVI[truth()], 2, 0) + random.normal(0, 0.04, (N_STEPS, TILE_PX, 2 * TILE_PX))
    found = np.stack([random.normal(0.1, 0.02, ndvi.shape), ndvi], axis=1).astype(np.float32)
    found[:, :, 20:22, 60:63] = np.nan
    return found


def publish(index: Index, storage: Storage, tile: Tile, series: NDArray[np.float32]) -> None:
    key = CellKey(SERIES.name, SERIES.version, tile, YEAR)
    number = cell_id(key, [SourceKey("scene", "1")], SERIES.digest(), kernels=SERIES.kernels)
    draft = CellDraft(number, key, series_template(SERIES), GRID, SERIES.digest(), {})
    observed = np.ones((N_STEPS, TILE_PX, TILE_PX), np.uint16)
    accounts = np.zeros((1, len(ACCOUNT_NAMES), TILE_PX, TILE_PX), np.uint16)
    publish_cell(index, storage, draft, {"series": series, "observed": observed, "accounts": accounts})


def columns(tile: Tile) -> slice:
    first = (tile.column - TILES[0].column) * TILE_PX
    return slice(first, first + TILE_PX)


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    folder = tmp_path_factory.mktemp("coast")
    settings = Settings(home=folder / "home")
    init_index(settings, folder)
    labels = folder / "labels.tif"
    shape = {"width": MOSAIC.width, "height": MOSAIC.height, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(labels, "w", driver="GTiff", crs="EPSG:32647", transform=MOSAIC.affine, **shape) as file:
        file.write(truth(), 1)
        file.update_tags(simulated="yes")
    with open_index(settings) as index:
        storage, series = open_storage(settings), known_series()
        add_product(index.dc, odc_product_definition(series_template(SERIES)))
        for tile in TILES:
            publish(index, storage, tile, np.ascontiguousarray(series[..., columns(tile)]))
        yield Coast(index, storage, series, labels)


@pytest.fixture(scope="module")
def trained(coast: Coast) -> TrainedModel:
    return coast.train()


def test_the_layers_of_a_series_are_features_as_odc_names_them(coast: Coast) -> None:
    cell = coast.cells.cells[TILES[1].label, YEAR.label]
    opened = open_snapshot(coast.storage.url(cell_path(coast.storage, cell.product, cell.id)))
    stack, here = feature_stack(opened), coast.series[..., columns(TILES[1])]
    assert list(stack["feature"].values) == [
        name for name in series_template(SERIES).measurements if not name.startswith("observed")
    ]
    np.testing.assert_array_equal(stack.values, here.reshape(-1, TILE_PX, TILE_PX))
    np.testing.assert_array_equal(named_features(opened, ("ndvi_3", "red_1")), np.stack([here[2, 1], here[0, 0]]))


def test_the_card_tells_network_losses_and_the_steps_it_looks_at(coast: Coast, trained: TrainedModel) -> None:
    metrics = trained.document()["metrics"]
    assert metrics["holdout"]["overall"] > 0.9 and metrics["training"]["epochs"] == 4
    lost = metrics["permutation"]["lost"]
    assert set(lost) == {f"{layer}_{step}" for layer in ("red", "ndvi") for step in range(1, 5)}
    assert max(lost, key=lambda name: float(lost[name]["mean"])).startswith("ndvi")
    text = Path(path_of(trained.document()["card"])).read_text()
    assert "a TempCNN (" in text and "on series of 4 steps of 2 layers" in text and "| epoch | loss |" in text
    assert (Path(coast.storage.path("models", "coast_courses", str(trained.id))) / "network.safetensors").exists()
    assert not (coast.labels.parent / str(trained.id)).exists()
    assert "torch" in trained.card["trained_from"]["software"]


def test_training_the_same_again_finds_the_model(coast: Coast, trained: TrainedModel) -> None:
    again = coast.train()
    assert (again.id, again.trained) == (trained.id, False)
    assert isinstance(coast.model().learned, TemporalNetwork)


def test_the_map_is_what_the_network_says_of_each_pixel_and_looks_at_no_neighbour(
    coast: Coast, trained: TrainedModel
) -> None:
    model = coast.model()
    assert model.id == trained.id and isinstance(model.learned, TemporalNetwork)
    mapped = map_cells(coast.index, coast.storage, model, coast.cells, 2)
    codes, percent = model.learned.classify(coast.series.reshape(2 * N_STEPS, -1))
    cube = open_snapshot(mapped.cube).isel(period=0)
    np.testing.assert_array_equal(cube["map_class"].values.ravel(), codes)
    there = percent.reshape(3, TILE_PX, -1).astype(int)
    assert np.abs(cube["probability"].values.astype(int) - there).max() <= 1
    assert (cube["map_class"].values[20:22, 60:63] == 0).all() and (codes == truth().ravel()).mean() > 0.9
    row = coast.index.dc.index.datasets.get(mapped.mapped[0], include_sources=True)
    assert len(row.sources) == 2 and model.id in {source.id for source in row.sources.values()}
    again = map_cells(coast.index, coast.storage, model, coast.cells, 1)
    assert not again.mapped and set(again.fresh) == set(mapped.mapped)


def test_an_estimator_of_single_pixels_learns_from_series_too(coast: Coast) -> None:
    forest = EstimatorSpec.model_validate({"random_forest": {"trees": 10}})
    made = coast.train(name="coast_forest", estimator=forest, map=MapSpec(name="coast_forest_map"))
    assert made.document()["metrics"]["holdout"]["overall"] > 0.9
    assert len(coast.model("coast_forest").learned.feature_names) == 2 * N_STEPS


def test_features_without_time_are_refused_before_anything_is_read() -> None:
    with pytest.raises(RequestError, match="tempcnn learns from series: .* mangrove_features is of kind features"):
        temporal_id(NAMESPACE, MODEL, features_recipe("mangrove_features"))
