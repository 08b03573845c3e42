"""What a cell costs beside its pixels: planning one of 10 and of 10,000, and building small ones, from the index to the published cube.

`python tests/bench/cell_costs.py` prints the rows as JSON, in about a minute on an idle machine.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid5

from rounds import row_of, take_turns

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.planning import make_plan
from flows.steps.areas import find_area
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.simulation.archive import Simulation, write_archive
from flows.tiling import cut_cells
from products.area import Area
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE
from products.period import parse_period
from products.registry import DEFINITIONS, features_recipe
from products.scene import Scene

ROUNDS = 3
FEW, MANY = 10, 10_000
YEARS, SCENES_A_YEAR = 10, 50
GRID = PixelGrid("EPSG:32647", 30.0, 256, 15.0)
SIDE_PX, TILE_PX = 160, 16
MINUTE_SHARE_S = 0.03 * 60


def rows(root: Path) -> list[dict[str, Any]]:
    """The rows of the table."""
    return [_planning_row(), _building_row(root / "small")]


def _planning_row() -> dict[str, Any]:
    """Seconds of a cell: cutting, planning, and the plan's document, of ten years; the scenes are known."""
    ours, peer = f"a cell of {MANY}", f"a cell of {FEW}"
    ways = {ours: _planner(MANY), peer: _planner(FEW)}
    ways[peer]()
    seconds = take_turns(ways, ROUNDS)
    each = {ours: [value / MANY for value in seconds[ours]], peer: [value / FEW for value in seconds[peer]]}
    return row_of(f"planning a cell of {MANY} cells, {SCENES_A_YEAR} scenes each", _precise(each), ours, peer)


def _planner(n_cells: int) -> Callable[[], None]:
    recipe = features_recipe("mangrove_features")
    n_tiles = n_cells // YEARS
    wide = min(n_tiles, 25)
    tiles = tuple(Tile(GRID.crs, -70 + number // wide, 50 + number % wide) for number in range(n_tiles))
    area = Area("bench", GRID.mosaic(tiles).pad(-20).extent.to_crs("EPSG:4326"))
    ground = GRID.mosaic(tiles).pad(20).extent.to_crs("EPSG:4326")
    scenes = [
        Scene(
            uuid5(NAMESPACE, f"{year} {number}"), f"s{year}_{number}", "p", "landsat-c2-l2", "oli", "landsat-8",
            datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=7 * number), f"{year} {number}", "1", f"{year} {number}", ground, {},
        )
        for year in range(2014, 2014 + YEARS)
        for number in range(SCENES_A_YEAR)
    ]  # fmt: skip

    def run() -> None:
        now, settle = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=16)
        cut = cut_cells(recipe, area, parse_period(f"2014/{2013 + YEARS}"), now, settle, False)
        made = make_plan(cut, scenes, {}, "cpu", 2, (), 10**10)
        assert len(made.cells) == n_cells
        made.document(0.0, "GBP")

    return run


def _building_row(root: Path) -> dict[str, Any]:
    """Seconds of a cell of 16 pixels a side: what is left of its cost where it has next to no pixels."""
    strip, whole = small_archive(root)
    n_few, n_many = _build(root, strip), _build(root, whole)  # the first compiles
    ours, peer, limit = f"a cell of {n_many}", f"a cell of {n_few}", "3 % of a one-minute cell"
    seconds = take_turns({ours: partial(_build, root, whole), peer: partial(_build, root, strip)}, 2)
    each = {ours: [value / n_many for value in seconds[ours]], peer: [value / n_few for value in seconds[peer]]}
    each[limit] = [MINUTE_SHARE_S] * 2
    name = f"building a cell of {n_many} small cells ({TILE_PX} px), from the plan to the cube"
    return row_of(name, _precise(each), ours, peer, limit)


def small_archive(root: Path) -> tuple[str, str]:
    """A home with the scenes of a small archive; areas of few small cells and of more."""
    shutil.rmtree(root, ignore_errors=True)
    os.environ["NEOCUBE_HOME"] = str(root / "home")
    demo = find_area("demo")
    write_archive(root / "archive", Simulation(demo, parse_period("2020"), 3, SIDE_PX, "none", 2))
    settings = Settings(home=root / "home")
    init_index(settings, PRODUCT_DEFINITIONS)
    with open_index(settings) as index:
        ingest_archive(index, str(root / "archive"))
    west, south, east, north = demo.geometry.boundingbox.bbox
    strip = f"{west},{(south + north) / 2},{east},{(south + north) / 2 + 1e-4}"
    return strip, f"{west},{south},{east},{(2 * south + north) / 3}"


def new_small_recipe(root: Path) -> str:
    """`mangrove_features` on small tiles, under a version that was never built."""
    text = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text().replace("tile_px: 256", f"tile_px: {TILE_PX}")
    recipe = root / "small.recipe.yaml"
    recipe.write_text(text.replace("version: 1", f"version: {int(time.time() * 1000) % 2_000_000_000}"))
    return str(recipe)


def _build(root: Path, area: str) -> int:
    """The number of cells, built under a new version."""
    report = build(new_small_recipe(root), area, "2020")
    assert report["failed"] == [], report["failed"]
    return int(report["built"])


def _precise(each: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(value, 6) for value in values] for name, values in each.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute()), indent=2) + "\n")
