"""A known coast in a store and an index, as training sets are drawn from it: annual features of two tiles, and passes over one of them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geom import box

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.index.index_setup import add_product, init_index
from flows.steps.learning.label_files import LabelFile
from flows.steps.sampling.drawing import DrawnSet, draw_samples
from flows.steps.sampling.label_sources import LabelFiles
from flows.steps.sampling.sampled_cells import SampledCells, sampled_cells
from flows.steps.storage import Storage, open_storage
from products.area import Area
from products.grid import PixelGrid, Tile
from products.identity import CellKey, SourceKey, cell_id
from products.learning.samples_recipe import SamplesRecipe
from products.observations_spec import ObservationsRecipe
from products.passes import Pass
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES, Cause
from products.spec import FeaturesRecipe
from products.template import features_template, observations_template, odc_product_definition

TILE_PX = 64
GRID_SAID = {"crs": "EPSG:32647", "resolution_m": 30, "tile_px": TILE_PX, "anchor": "landsat"}
SHARED = {"version": 1, "grid": GRID_SAID, "sources": [{"collection": "landsat-c2-l2"}]}
FEATURES_SAID: dict[str, Any] = {
    **SHARED,
    "name": "coast_features",
    "kind": "features",
    "period": "P1Y",
    "features": [{"geomedian": {"bands": ["red", "nir"]}}, {"index": {"names": ["NDVI"], "reduce": ["p50"]}}],
}


def coast_features(tile_px: int) -> FeaturesRecipe:
    """The recipe of the features, on tiles of a size."""
    return FeaturesRecipe.model_validate(FEATURES_SAID | {"grid": GRID_SAID | {"tile_px": tile_px}})


FEATURES = coast_features(TILE_PX)
OBSERVATIONS = ObservationsRecipe.model_validate(
    {**SHARED, "name": "coast_passes", "kind": "observations", "bands": ["red", "nir"]}
)
CLASSES = ("mangrove", "water", "other")
SAMPLES: dict[str, Any] = {
    "name": "coast_samples",
    "version": 1,
    "kind": "samples",
    "features": "coast_features",
    "classes": list(CLASSES),
    "labels": {"edge_px": 0},
    "design": {"stratified": {"per_class": 100}},
}
TILES = tuple(Tile("EPSG:32647", -276, column) for column in (359, 360))
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
GRID = FEATURES.grid.pixel_grid(box(100.8, 4.9, 100.9, 5.0, "EPSG:4326"))
MOSAIC = GRID.mosaic(TILES)
AREA = Area("coast", MOSAIC.pad(-3).extent.to_crs("EPSG:4326"))
DAYS = tuple(datetime(2020, 6, day, 3, 30, tzinfo=UTC) for day in (1, 9, 17))


@dataclass(frozen=True)
class Coast:
    """The store and the index; `truth` has the class codes and `values` the features, (y, x) and (feature, y, x)."""

    settings: Settings
    index: Index
    storage: Storage
    truth: NDArray[np.uint8]
    values: NDArray[np.float32]

    @property
    def cells(self) -> SampledCells:
        """The feature cells of 2020."""
        return sampled_cells(self.index, FEATURES, AREA, YEAR)

    @property
    def passes(self) -> SampledCells:
        """The passes of 2020 over the first tile."""
        return sampled_cells(self.index, OBSERVATIONS, AREA, YEAR)

    def draw(self, *labels: Path, cells: SampledCells | None = None, **changed: Any) -> DrawnSet:
        """Draw the set of the recipe, changed, under some label files."""
        design: dict[str, Any] = {"design": {}} if "chips" in changed else {}
        recipe = SamplesRecipe.model_validate(SAMPLES | design | changed)
        files = [LabelFiles(spec, of(path)) for spec, path in zip(recipe.labels, labels, strict=True)]
        return draw_samples(self.index, self.storage, recipe, cells or self.cells, files, 2)

    def table(self, drawn: DrawnSet) -> geopandas.GeoDataFrame:
        """The table of a set as anyone opens it."""
        return geopandas.read_parquet(drawn.document()["path"])


def of(path: Path) -> LabelFile:
    """The label file at a path."""
    return LabelFile(str(path), path)


def truth() -> NDArray[np.uint8]:
    """Water in the west, other land in the east, mangrove between, with a wavy coast."""
    rows, columns = np.mgrid[0:TILE_PX, 0 : 2 * TILE_PX]
    return np.digitize(columns + 6 * np.sin(rows / 7), (45, 85)).choose([2, 1, 3]).astype(np.uint8)


def features_of(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(feature, y, x): each class has a level in each feature, with noise; one pixel lacks a feature."""
    levels = np.array([[0, 0, 0], [0.03, 0.3, 0.8], [0.05, 0.02, -0.4], [0.2, 0.25, 0.1]])
    values = levels[codes].transpose(2, 0, 1) + np.random.default_rng(2).normal(0, 0.04, (3, *codes.shape))
    values[1, 10, 10] = np.nan
    return values.astype(np.float32)


def label_squares(path: Path, codes: NDArray[np.uint8], side: int = 3, step: int = 7, crs: str = "EPSG:32647") -> Path:
    """Squares of pixels of one class on a lattice."""
    names, shapes = [], []
    for row in range(2, codes.shape[0] - side, step):
        for column in range(2, codes.shape[1] - side, step):
            inside = codes[row : row + side, column : column + side]
            if (inside == inside[0, 0]).all():
                names.append(CLASSES[inside[0, 0] - 1])
                shapes.append(square(row, column, side))
    table = geopandas.GeoDataFrame({"class": names}, geometry=shapes, crs="EPSG:32647").to_crs(crs)
    document = json.loads(table.to_json()) | {"simulated": True}
    if crs != "EPSG:4326":
        document["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{crs[5:]}"}}
    path.write_text(json.dumps(document))
    return path


def square(row: float, column: float, side: float) -> shapely.Polygon:
    """A square of pixels of the mosaic."""
    left, top = MOSAIC.affine * (column, row)
    return shapely.box(left, top - 30 * side, left + 30 * side, top)


@contextmanager
def known_coast(settings: Settings, folder: Path) -> Iterator[Coast]:
    """The coast, published."""
    init_index(settings, folder)
    codes = truth()
    with open_index(settings) as index:
        storage, values = open_storage(settings), features_of(codes)
        publish_features(index, storage, values)
        publish_passes(index, storage, values)
        yield Coast(settings, index, storage, codes, values)


def publish_features(
    index: Index, storage: Storage, values: NDArray[np.float32], tiles: Sequence[Tile] = TILES,
    recipe: FeaturesRecipe = FEATURES, grid: PixelGrid = GRID, period: Period = YEAR,
) -> None:  # fmt: skip
    """The cells of the features."""
    template = features_template(recipe)
    add_product(index.dc, odc_product_definition(template))
    for number, tile in enumerate(tiles):
        key = CellKey(recipe.name, recipe.version, tile, period)
        window = values[None, :, :, number * TILE_PX : (number + 1) * TILE_PX]
        accounts = np.zeros((1, len(ACCOUNT_NAMES), TILE_PX, TILE_PX), np.uint16)
        number_of = cell_id(key, [SourceKey("scene", "1")], recipe.digest())
        draft = CellDraft(number_of, key, template, grid, recipe.digest(), {})
        publish_cell(index, storage, draft, {"features": window, "accounts": accounts})


def publish_passes(index: Index, storage: Storage, values: NDArray[np.float32]) -> None:
    """Three passes over the first tile: red and nir grow from pass to pass, and the second is under cloud in its upper half."""
    template = observations_template(OBSERVATIONS)
    add_product(index.dc, odc_product_definition(template))
    for number, day in enumerate(DAYS):
        one = Pass(day, day + timedelta(seconds=1), f"landsat-8/127/{day:%Y-%m-%d}", "landsat-8")
        key = CellKey(OBSERVATIONS.name, OBSERVATIONS.version, TILES[0], one)
        reflectance = (values[None, :2, :, :TILE_PX] + np.float32(number)).astype(np.float32)
        cause = np.zeros((1, TILE_PX, TILE_PX), np.uint8)
        if number == 1:
            cause[:, : TILE_PX // 2] = Cause.CLOUD
        number_of = cell_id(key, [SourceKey(one.pass_id, "1")], OBSERVATIONS.digest(), kernels=OBSERVATIONS.kernels)
        draft = CellDraft(number_of, key, template, GRID, OBSERVATIONS.digest(), {})
        publish_cell(index, storage, draft, {"reflectance": reflectance, "cause": cause})
