"""Vector files of several layers: none is chosen in silence, wherever a file of shapes is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from flows.steps.areas import find_area
from flows.steps.learning.assessment_points import read_references
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.labels import open_labels
from flows.steps.learning.rasters_under_labels import clear_series, under_labels
from flows.steps.learning.split_layer import named_sites
from flows.steps.learning.table_files import read_tables
from flows.steps.sampling.label_tables import read_shapes
from products.errors import RequestError
from products.learning.recipe import SamplesSpec

NOWHERE = np.zeros(1)


@dataclass(frozen=True)
class Columns:
    """No columns of coordinates: the file is one of shapes."""

    x: str | None = None
    y: str | None = None
    crs: str | None = None


def layered(folder: Path, *names: str) -> Path:
    """A GeoPackage of named layers, each of one square of the class water."""
    path = folder / "layers.gpkg"
    shapes = geopandas.GeoDataFrame(
        {"class": ["water"], "name": ["here"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326"
    )
    for name in names:
        shapes.to_file(path, layer=name)
    return path


def labels_of(path: Path) -> Any:
    return open_labels(LabelFile(str(path), path), SamplesSpec.model_validate({"classes": ["water", "other"]}))


READERS: dict[str, Callable[[Path], Any]] = {
    "labels": labels_of,
    "area": lambda path: find_area(str(path)),
    "sites": lambda path: named_sites(str(path), NOWHERE, NOWHERE, "EPSG:4326"),
    "table": lambda path: read_tables([str(path)]),
    "label table": lambda path: read_shapes(LabelFile(str(path), path), Columns()),
    "match-up": lambda path: under_labels(path, {}),
    "series": lambda path: clear_series(path, [], "qa", 3),
    "interpreted sample": lambda path: read_references(path, {}),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_file_of_several_layers_is_refused_with_their_names(reader: Callable[[Path], Any], tmp_path: Path) -> None:
    expected = (
        r"layers\.gpkg has 2 layers of shapes, coast, inland: expected one; write the one wanted to a file of its own"
    )
    with pytest.raises(RequestError, match=expected):
        reader(layered(tmp_path, "coast", "inland"))


def test_a_table_of_styles_beside_the_shapes_is_no_layer_of_them(tmp_path: Path) -> None:
    path = layered(tmp_path, "coast")
    pyogrio.write_dataframe(pd.DataFrame({"styleName": ["blue"]}), path, layer="layer_styles")
    assert find_area(str(path)).geometry.geom.bounds == (0, 0, 1, 1)
    assert set(labels_of(path).shapes) == {1}
