"""A published training set as training takes it: its table, and the cells that it was drawn from."""

from functools import partial
from pathlib import Path
from uuid import UUID

from odc.geo.crs import CRS

from datacube_config.connection import Index
from flows.steps.index.catalogue import published_cell, time_of
from flows.steps.learning.drawn_chips import DrawnChips
from flows.steps.learning.drawn_samples import DRAWN_COLUMNS, DrawnSamples
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.label_facts import LabelSource
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.learned_version import learned_version, require_version
from flows.steps.learning.training_input import Drawn
from flows.steps.sampling.sample_files import CHIPS, TABLE, read_table, table_columns
from flows.steps.sampling.sample_sets import SampleSet
from products.area import Area
from products.cell_content import cell_template, stack_names
from products.errors import RequestError
from products.grid import Tile
from products.learning.samples import OUTLIER
from products.scene_recipe import SceneRecipe


def samples_to_train_on(index: Index, found: SampleSet, recipe: SceneRecipe) -> tuple[FeatureCells, Drawn]:
    """The cells of a set, archived ones too, and its table or chips; RequestError unless it holds pixels or chips of a version of the features."""
    about, files = found.about, found.files
    if about["kind"] not in ("pixels", "chips") or about["features"] != recipe.name:
        raise RequestError(
            f"{files.name} holds {about['kind']} of {about['features']}: expected a training set of pixels or chips of {recipe.name}"
        )
    version = learned_version(index, about)
    require_version(f"the training set {files.name} was drawn", version, recipe, "draw it again")
    if about["kind"] == "chips":
        return set_cells(index, found, recipe), drawn_chips(found, recipe)
    columns, n_rows = table_columns(files)
    if about["recipe"].get("clean", {}).get("outliers") and OUTLIER not in columns:
        raise RequestError(
            f"the training set {files.name} was drawn by a neocube that left it without its outliers, so that a hold-out of it flatters: draw it again"
        )
    file = LabelFile(files.url(TABLE), Path(files.path(TABLE)))
    source = LabelSource(file, about["content_digest"], about["crs"], bool(about["simulated"]))
    names = tuple(about["feature_names"])
    wanted = [*DRAWN_COLUMNS, *(each for each in (OUTLIER,) if each in columns), *names]
    return set_cells(index, found, recipe), DrawnSamples(source, n_rows, partial(read_table, files, wanted), names)


def drawn_chips(found: SampleSet, recipe: SceneRecipe) -> DrawnChips:
    """The chips of a set, opened."""
    about, files = found.about, found.files
    group = files.storage.open_group(files.path(CHIPS))
    classes = tuple(str(group.attrs["flag_meanings"]).split())
    source = LabelSource(
        LabelFile(files.url(CHIPS), Path(files.path(CHIPS))),
        about["content_digest"],
        about["crs"],
        bool(about["simulated"]),
        classes,
    )
    names = stack_names(cell_template(recipe))
    return DrawnChips(source, group, names, classes, recipe.grid.resolution_m)


def set_cells(index: Index, found: SampleSet, recipe: SceneRecipe) -> FeatureCells:
    """The cells that a set was drawn from; `n_stale` of them were replaced since. RequestError if the index has lost one."""
    rows = [index.dc.index.datasets.get(UUID(cell)) for cell in found.about["cells"]]
    lost = [cell for cell, row in zip(found.about["cells"], rows, strict=True) if row is None]
    if lost:
        raise RequestError(
            f"{len(lost)} cells of the training set {found.files.name} are purged, the first {lost[0]}: draw it again"
        )
    cells = {(cell.tile, cell.period): cell for cell in map(published_cell, rows)}
    own = index.dc.index.datasets.get(found.files.id)
    area = Area(found.about["area"], own.extent.to_crs(CRS("EPSG:4326")))
    grid = recipe.grid.model_copy(update={"crs": found.about["crs"]}).pixel_grid(area.geometry)
    tiles = tuple(sorted(tile_of(label, grid.crs) for label in {tile for tile, _ in cells}))
    periods = tuple(sorted({time_of(cell) for cell in cells.values()}))
    return FeatureCells(recipe, area, grid, tiles, periods, cells, sum(row.is_archived for row in rows))


def tile_of(label: str, crs: str) -> Tile:
    """The tile that a label such as `32647_r-12_c3` names."""
    _, row, column = label.split("_")
    return Tile(crs, int(row.removeprefix("r")), int(column.removeprefix("c")))
