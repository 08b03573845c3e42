"""Label files: polygons with a class, or a raster of classes, onto the pixels of a grid."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataSourceError
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from flows.steps.learning.label_facts import LabelSource, label_source, says_simulated
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.label_ground import on_grid
from flows.steps.learning.label_rasters import (
    class_codes,
    label_pixel_size,
    label_values,
    opened_raster,
    shares_ground,
    value_counts,
)
from flows.steps.vector_files import read_vector_file
from products.errors import RequestError
from products.learning.label_codes import LabelValue, plain_values, told_values
from products.learning.recipe import SamplesSpec
from products.learning.samples import inner_labels

VECTOR_SUFFIXES = (".geojson", ".json", ".gpkg")
RASTER_SUFFIXES = (".tif", ".tiff")
FINER = 0.75  # a label pixel below this share of a grid pixel counts as finer
HAIR = 0.01  # of a pixel: an edge that runs along pixel edges cuts no pixel

Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VectorLabels:
    """The polygons of the union of each class code, in the CRS of the file; code 0 holds the ignored ones."""

    source: LabelSource
    shapes: dict[int, geopandas.GeoSeries]
    counts: Mapping[LabelValue, int]

    def codes(self, geobox: GeoBox, spec: SamplesSpec) -> Codes:
        """Class codes (y, x), 0 where a pixel is not wholly inside one class and `edge_px` from its edge."""
        wide = geobox.pad(spec.edge_px)
        frame = shapely.box(*wide.extent.boundingbox.bbox)
        hair = HAIR * abs(wide.resolution.x)
        inside, n_touching = np.zeros(wide.shape, np.uint8), np.zeros(wide.shape, np.int16)
        for code, shapes in self.shapes.items():
            here = _surface(on_grid(shapes, wide).to_numpy())
            if here.intersects(frame):
                n_touching += _burn(here.buffer(-hair, join_style="mitre"), wide, all_touched=True)
                edge = _burn(here.buffer(hair, join_style="mitre").boundary, wide, all_touched=True)
                inside[_burn(here, wide, all_touched=False) & ~edge] = code
        whole = np.where(n_touching == 1, inside, 0).astype(np.uint8)
        return _cropped(inner_labels(whole, spec.edge_px), spec.edge_px)

    def overlaps(self, geobox: GeoBox) -> bool:
        """Whether any label shares ground with the grid."""
        frame = shapely.box(*geobox.extent.boundingbox.bbox)
        return any(_surface(on_grid(shapes, geobox).to_numpy()).intersects(frame) for shapes in self.shapes.values())

    def told(self, geoboxes: Iterable[GeoBox], spec: SamplesSpec) -> tuple[str, ...]:
        """What each value of the file was taken for, and of how many shapes in the file it is the value."""
        return told_values(self.counts, spec.codes(by_number=False), spec.classes, "shapes")


@dataclass(frozen=True, slots=True)
class RasterLabels:
    """A raster of label values; `meaning` maps each to a class code, 0 for none."""

    source: LabelSource
    meaning: dict[LabelValue, int]

    def codes(self, geobox: GeoBox, spec: SamplesSpec) -> Codes:
        """Class codes (y, x): nearest, or where the raster is finer the class that fills `min_label_fraction`."""
        wide = geobox.pad(spec.edge_px)
        with opened_raster(self.source.file) as file:
            if label_pixel_size(file, wide) >= FINER * abs(wide.resolution.x):
                whole = self._codes_on(file, wide)
            else:
                whole = self._dominant(file, wide, spec)
        return _cropped(inner_labels(whole, spec.edge_px), spec.edge_px)

    def overlaps(self, geobox: GeoBox) -> bool:
        """Whether the raster shares ground with the grid."""
        with opened_raster(self.source.file) as file:
            return shares_ground(file, geobox)

    def told(self, geoboxes: Iterable[GeoBox], spec: SamplesSpec) -> tuple[str, ...]:
        """What each value of the raster was taken for, and how many pixels of some grids have it."""
        counts = value_counts(self.source.file, geoboxes)
        return told_values(counts, self.meaning, spec.classes, "pixels")

    def _codes_on(self, file: Any, geobox: GeoBox) -> Codes:  # noqa: ANN401
        return class_codes(self.source.file, label_values(file, geobox), self.meaning, keys="samples.")

    def _dominant(self, file: Any, geobox: GeoBox, spec: SamplesSpec) -> Codes:  # noqa: ANN401
        """The class whose share of a grid pixel reaches `min_label_fraction`."""
        factor = max(2, round(abs(geobox.resolution.x) / label_pixel_size(file, geobox)))
        fine = geobox.zoom_out(1 / factor)
        codes = self._codes_on(file, fine)
        rows, columns = geobox.shape
        parts = codes.reshape(rows, factor, columns, factor)
        found = np.zeros(geobox.shape, np.uint8)
        for code in range(1, len(spec.classes) + 1):
            found[(parts == code).mean(axis=(1, 3)) >= spec.min_label_fraction] = code
        return found


Labels = VectorLabels | RasterLabels


def open_labels(file: LabelFile, spec: SamplesSpec) -> Labels:
    """The labels of a GeoJSON, GeoPackage or GeoTIFF file; RequestError if they cannot be meant."""
    if not file.path.is_file():
        raise RequestError(f"no label file at {file}: expected a GeoJSON, GeoPackage or GeoTIFF")
    if file.suffix in VECTOR_SUFFIXES:
        return _vector(file, spec)
    if file.suffix in RASTER_SUFFIXES:
        return _raster(file, spec)
    raise RequestError(
        f"cannot read labels from {file}: expected .geojson, .gpkg or .tif; "
        "draw a training set from a table of points first: neocube sample, see docs/recipes.md"
    )


def _vector(file: LabelFile, spec: SamplesSpec) -> VectorLabels:
    try:
        table = read_vector_file(file.path)
    except (DataSourceError, OSError, ValueError) as error:
        raise RequestError(f"{file} is not a readable label file: {error}") from error
    if not isinstance(table, geopandas.GeoDataFrame) or table.empty:
        raise RequestError(f"the label file {file} has no polygons")
    if table.crs is None:
        raise RequestError(f"the label file {file} declares no CRS: save it with one")
    check_degrees(file, table)
    if spec.class_field not in table.columns:
        fields = ", ".join(str(name) for name in table.columns if name != table.geometry.name)
        raise RequestError(f"the label file {file} has no field {spec.class_field!r}: expected one of {fields}")
    placed = table[~(table.geometry.isna() | table.geometry.is_empty)]
    groups: dict[int, list[BaseGeometry]] = {}
    found = shape_codes(file, placed[spec.class_field], spec.codes(by_number=False), keys="samples.")
    for code, shape in zip(found, placed.geometry, strict=True):
        groups.setdefault(code, []).append(_polygon(file, shape))
    shapes = {
        code: geopandas.GeoSeries(shapely.get_parts(_surface(np.array([shapely.union_all(members)]))), crs=table.crs)
        for code, members in groups.items()
    }
    counts = Counter(plain_values(placed[spec.class_field]))
    return VectorLabels(label_source(file, str(table.crs), says_simulated(file)), shapes, counts)


def check_degrees(file: LabelFile, table: geopandas.GeoDataFrame) -> None:
    """RequestError for a geographic file whose numbers are no degrees: RFC 7946 GeoJSON is always read as degrees."""
    west, south, east, north = table.total_bounds
    if table.crs.is_geographic and not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise RequestError(
            f"the label file {file} is in {table.crs}, degrees, "
            f"but reaches from {west:g}, {south:g} to {east:g}, {north:g}: "
            "declare its real CRS (a GeoJSON `crs` member, or a GeoPackage), or reproject it"
        )


def shape_codes(file: LabelFile, said: pd.Series, meaning: Mapping[LabelValue, int], keys: str = "") -> list[int]:
    """The class code of each shape by the field of its class; RequestError for none and for an unknown one. `keys` stands before the recipe's keys."""
    if said.isna().any():
        raise RequestError(
            f"{int(said.isna().sum())} of {len(said)} shapes of the label file {file} have no class in {said.name!r}: fill it in, or take them out"
        )
    plain = plain_values(said)
    for value in plain:
        if value not in meaning:
            known = ", ".join(map(str, meaning))
            raise RequestError(
                f"the label file {file} has the class {value!r}: expected one of {known}; "
                f"say in {keys}values what it means, or list it in {keys}ignore"
            )
    return [meaning[value] for value in plain]


def _polygon(file: LabelFile, shape: BaseGeometry) -> BaseGeometry:
    valid = shapely.make_valid(shape)
    if not valid.area > 0:
        raise RequestError(f"the label file {file} holds a {shape.geom_type}: expected polygons")
    return valid


def _raster(file: LabelFile, spec: SamplesSpec) -> RasterLabels:
    with opened_raster(file) as raster:
        if raster.crs is None:
            raise RequestError(f"the label raster {file} declares no CRS: save it with one")
        if not np.issubdtype(np.dtype(raster.dtypes[0]), np.integer):
            raise RequestError(
                f"the label raster {file} holds {raster.dtypes[0]}: expected integers, one for each class"
            )
        simulated = raster.tags().get("simulated", "").lower() in ("yes", "true", "1")
        return RasterLabels(label_source(file, raster.crs.to_string(), simulated), spec.codes(by_number=True))


def _surface(shapes: NDArray[np.object_]) -> BaseGeometry:
    """The polygons of some shapes as one, without any lines and points that mending or cutting left."""
    parts = shapely.get_parts(shapely.get_parts(shapes))
    return shapely.multipolygons(parts[shapely.get_dimensions(parts) == 2])


def _burn(shape: BaseGeometry, geobox: GeoBox, all_touched: bool) -> NDArray[np.bool_]:
    if shape.is_empty:
        return np.zeros(geobox.shape, dtype=bool)
    burnt = rasterize([shape], geobox.shape, transform=geobox.affine, all_touched=all_touched, dtype="uint8")
    return np.asarray(burnt, dtype=bool)


def _cropped(codes: Codes, margin_px: int) -> Codes:
    return codes[margin_px:-margin_px, margin_px:-margin_px] if margin_px else codes
