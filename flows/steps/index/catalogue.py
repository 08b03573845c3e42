"""What the index knows: the scenes to read and the cells that are published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import shapely
from datacube.model import Dataset, Range
from odc.geo.geom import Geometry

from datacube_config.connection import Index
from flows.steps.index.external_products import external_scene, require_external
from flows.steps.index.revised_scenes import REVISION
from flows.steps.index.scene_lookup import count_datasets, find_datasets
from flows.steps.loading.dataset_location import band_href, dataset_location
from flows.steps.loading.mirror_locations import with_mirrors
from flows.steps.scenes.normalise import GRANULE
from flows.steps.scenes.radiometry import saturated_dn
from flows.steps.scenes.view_angles import angles_of
from flows.steps.storage import path_of
from products.antimeridian import turned_shapes
from products.area import Area
from products.covered_ground import covered_ground
from products.errors import RequestError
from products.passes import search_span
from products.period import Period, as_utc
from products.scene import SATURATED, BandFile, Scene
from products.scene_recipe import SceneRecipe
from products.sensors import SENSORS
from products.source_spec import SourceSpec


@dataclass(frozen=True, slots=True)
class PublishedCell:
    """An active row of a cell product."""

    id: UUID
    product: str
    version: int
    tile: str
    period: str
    location: str
    properties: Mapping[str, Any]

    @property
    def path(self) -> str:
        """The path or s3:// URL of its Zarr group, by its row: it may lie in a store of before."""
        return path_of(self.location).removesuffix("/zarr.json")

    @property
    def levels(self) -> int:
        """How many overviews the cell has; none if it was written before there were any."""
        return int(self.properties.get("neocube:overviews", 0))

    @property
    def platform(self) -> str:
        """The platforms whose scenes it was made of, between commas."""
        return str(self.properties["eo:platform"])


def find_scenes(
    index: Index, sources: Iterable[SourceSpec], period: Period, area: Geometry, mirrors: Sequence[str] = ()
) -> list[Scene]:
    """The active scenes of some sources that share time with `period` and ground with `area` (any CRS), in sensing order.

    Their bands know their copies at mirrors, those of `mirrors` preferred.
    """
    turned = turned_shapes(covered_ground(area))
    shapely.prepare([each.geom for each in turned])
    found: list[Scene] = []
    for source in sources:
        if source.product:
            require_external(index, source.collection, source.product)
        for dataset in find_datasets(index, [sensor.product for sensor in source.sensors], period, turned[0]):
            scene = external_scene(dataset, source.product) if source.product else scene_of(dataset)
            wanted = not source.platforms or scene.platform in source.platforms
            if (
                wanted
                and period.contains(scene.acquired)
                and any(each.geom.intersects(scene.ground.geom) for each in turned)
            ):
                found.append(scene)
    ordered = sorted(found, key=lambda scene: (scene.acquired, scene.item_id, scene.id))
    return with_mirrors(index, ordered, mirrors)


def count_scenes(index: Index, sources: Iterable[SourceSpec], period: Period, area: Geometry) -> int:
    """About how many scenes `find_scenes` would read: those of the box around the area, of all platforms."""
    names = {sensor.product for source in sources for sensor in source.sensors}
    return count_datasets(index, sorted(names), period, covered_ground(area))


def scene_of(dataset: Dataset) -> Scene:
    """The scene behind an ODC dataset of a source product."""
    document = dataset.metadata_doc
    facts = document["properties"]
    sensor, rendition = facts["eo:instrument"], facts["neocube:rendition"]
    reflectance = SENSORS[sensor].reflectance
    grids = {name: tuple(grid["shape"]) for name, grid in document["grids"].items()}
    base = dataset_location(dataset).rpartition("/")[0]
    bands = {}
    for name, measurement in document["measurements"].items():
        radiometry = facts["neocube:radiometry"].get(name, {"scale": 1.0, "offset": 0.0, "nodata": 0})
        scale, offset = float(radiometry["scale"]), float(radiometry["offset"])
        bands[name] = BandFile(
            href=band_href(base, measurement["path"]),
            scale=scale,
            offset=offset,
            nodata=int(radiometry["nodata"]),
            layer=int(measurement.get("band", 1)),
            shape=grids[measurement.get("grid", "default")],
            saturated=saturated_dn(sensor, rendition, scale, offset) if name in reflectance else SATURATED,
        )
    granule = document.get("accessories", {}).get(GRANULE)
    return Scene(
        id=UUID(document["id"]),
        item_id=facts["neocube:item_id"],
        product=dataset.product.name,
        collection=facts["neocube:collection"],
        sensor=sensor,
        platform=facts["eo:platform"],
        acquired=acquired_at(dataset),
        acquisition=facts["neocube:acquisition"],
        rendition=rendition,
        revision=int(facts.get(REVISION, 0)),
        pass_id=facts["neocube:pass"],
        footprint=footprint_of(dataset),
        bands=bands,
        angles=angles_of(facts, sensor),
        granule_metadata=(band_href(base, granule["path"]),) if granule else (),
    )


def footprint_of(dataset: Dataset) -> Geometry:
    """The footprint of a scene in its CRS; from the document, as ODC works out every field of a dataset to tell its extent."""
    projection = dataset.metadata_doc["grid_spatial"]["projection"]
    if not projection.get("valid_data"):
        return dataset.extent
    return Geometry(projection["valid_data"], projection["spatial_reference"])


def acquired_at(dataset: Dataset) -> datetime:
    """When a scene was sensed, UTC."""
    return as_utc(dataset.metadata_doc["properties"]["datetime"])


def published_cells(
    index: Index, product: str, version: int, periods: Iterable[Period], tile: str | None = None
) -> dict[tuple[str, str], PublishedCell]:
    """The active cells of a product version in some periods, of all tiles or one, by (tile label, period label)."""
    if index.dc.index.products.get_by_name(product) is None:
        return {}
    labels = {period.label: period for period in periods}
    if not labels:
        return {}
    cells = _published(index, product, version, search_span(tuple(labels.values())), tile)
    return {(cell.tile, cell.period): cell for cell in cells if cell.period in labels}


def cells_at(index: Index, product: str, version: int, tile: str, period: Period) -> list[PublishedCell]:
    """Every active cell of a version of a known product at one tile and period."""
    cells = _published(index, product, version, search_span((period,)), tile)
    return [cell for cell in cells if cell.period == period.label]


def published_passes(
    index: Index, product: str, version: int, asked: Sequence[Period]
) -> dict[tuple[str, str], PublishedCell]:
    """The active cells of passes of a product version that begin in some periods, by (tile label, pass id)."""
    if index.dc.index.products.get_by_name(product) is None:
        return {}
    cells = _published(index, product, version, search_span(asked))
    begun = ((cell, as_utc(cell.properties["datetime"])) for cell in cells)
    return {(cell.tile, cell.period): cell for cell, start in begun if any(period.contains(start) for period in asked)}


def nothing_published(recipe: SceneRecipe, area: Area, asked: Period) -> RequestError:
    """What to do where no cell of a recipe is published over an area in a period."""
    return RequestError(
        f"no cell of {recipe.name} is published over the area {area.name!r} in {asked.label}: "
        f"build it first (neocube build {recipe.name} --period {asked.label}, with the same --area)"
    )


def _published(index: Index, product: str, version: int, span: Period, tile: str | None = None) -> list[PublishedCell]:
    place = {} if tile is None else {"tile": tile}
    found = index.dc.index.datasets.search(product=product, time=Range(span.start, span.end), **place)
    return [cell for cell in map(published_cell, found) if cell.version == version]


def published_cell(dataset: Dataset) -> PublishedCell:
    """The cell behind an ODC dataset of a cell product; its id from the document, as ODC works out every field of a dataset to tell it."""
    facts = dataset.metadata_doc["properties"]
    return PublishedCell(
        UUID(str(dataset.metadata_doc["id"])), dataset.product.name, int(facts["neocube:product_version"]), facts["neocube:tile"], facts["neocube:period"],
        dataset_location(dataset), facts,
    )  # fmt: skip


def time_of(cell: PublishedCell) -> Period:
    """From the start of a cell to its end, which its row has a microsecond early."""
    start, end = (as_utc(cell.properties[f"dtr:{edge}_datetime"]) for edge in ("start", "end"))
    return Period(start, end + timedelta(microseconds=1))
