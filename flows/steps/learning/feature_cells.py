"""The published cells that something is learned from or mapped."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from datacube_config.connection import Index
from flows.steps.index.catalogue import PublishedCell, nothing_published, published_cells
from products.area import Area
from products.grid import PixelGrid, Tile
from products.learning.card_cells import unbuilt_notes
from products.period import Period
from products.scene_recipe import SceneRecipe


@dataclass(frozen=True, slots=True)
class FeatureCells:
    """The published feature cells of an area and period, in tile and period order; `n_stale` are not what a build would make now, `notes` say where none is."""

    recipe: SceneRecipe
    area: Area
    grid: PixelGrid
    tiles: tuple[Tile, ...]
    periods: tuple[Period, ...]
    cells: dict[tuple[str, str], PublishedCell]
    n_stale: int = 0
    notes: tuple[str, ...] = ()

    @property
    def placed(self) -> Iterator[tuple[Tile, Period, PublishedCell]]:
        """Each cell with its tile and period."""
        for tile in self.tiles:
            for period in self.periods:
                if (tile.label, period.label) in self.cells:
                    yield tile, period, self.cells[tile.label, period.label]

    @property
    def ids(self) -> list[UUID]:
        """The ids of the cells."""
        return [cell.id for cell in self.cells.values()]

    @property
    def period_label(self) -> str:
        """From the first period to the last."""
        labels = [period.label for period in self.periods]
        return labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"


def feature_cells(index: Index, recipe: SceneRecipe, area: Area, period: Period) -> FeatureCells:
    """The published cells of a recipe of features or series; RequestError if there are none."""
    grid = recipe.grid.pixel_grid(area.geometry)
    tiles, periods = grid.tiles(area.geometry), recipe.periods_in(period)
    wanted = {tile.label for tile in tiles}
    found = published_cells(index, recipe.name, recipe.version, periods)
    cells = {place: cell for place, cell in found.items() if place[0] in wanted}
    if not cells:
        raise nothing_published(recipe, area, period)
    notes = unbuilt_notes(recipe.name, [tile.label for tile in tiles], [period.label for period in periods], cells)
    return FeatureCells(recipe, area, grid, tiles, periods, cells, notes=notes)
