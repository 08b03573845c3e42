"""Build what is missing or stale of a features recipe over an area and a period, and assemble the cube: without Prefect."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from datacube_config.connection import Index, open_index
from datacube_config.errors import StorageUnavailable
from datacube_config.logs import current_run
from datacube_config.settings import get_settings
from flows.batch_runners import Batch, FailedCell, Outcome, RunBatches, run_here, side_by_side
from flows.plan_cells import plan_with
from flows.planning import Plan, batches
from flows.run_logs import logged_run
from flows.steps.cubes.building import BuiltCell
from flows.steps.cubes.cells import retire_cell
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.snapshot import publish_cube, snapshot_alone
from flows.steps.index.catalogue import published_cells
from flows.steps.index.cell_product import declare_cells
from flows.steps.index.product_binding import bind_product
from flows.steps.storage import Storage, open_storage
from products.cell_content import cell_template
from products.devices import DeviceChoice
from products.errors import RequestError
from products.registry import scene_recipe

Progress = Callable[[int, int], None]  # cells done, of so many
NO_CUBES: dict[str, Any] = {"cube": None, "asked_cube": None}


@logged_run("build")
def build(
    recipe: str, area: str, period: str, device: DeviceChoice = "auto", workers: int = 1, provisional: bool = False,
    dask: str | None = None, max_stale: float | None = None, *, run_batches: RunBatches | None = None, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Build and publish; returns `built`, `restored` (of these), `fresh`, `failed`, `cube`, `device`, `seconds`, `bytes_read`. Safe to repeat and to kill.

    `cube` has all periods that the cube of the product over the area has, `asked_cube` those that are asked for here.
    `dask` is the address of a scheduler, or a cluster to start: a name in deployments/clusters or a YAML file like those. RequestError, and nothing is
    changed, where more than the share `max_stale` of the cells is stale.
    """
    started, settings, wanted = time.monotonic(), get_settings(), scene_recipe(recipe)
    storage = open_storage(settings)
    storage.check_writable()
    with open_index(settings) as index:
        made = plan_with(index, settings, wanted, area, period, device, provisional, workers, bool(dask))
        _refuse_stale(made, max_stale)
        declare_cells(index, cell_template(wanted))
        bind_product(index, wanted.name, wanted.version, wanted.digest())
        for orphan in made.orphans:
            retire_cell(index, orphan, "all its scenes are gone")
        runner = run_batches or side_by_side(workers, dask) or run_here
        outcomes: list[Outcome] = []
        to_build = made.to_build
        work = [Batch(wanted, made.grid, cells, made.device, current_run()) for cells in batches(to_build)]
        for done in runner(settings, work):
            outcomes += done
            if progress:
                progress(len(outcomes), len(to_build))
        try:
            cubes = _assemble(index, storage, made)
        except StorageUnavailable as error:
            cubes, outcomes = NO_CUBES, [*outcomes, FailedCell("the cube", str(error))]
    return _report(made, outcomes, time.monotonic() - started) | cubes


def _refuse_stale(made: Plan, most: float | None) -> None:
    """RequestError where more than this share of the cells is stale: an operator should look before upstream changes are followed."""
    n_stale = sum(cell.state == "stale" for cell in made.cells)
    if most is not None and n_stale > most * len(made.cells):
        raise RequestError(
            f"{n_stale} of {len(made.cells)} cells are stale, expected at most {most:.0%}: scenes were replaced, revised or retired; "
            "look at `neocube plan`, then build without --max-stale"
        )


def _assemble(index: Index, storage: Storage, made: Plan) -> dict[str, Any]:
    cells = published_cells(index, made.recipe.name, made.recipe.version, made.periods)
    tiles, ground = tuple(dict.fromkeys(cell.key.tile for cell in made.cells)), made.grid.tiles(made.area.geometry)
    labels = {tile.label for tile in tiles}
    inside = {place: cell for place, cell in cells.items() if place[0] in labels}
    if not inside:
        return NO_CUBES
    planned = frozenset((cell.key.tile.label, cell.key.period.label) for cell in made.cells)
    wanted = planned if made.recipe.is_by_pass else None
    plan = CubePlan(cell_template(made.recipe), made.area.name, made.grid, tiles, made.periods, inside, wanted, ground)
    return {"cube": publish_cube(index, storage, plan), "asked_cube": snapshot_alone(index, storage, plan)}


def _report(made: Plan, outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    done = [outcome for outcome in outcomes if isinstance(outcome, BuiltCell)]
    return {
        "built": sum(outcome.published for outcome in done),
        "restored": sum(outcome.restored for outcome in done),
        "fresh": len(made.cells) - len(made.to_build) + sum(not outcome.published for outcome in done),
        "failed": [{"cell": o.cell, "cause": o.cause} for o in outcomes if isinstance(o, FailedCell)],
        "retired": len(made.orphans),
        "device": made.device,
        "device_reason": made.device_reason,
        "seconds": round(seconds, 2),
        "bytes_read": sum(outcome.decoded_bytes for outcome in done),
        "cells": [{"cell": o.key.label, "id": str(o.id), "published": o.published, **o.accounts} for o in done],
        "unread": [{"cell": o.key.label, **failure} for o in done for failure in o.manifest["failed"]],
        "notes": [*made.notes, *(note for o in done for note in o.notes)],
    }
