"""Cells, a model and maps that depend on each other, and the cubes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid5

import numpy as np

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.areas import find_area
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.snapshot import publish_cube
from flows.steps.index.catalogue import published_cells
from flows.steps.index.index_setup import add_product
from flows.steps.index.scene_index import list_scenes
from flows.steps.storage import Storage, open_storage
from products.grid import PixelGrid
from products.identity import NAMESPACE, CellKey
from products.period import parse_period
from products.template import ArrayTemplate, CellTemplate, odc_product_definition

GRID = PixelGrid("EPSG:32647", 30.0, 64, 15.0)
YEAR = parse_period("2020")
ARRAYS = (ArrayTemplate("features", "feature", ("red",), "float32", float("nan")),)


class Chain:
    """Scenes -> cells of `known` over two tiles -> a model -> maps of both, a cube of each product."""

    def __init__(self, index: Index, storage: Storage) -> None:
        self.index, self.storage = index, storage
        self.scenes = [UUID(row["id"]) for row in list_scenes(index) if row["status"] == "active"]
        self.tile = next(iter(GRID.tiles(find_area("demo").geometry)))
        self.far = type(self.tile)(self.tile.crs, self.tile.row + 200, self.tile.column)
        self.cells = [
            self.publish("known", tile, {"scene": scenes})
            for tile, scenes in ((self.tile, self.scenes[:2]), (self.far, self.scenes[2:3]))
        ]
        self.model = self.publish("known_model", self.tile, {"features": self.cells[:1]}, "model")
        self.maps = [
            self.publish("known_map", tile, {"features": [cell], "model": [self.model]}, "map")
            for tile, cell in zip((self.tile, self.far), self.cells, strict=True)
        ]
        self.cubes = [self.cube("known"), self.cube("known_map")]

    def publish(self, product: str, tile: Any, lineage: dict[str, list[UUID]], family: str | None = None) -> UUID:
        """Publish a cell of a product at a tile, its sources by role; its id."""
        template = CellTemplate(product, 1, product, ARRAYS)
        add_product(self.index.dc, odc_product_definition(template))
        key = CellKey(product, 1, tile, YEAR)
        properties = {"odc:product_family": family} if family else {}
        number = uuid5(NAMESPACE, key.label)
        draft = CellDraft(number, key, template, GRID, "digest", lineage, properties)
        publish_cell(self.index, self.storage, draft, {"features": np.ones((1, 1, 64, 64), "float32")})
        return number

    def cube(self, product: str) -> str:
        """Publish the cube of a product's cells; its URL."""
        cells = published_cells(self.index, product, 1, [YEAR])
        template = CellTemplate(product, 1, product, ARRAYS)
        return publish_cube(self.index, self.storage, CubePlan(template, "demo", GRID, (self.tile,), (YEAR,), cells))

    def active(self) -> set[UUID]:
        """Which of the scenes, cells, the model and the maps are not archived."""
        every = [*self.scenes, *self.cells, self.model, *self.maps]
        return {each.id for each in self.index.dc.index.datasets.bulk_get(every) if not each.is_archived}


@contextmanager
def chain(settings: Settings) -> Iterator[Chain]:
    """The chain in a home that has scenes, its index open."""
    with open_index(settings) as index:
        yield Chain(index, open_storage(settings))
