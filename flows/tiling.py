"""An area and a period cut into the tiles and periods of a recipe. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import shapely
from odc.geo.geom import Geometry

from products.area import Area
from products.errors import RequestError
from products.grid import PixelGrid, Tile, no_tile
from products.period import Period
from products.scene_recipe import SceneRecipe

MAX_CELLS = 1_000_000
FILLED = 0.5


@dataclass(frozen=True, slots=True)
class Cut:
    """Area and period cut into the tiles and cells of a recipe; `searched` and `ground` are what to ask the catalogue for."""

    recipe: SceneRecipe
    area: Area
    grid: PixelGrid
    tiles: tuple[Tile, ...]
    periods: tuple[Period, ...]

    @property
    def span(self) -> Period:
        """From the first start to the last end."""
        return Period(min(p.start for p in self.periods), max(p.end for p in self.periods))

    @property
    def searched(self) -> Period:
        """The time in which the scenes of its cells lie."""
        return self.recipe.searched(self.span)

    @property
    def ground(self) -> Geometry:
        """The rectangles of all tiles with the halo, in the CRS: tiles are at least the share FILLED of each, and sites far apart have their own."""
        pieces = self.grid.pieces(self.tiles, most_px=1, filled=FILLED)
        boxes = [self.grid.mosaic(tiles).pad(self.recipe.reach_px or 1).extent for tiles in pieces]
        return Geometry(shapely.union_all([box.geom for box in boxes]), boxes[0].crs)


def cut_cells(
    recipe: SceneRecipe, area: Area, asked: Period, now: datetime, settle: timedelta, provisional: bool
) -> Cut:
    """The tiles and periods of a request; RequestError for a period that is not over, unless `provisional`, or for too many cells."""
    periods = recipe.periods_in(asked)
    ends = [recipe.seen_in(period).end + settle for period in periods if not recipe.is_by_pass]
    if unsettled := [
        (end, period) for end, period in zip(ends, periods, strict=False) if end > now and not provisional
    ]:
        end, period = unsettled[0]
        after = "its end" if recipe.seen_in(period) == period else "the end of its margin"
        raise RequestError(
            f"the period {period.label} settles on {end.date()} ({settle.days} days after {after}): "
            "wait, ask for an earlier one, or build it with --provisional"
        )
    grid = recipe.grid.pixel_grid(area.geometry)
    tiles = grid.tiles(area.geometry)
    if not tiles:
        raise no_tile(area.name, grid.crs)
    if len(tiles) * len(periods) > MAX_CELLS:
        raise RequestError(
            f"{len(tiles)} tiles x {len(periods)} periods are more than {MAX_CELLS} cells: ask for less, or larger tiles"
        )
    return Cut(recipe, area, grid, tiles, periods)
