"""The label sources of a recipe, opened: shapes or rasters, their classes known, their files named by digest."""

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas
import numpy as np
from odc.geo.geobox import GeoBox

from flows.steps.learning.label_facts import LabelSource, label_source, says_simulated
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.label_ground import on_grid
from flows.steps.learning.label_rasters import opened_raster
from flows.steps.learning.labels import shape_codes
from flows.steps.sampling.label_grid import margin_px
from flows.steps.sampling.label_tables import SHAPES, column_of, read_shapes
from flows.steps.sampling.raster_labels import EpochRasterLabels
from flows.steps.sampling.shape_labels import ShapeLabels
from products.errors import RequestError
from products.learning.label_spec import LabelsSpec
from products.scene_recipe import canonical_digest

RASTERS = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class LabelFiles:
    """The files of one label source: its own, the rasters of other epochs, the image under COCO annotations."""

    spec: LabelsSpec
    file: LabelFile
    stable_across: tuple[LabelFile, ...] = ()
    image: LabelFile | None = None


OpenLabels = ShapeLabels | EpochRasterLabels


def open_source(files: LabelFiles, classes: Sequence[str], ground: GeoBox) -> OpenLabels:
    """A label source, its shapes near the ground of all tiles on its CRS; RequestError if it cannot be meant."""
    file = files.file
    if not file.path.is_file():
        raise RequestError(f"no label file at {file}: expected one of {', '.join((*SHAPES, *RASTERS))}")
    if file.suffix in RASTERS:
        return _open_raster(files, classes)
    if file.suffix not in SHAPES:
        raise RequestError(f"cannot read labels from {file}: expected one of {', '.join((*SHAPES, *RASTERS))}")
    if files.stable_across:
        raise RequestError(f"stable_across compares rasters: {file} is none")
    return _open_shapes(files, classes, ground)


def _open_shapes(files: LabelFiles, classes: Sequence[str], ground: GeoBox) -> ShapeLabels:
    file, spec = files.file, files.spec
    table = read_shapes(file, spec, files.image)
    said = table.crs.to_string()
    one = spec.one_code(classes)
    if one is None:
        codes = shape_codes(file, column_of(file, table, spec.class_field), spec.codes(classes, by_number=False))
    else:
        codes = [one] * len(table)
    broken = ~table.geometry.is_valid
    here = on_grid(_mended(table.geometry), ground.pad(margin_px(spec, ground)))
    shapes = geopandas.GeoDataFrame({"code": np.array(codes, np.uint8)}, geometry=_mended(here).values, crs=here.crs)
    source = _with_more(label_source(file, said, says_simulated(file)), [files.image] if files.image else [])
    return ShapeLabels(spec, source, shapes.reset_index(drop=True), len(classes), int(broken.sum()))


def _mended(shapes: geopandas.GeoSeries) -> geopandas.GeoSeries:
    """The shapes without crossing edges."""
    is_sound = shapes.is_valid | shapes.isna()
    return shapes if is_sound.all() else shapes.where(is_sound, shapes.make_valid())


def _open_raster(files: LabelFiles, classes: Sequence[str]) -> EpochRasterLabels:
    spec, one = files.spec, files.spec.one_code(classes)
    for file in (files.file, *files.stable_across):
        with opened_raster(file) as raster:
            if raster.crs is None:
                raise RequestError(f"the label raster {file} declares no CRS: save it with one")
            if one is None and not np.issubdtype(np.dtype(raster.dtypes[0]), np.integer):
                raise RequestError(
                    f"the label raster {file} holds {raster.dtypes[0]}: expected integers, one for each class, or `class` and `min_value`"
                )
    with opened_raster(files.file) as raster:
        simulated = raster.tags().get("simulated", "").lower() in ("yes", "true", "1")
        source = _with_more(label_source(files.file, raster.crs.to_string(), simulated), files.stable_across)
    return EpochRasterLabels(spec, source, files.stable_across, spec.codes(classes, by_number=True), one, len(classes))


def _with_more(source: LabelSource, files: Sequence[LabelFile]) -> LabelSource:
    """The source with a digest of its own file and of others that it is read with."""
    if not files:
        return source
    digests = [source.digest, *(label_source(file, source.crs, False).digest for file in files)]
    return LabelSource(source.file, canonical_digest(digests), source.crs, source.simulated)
