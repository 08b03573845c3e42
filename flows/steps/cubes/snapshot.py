"""A cube: a plain Zarr snapshot of one product over one area and CRS, assembled from cell shards by link or copy."""

import warnings
from dataclasses import replace
from uuid import uuid5

import zarr
from zarr.abc.buffer import Buffer
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from datacube_config.connection import Index
from datacube_config.errors import StorageLost
from flows.steps.cubes.cell_store import create_array, write_coordinates
from flows.steps.cubes.cells import files_lost
from flows.steps.cubes.cube_plan import CubePlan, attributes_of, content_of, missing_in
from flows.steps.cubes.cube_pointers import last_cube, point
from flows.steps.cubes.geozarr import geozarr_attributes, level_geobox
from flows.steps.index.advisory_locks import chooser_of, writer_of
from flows.steps.index.catalogue import PublishedCell, published_cell, published_cells, time_of
from flows.steps.storage import Storage, path_of
from products.identity import NAMESPACE
from products.passes import Pass, merged_passes
from products.period import Period
from products.template import StoredArray


def publish_cube(index: Index, storage: Storage, plan: CubePlan) -> str:
    """Assemble the snapshot of a plan and of the other periods that the cube has, switch the pointer to it, and return its path or s3:// URL."""
    key = plan.key
    with chooser_of(index, f"cube/{key.product}/{key.version}/{key.area}/{key.crs}"):
        whole = _grown(index, storage, plan)
        path = _assembled(index, storage, whole)
        point(index, key, storage.url(path), whole.cell_ids)
    return path


def snapshot_alone(index: Index, storage: Storage, plan: CubePlan) -> str:
    """The path or s3:// URL of the snapshot of a plan without the other periods of the cube: what was asked for, whatever joins the cube."""
    return _assembled(index, storage, plan)


def _grown(index: Index, storage: Storage, plan: CubePlan) -> CubePlan:
    """The plan with the periods of the last snapshot's cells that it does not ask for: the cells that are active there now, on all of the area that has one."""
    last = last_cube(index, plan.key)
    others = set(last.cell_ids) - set(plan.cell_ids) if last else set()
    ground, asked = {tile.label: tile for tile in plan.ground or plan.tiles}, {period.label for period in plan.periods}
    known = (published_cell(row) for row in index.dc.index.datasets.bulk_get(others)) if others else ()
    before = [cell for cell in known if cell.tile in ground and cell.period not in asked]
    active = published_cells(index, plan.template.product, plan.template.version, map(_when, before))
    kept = {place: cell for place, cell in active.items() if place[0] in ground}
    if last is None or not kept:
        return plan
    wanted = None
    if plan.wanted is not None:
        wanted = {
            *plan.wanted,
            *((cell.tile, cell.period) for cell in before),
            *_lacking(storage, last.snapshot_url),
        }
    tiles = tuple(sorted({*plan.tiles, *(ground[tile] for tile, _ in kept)}))
    periods = _in_order([*plan.periods, *map(_when, kept.values())])
    return replace(plan, tiles=tiles, periods=periods, cells={**plan.cells, **kept}, wanted=wanted)


def _when(cell: PublishedCell) -> Period:
    """The period or the pass of a cell."""
    time = time_of(cell)
    return time if time.label == cell.period else Pass(time.start, time.end, cell.period, cell.platform)


def _in_order(times: list[Period]) -> tuple[Period, ...]:
    passes = [time for time in times if isinstance(time, Pass)]
    return merged_passes(passes) if passes else tuple(sorted(set(times)))


def _lacking(storage: Storage, url: str) -> set[tuple[str, str]]:
    """The places, by tile and period, that a snapshot says it lacks; none where its files are gone."""
    try:
        return missing_in(storage.open_group(path_of(url)).attrs)
    except FileNotFoundError:
        return set()


def _assembled(index: Index, storage: Storage, plan: CubePlan) -> str:
    """The path of the snapshot, assembled if it is not there yet."""
    name = plan.template
    folder = f"{name.product}-v{name.version}"
    path = storage.path("cubes", folder, plan.area, plan.grid.crs.replace(":", "_").lower(), f"{plan.digest}.zarr")
    complete = path.removesuffix(".zarr") + ".complete"
    what = f"the cube of {name.product}"
    with writer_of(index, uuid5(NAMESPACE, path)), storage.reaching(path, what):
        if not storage.exists(complete):
            storage.remove(path)
            with storage.writing(path, what):
                assemble(storage, path, plan)
                storage.flush(path)
            storage.write_bytes(complete, plan.digest.encode())
    return path


def assemble(storage: Storage, path: str, plan: CubePlan) -> None:
    """Write the cube's metadata and link every cell's shards into it."""
    stored = plan.stored
    _write_metadata(storage, path, plan, stored)
    first_row, first_column = min(t.row for t in plan.tiles), min(t.column for t in plan.tiles)
    for tile in plan.tiles:
        for number, period in enumerate(plan.periods):
            cell = plan.cells.get((tile.label, period.label))
            if cell is not None:
                place = (number, tile.row - first_row, tile.column - first_column)
                _link(storage, cell, path, stored, place)


def _write_metadata(storage: Storage, path: str, plan: CubePlan, stored: list[StoredArray]) -> None:
    """The groups of a cube, itself and its overviews 1, 2, …, each with arrays still empty and all coordinates."""
    box, levels, said = plan.grid.mosaic(plan.tiles), plan.levels, attributes_of(plan)
    whole = said | content_of(plan) | geozarr_attributes(box, plan.template, levels)
    objects: dict[str, Buffer] = {}
    root = zarr.create_group(MemoryStore(objects), zarr_format=3, attributes=whole)
    for level in range(levels + 1):
        geobox = level_geobox(box, level)
        part = said | geozarr_attributes(geobox, plan.template)
        group = root.create_group(str(level), attributes=part) if level else root
        for each in (each for each in stored if each.level == level):
            shape = (len(plan.periods) * each.template.n_times, *each.shape[1:-2], *geobox.shape)
            create_array(group, each.template, shape, each.shape, each.tile_px)
        write_coordinates(group, plan.template, geobox, plan.periods)
    with warnings.catch_warnings():
        # xarray.open_zarr warns where consolidated metadata are missing, zarr where they are written
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store, zarr_format=3)
    storage.write_group(path, objects)


def _link(
    storage: Storage, cell: PublishedCell, cube: str, arrays: list[StoredArray], place: tuple[int, int, int]
) -> None:
    """Link the shards of a cell from where its row says that it lies, which may be a store of before; StorageLost if they are not there."""
    period, row, column = place
    source = cell.path
    if not storage.is_of_kind(source):
        raise StorageLost(
            f"the cell {cell.tile} {cell.period}, {cell.id}, lies at {source}, from where nothing goes into a cube in {storage.root}: "
            "set NEOCUBE_STORE_URL back, or retire the cell and build again"
        )
    shards = {}
    for stored in arrays:
        layers = ("0",) if stored.template.layer_dim else ()
        zeros = "/".join(("0", *layers, "0", "0"))
        there = "/".join((str(period), *layers, str(row), str(column)))
        shards[f"{source}/{stored.path}/c/{zeros}"] = f"{cube}/{stored.path}/c/{there}"
    try:
        storage.copy_all(shards)
    except FileNotFoundError as error:
        raise files_lost(cell) from error
