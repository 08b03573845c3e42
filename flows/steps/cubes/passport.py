"""The passport of a pixel: its cell, what every scene gave to it or why not, the counts, and what recipe, model and code made it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from affine import Affine
from datacube.model import Dataset, Range
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import point

from datacube_config.connection import Index
from flows.steps.cubes.cells import CODE, QUALITY, TIDES, files_lost
from flows.steps.cubes.open_cube import middle_of, open_snapshot
from flows.steps.index.catalogue import PublishedCell, published_cell, scene_of, time_of
from flows.steps.index.external_products import external_scene
from flows.steps.index.index_rows import source_ids
from flows.steps.loading.coregistration import measure_shifts
from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from flows.steps.storage import Storage, read_from
from products.antimeridian import turns
from products.errors import RequestError
from products.passes import search_span
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.scene import Scene
from products.scene_recipe import SceneRecipe

FindRecipe = Callable[[str], SceneRecipe | None]
NOT_GIVEN = "not_expected"  # no ground of the scene, or another scene of its pass gives the pixel


@dataclass(frozen=True, slots=True)
class CellPixel:
    """A pixel of a cell: its row in the index, and the geobox of the cell and of the pixel alone."""

    row: Dataset
    cell: PublishedCell
    tile: GeoBox
    pixel: GeoBox


def passport_of(
    index: Index, storage: Storage, product: str, find_recipe: FindRecipe, at: tuple[float, float], asked: Period,
    threads: int, access: RasterAccess,
) -> dict[str, Any]:  # fmt: skip
    """JSON-able: `cell`, `scenes`, `counts`, `quality`, `recipe`, `model`, `code`. RequestError where there is no cell, or several.

    The cell of exactly the time asked for, or else the one that `build` makes of it, or whose middle lies in it where the recipe is not known.
    A map has the scenes, counts and quality of the features that it was made of. `fate` of a scene is null where the recipe is not known any more.
    """
    place = _find_place(index, product, at, asked, find_recipe)
    of, sources = place, _sources(index, place)
    if not _is_features(place.row):
        of = next((found for row in sources if _is_features(row) and (found := _at(row, at))), place)
        sources = _sources(index, of)
    facts, made = place.cell.properties, of.cell
    recipe = find_recipe(made.product)
    is_same = recipe is not None and recipe.digest() == made.properties["neocube:digest"]
    return {
        "cell": {name: str(getattr(place.cell, name)) for name in ("id", "product", "tile", "period", "location")},
        "scenes": _scenes(index, sources, of, recipe if is_same else None, threads, access),
        "counts": _counts(storage, of),
        "quality": made.properties.get(QUALITY),
        "recipe": {"name": made.product, "version": made.version, "digest": made.properties["neocube:digest"]},
        "model": {"id": facts["neocube:model"], "digest": facts["neocube:model_digest"]} if "neocube:model" in facts else None,
        "code": facts.get(CODE),
    }  # fmt: skip


def _sources(index: Index, place: CellPixel) -> list[Dataset]:
    """The active and archived datasets that a cell was made of."""
    return list(index.dc.index.datasets.bulk_get(source_ids(index, place.cell.id)))


def _find_place(
    index: Index, product: str, at: tuple[float, float], asked: Period, find_recipe: FindRecipe
) -> CellPixel:
    longitude, latitude = at
    if index.dc.index.products.get_by_name(product) is None:
        raise RequestError(f"no product {product!r} in the index: expected one that was built, see `neocube build`")
    span = search_span([asked])
    when, latitudes = Range(span.start, span.end), Range(latitude - 1e-6, latitude + 1e-6)
    rows = {
        row.id: row  # one round a pole has both longitudes of the antimeridian
        for west, east in turns(longitude - 1e-6, longitude + 1e-6, widest=360)
        for row in index.dc.index.datasets.search(product=product, time=when, lat=latitudes, lon=Range(west, east))
    }
    there = [place for row in rows.values() if (place := _at(row, at)) is not None]
    exact = [place for place in there if place.cell.period == asked.label]
    recipe = find_recipe(product) if there and not exact else None
    found = exact or [place for place in there if _belongs_in(place, asked, recipe)]
    newest = [place for place in found if place.cell.version == max(each.cell.version for each in found)]
    if len(newest) != 1:
        periods = ", ".join(sorted(place.cell.period for place in newest))
        raise RequestError(
            f"expected one cell of {product} at {longitude},{latitude} in {asked.label}, "
            f"there are {len(newest)}{f' ({periods}): ask for one of them' if newest else ': build it, or ask for another place'}"
        )
    return newest[0]


def _at(row: Dataset, at: tuple[float, float]) -> CellPixel | None:
    """The pixel of a cell that holds a place in degrees."""
    grid = row.metadata_doc["grids"]["default"]
    tile = GeoBox(tuple(grid["shape"]), Affine(*grid["transform"][:6]), CRS(row.metadata_doc["crs"]))
    x, y = point(*at, "EPSG:4326").to_crs(tile.crs).coords[0]
    column, line = (math.floor(value) for value in ~tile.affine * (x, y))
    if not (0 <= line < tile.shape[0] and 0 <= column < tile.shape[1]):
        return None
    return CellPixel(row, published_cell(row), tile, tile[line : line + 1, column : column + 1])


def _belongs_in(place: CellPixel, asked: Period, recipe: SceneRecipe | None) -> bool:
    is_of = recipe is not None and recipe.version == place.cell.version
    return asked.contains(middle_of(time_of(place.cell), recipe if is_of else None))


def _is_features(row: Dataset) -> bool:
    facts = row.metadata_doc["properties"]
    return "neocube:tile" in facts and "neocube:model" not in facts


def _counts(storage: Storage, place: CellPixel) -> dict[str, int]:
    """Observations of the pixel by fate, as the cell stores them: a pass has one, or none."""
    x, y = (float(place.pixel.coordinates[axis].values[0]) for axis in ("x", "y"))
    try:
        with read_from(f"the cell {place.cell.path}", passing=(FileNotFoundError,)):
            cell = open_snapshot(place.cell.path, storage.options)
            layer = cell["accounts" if "accounts" in cell else "cause"].sel(x=x, y=y, method="nearest").load()
    except FileNotFoundError as error:
        raise files_lost(place.cell) from error
    if layer.name == "cause":
        cause = int(layer.item())
        given = () if cause == NOT_EXPECTED else ("expected", _fate(cause))
        return {name: int(name in given) for name in ACCOUNT_NAMES}
    counts = layer.isel(period=0).values
    return dict(zip(map(str, layer["cause"].values), map(int, counts), strict=True))


def _scenes(
    index: Index, sources: Sequence[Dataset], place: CellPixel, recipe: SceneRecipe | None, threads: int, access: RasterAccess
) -> list[dict[str, Any]]:  # fmt: skip
    """The scenes of a cell of features in written order, with what became of each at the pixel: read again, by the recipe."""
    failed = {
        (UUID(said["scene"]), said["band"]): AssetRead(UUID(said["scene"]), said["item_id"], said["band"], "failed", cause=said["cause"])
        for said in place.cell.properties.get("neocube:manifest", {}).get("failed", ())
    }  # fmt: skip
    unread = [index.dc.index.datasets.get(number) for number in {number for number, _ in failed}]
    readings = {source.collection: source.product for source in recipe.sources} if recipe else {}
    scenes = [
        external_scene(row, reading) if (reading := readings.get(row.product.name)) else scene_of(row)
        for row in (*sources, *unread)
        if row is not None
        and (row.metadata_doc["properties"].get("neocube:acquisition") or row.product.name in readings)
    ]
    fates: dict[UUID, str] = {}
    if recipe:
        period = Period(place.row.time.begin, place.row.time.end)
        shifts = measure_shifts(recipe, scenes, place.tile, period, threads, access).applied
        seen = load_observations(recipe, scenes, place.pixel, threads, access, failed, shifts).seen
        fates = {scene.id: _fate(int(cause)) for scene, cause in zip(seen.scenes, seen.causes[:, 0, 0], strict=True)}
    heights = (place.cell.properties.get(TIDES) or {}).get("heights_m", {})
    return [
        _said(scene, fates.get(scene.id), heights.get(scene.pass_id))
        for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.item_id))
    ]


def _fate(cause: int) -> str:
    return NOT_GIVEN if cause == NOT_EXPECTED else Cause(cause).name.lower()


def _said(scene: Scene, fate: str | None, tide_m: float | None) -> dict[str, Any]:
    return {
        "id": str(scene.id), "item_id": scene.item_id, "platform": scene.platform, "datetime": scene.acquired.isoformat(),
        "acquisition": scene.acquisition, "rendition": scene.rendition, "used": None if fate is None else fate == "used",
        "fate": fate, "tide_m": tide_m,
    }  # fmt: skip
