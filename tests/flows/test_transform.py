"""Fit principal components on published cells and apply them: a model product and a cube of components."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import box

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.cubes.open_cube import features_apart, open_snapshot
from flows.steps.index.index_setup import add_product, init_index
from flows.steps.learning.feature_cells import FeatureCells, feature_cells
from flows.steps.learning.mapping import MapResult, map_cells
from flows.steps.learning.models import Transform, find_model
from flows.steps.learning.training import TrainedModel
from flows.steps.learning.transforming import draw_pixels, learn_transform
from flows.steps.pictures.gallery import picture_of_kind
from flows.steps.storage import Storage, open_storage
from products.area import Area
from products.devices import choose_backend
from products.errors import RequestError
from products.grid import Tile
from products.identity import CellKey, SourceKey, cell_id
from products.learning.pca_recipe import PcaRecipe
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.template import features_template, odc_product_definition
from tests.flows.sampled_coast import coast_features

TILE_PX = 32
FEATURES = coast_features(TILE_PX)
PCA = PcaRecipe.model_validate(
    {
        "name": "coast_pca",
        "version": 1,
        "kind": "model",
        "title": "Coast",
        "features": "coast_features",
        "pca": {"components": 2, "max_pixels": 500},
        "map": {"name": "coast_components"},
    }
)
TILES = tuple(Tile("EPSG:32647", -552, column) for column in (718, 719))
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
GRID = FEATURES.grid.pixel_grid(box(100.8, 4.9, 100.9, 5.0, CRS("EPSG:4326")))
AREA = Area("coast", GRID.mosaic(TILES).pad(-3).extent.to_crs(CRS("EPSG:4326")))
CPU = choose_backend("cpu")


@dataclass(frozen=True)
class Coast:
    """A store and an index that hold known features (feature, y, x) of two tiles."""

    index: Index
    storage: Storage
    features: NDArray[np.float32]

    def cells(self, area: Area = AREA) -> FeatureCells:
        return feature_cells(self.index, FEATURES, area, YEAR)

    def train(self, **changed: Any) -> TrainedModel:
        return learn_transform(self.index, self.storage, PCA.model_copy(update=changed), self.cells(), CPU)

    def map(self, area: Area = AREA) -> MapResult:
        return map_cells(self.index, self.storage, self.transform, self.cells(area), 2)

    @property
    def transform(self) -> Transform:
        found = find_model(self.index, self.storage, "coast_pca")
        assert isinstance(found, Transform)
        return found


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    folder = tmp_path_factory.mktemp("coast")
    settings, random = Settings(home=folder / "home"), np.random.default_rng(3)
    init_index(settings, folder)
    hidden = random.normal(size=(TILE_PX, 2 * TILE_PX))
    values = np.stack([0.1 + 0.02 * hidden, 0.3 - 0.1 * hidden, 0.2 * hidden]) + random.normal(
        0, 0.01, (3, *hidden.shape)
    )
    values[2, 5, 7] = np.nan
    template = features_template(FEATURES)
    with open_index(settings) as index:
        storage = open_storage(settings)
        add_product(index.dc, odc_product_definition(template))
        for number, tile in enumerate(TILES):
            key = CellKey(FEATURES.name, FEATURES.version, tile, YEAR)
            identity = cell_id(key, [SourceKey("scene", "1")], FEATURES.digest())
            window = values[None, :, :, number * TILE_PX : (number + 1) * TILE_PX].astype(np.float32)
            accounts = np.zeros((1, len(ACCOUNT_NAMES), TILE_PX, TILE_PX), np.uint16)
            draft = CellDraft(identity, key, template, GRID, FEATURES.digest(), {})
            publish_cell(index, storage, draft, {"features": window, "accounts": accounts})
        yield Coast(index, storage, values.astype(np.float32))


@pytest.fixture(scope="module")
def trained(coast: Coast) -> TrainedModel:
    return coast.train()


@pytest.fixture(scope="module")
def mapped(coast: Coast, trained: TrainedModel) -> MapResult:
    return coast.map()


def test_a_transform_is_a_model_with_a_card_and_lineage_to_its_cells(coast: Coast, trained: TrainedModel) -> None:
    document = trained.document()
    assert json.dumps(document)
    assert document["metrics"]["score"] == "explained variance"
    assert document["metrics"]["pixels"] == 500
    assert document["metrics"]["explained_variance"]["component_1"] > 0.8
    assert Path(document["card"]).read_text().startswith("# Coast, version 1")
    row = coast.index.dc.index.datasets.get(trained.id, include_sources=True)
    assert {source.id for source in row.sources.values()} == {cell.id for cell in coast.cells().cells.values()}
    assert "neocube:simulated" not in row.metadata_doc["properties"]
    assert {path.name for path in Path(document["card"]).parent.iterdir()} == {
        "components.npz", "metrics.json", "card.json", "card.md",
    }  # fmt: skip


def test_fitting_the_same_again_does_nothing_and_another_recipe_is_refused(coast: Coast, trained: TrainedModel) -> None:
    assert (coast.train().id, coast.train().trained) == (trained.id, False)
    with pytest.raises(RequestError, match="coast_pca version 1 was built from another recipe"):
        coast.train(seed=1)
    newer = coast.train(seed=1, version=2)
    assert coast.transform.id == newer.id
    coast.index.dc.index.datasets.archive([newer.id])
    assert coast.transform.id == trained.id


def test_the_drawn_pixels_do_not_depend_on_the_order_of_cells(coast: Coast) -> None:
    forward = coast.cells()
    backward = FeatureCells(
        forward.recipe, forward.area, forward.grid, forward.tiles[::-1], forward.periods, forward.cells
    )
    one, other = (draw_pixels(CPU, coast.storage, cells, PCA).table for cells in (forward, backward))
    assert one.equals(other)
    assert len(one) == 500
    assert draw_pixels(CPU, coast.storage, forward, PCA).n_labelled == 2 * TILE_PX**2


def test_the_cube_has_the_components_of_every_pixel(coast: Coast, mapped: MapResult) -> None:
    document = mapped.document()
    assert json.dumps(document)
    assert (document["mapped"], document["cogs"], document["pixel_area"]) == (2, [], [])
    cube = features_apart(open_snapshot(mapped.cube))
    fitted = coast.transform.components
    values = coast.features.reshape(3, -1).astype(np.float64)
    expected = fitted.weights @ ((values - fitted.mean[:, None]) / fitted.scale[:, None])
    for layer, name in enumerate(("component_1", "component_2")):
        found = cube[name].values[0]
        assert found.dtype == np.float32
        assert np.isnan(found[5, 7]) and np.isnan(found).sum() == 1
        assert np.nanmax(np.abs(found.ravel() - expected[layer])) < 1e-5


def test_the_components_have_a_picture(coast: Coast, mapped: MapResult) -> None:
    picture, held = picture_of_kind(open_snapshot(mapped.cube))
    assert picture.startswith(b"\x89PNG")
    assert held == {"features": 2}


def test_a_cell_of_components_has_lineage_and_opens_with_dc_load(
    coast: Coast, trained: TrainedModel, mapped: MapResult
) -> None:
    by_tile = {tile.label: cell.id for tile, _, cell in coast.cells().placed}
    for number in mapped.mapped:
        row = coast.index.dc.index.datasets.get(number, include_sources=True)
        assert {source.id for source in row.sources.values()} == {
            by_tile[row.metadata_doc["properties"]["neocube:tile"]], trained.id,
        }  # fmt: skip
    loaded = coast.index.dc.load(product="coast_components", measurements=["component_1"], like=GRID.mosaic(TILES))
    stored = features_apart(open_snapshot(mapped.cube))["component_1"].values
    assert np.array_equal(loaded["component_1"].values, stored, equal_nan=True)


def test_a_crop_of_the_area_has_the_same_pixels(coast: Coast, mapped: MapResult) -> None:
    corner = Area("corner", GRID.geobox(TILES[0]).pad(-4).extent.to_crs(CRS("EPSG:4326")))
    crop = coast.map(corner)
    assert (len(crop.mapped), len(crop.fresh)) == (0, 1)
    whole = open_snapshot(mapped.cube)["features"].values[..., :TILE_PX]
    assert np.array_equal(open_snapshot(crop.cube)["features"].values, whole, equal_nan=True)


def test_components_that_were_changed_in_the_store_are_refused(coast: Coast, trained: TrainedModel) -> None:
    path = Path(coast.storage.path("models", "coast_pca", str(trained.id), "components.npz"))
    content = path.read_bytes()
    path.write_bytes(content[:100])
    with pytest.raises(RequestError, match=r"components.npz is not a readable model file"):
        find_model(coast.index, coast.storage, "coast_pca")
    path.write_bytes(content)
    assert coast.transform.id == trained.id


def test_a_transform_whose_file_is_cut_or_another_is_refused_and_fitted_again(
    coast: Coast, trained: TrainedModel
) -> None:
    path = Path(trained.card_path).with_name("components.npz")
    whole, components = path.read_bytes(), coast.transform.components
    for damaged in (whole[:-9], replace(components, mean=components.mean + 1).to_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(RequestError, match="train .*again"):
            assert coast.transform
        again = coast.train()
        assert (again.id, again.trained) == (trained.id, True)
        assert path.read_bytes() == whole and coast.transform.digest == components.digest()
