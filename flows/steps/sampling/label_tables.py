"""Shapes with attributes from any file that holds them: GeoJSON, GeoPackage, GeoParquet, COCO annotations, and tables with coordinates."""

from collections.abc import Sequence
from typing import Protocol

import geopandas
import pandas as pd
import pyarrow
from pyogrio.errors import DataSourceError
from pyproj import CRS
from pyproj.exceptions import CRSError

from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.labels import check_degrees
from flows.steps.sampling.coco import coco_shapes, is_coco
from flows.steps.vector_files import read_vector_file
from products.errors import RequestError

TABLES = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".geoparquet")
READ_BY_GDAL = (".geojson", ".json", ".gpkg")
SHAPES = (*READ_BY_GDAL, *PARQUET, *TABLES)
COORDINATES = (("x", "y"), ("lon", "lat"), ("longitude", "latitude"), ("easting", "northing"))


class Coordinates(Protocol):
    """What a recipe says of the coordinates of a table."""

    @property
    def x(self) -> str | None:
        """The column of easting or longitude."""

    @property
    def y(self) -> str | None:
        """The column of northing or latitude."""

    @property
    def crs(self) -> str | None:
        """Their CRS."""


def read_shapes(file: LabelFile, said: Coordinates, image: LabelFile | None = None) -> geopandas.GeoDataFrame:
    """The shapes of a file with their attributes, CRS declared; RequestError if there are none, or where they lie is not said."""
    if not file.path.is_file():
        raise RequestError(f"no label file at {file}: expected one of {', '.join(SHAPES)}")
    if file.suffix in TABLES:
        table = _from_columns(file, said)
    elif file.suffix in PARQUET:
        table = _from_parquet(file)
    elif is_coco(file.path):
        table = coco_shapes(file, image)
    else:
        table = _from_gdal(file)
    if table.empty:
        raise RequestError(f"the label file {file} is empty: expected at least one shape")
    if table.crs is None:
        raise RequestError(f"the label file {file} declares no CRS: save it with one")
    lacking = int((table.geometry.isna() | table.geometry.is_empty).sum())
    if lacking:
        raise RequestError(f"the label file {file} has {lacking} rows without a place: remove them, or give them one")
    check_degrees(file, table)
    return table


def column_of(file: LabelFile, table: pd.DataFrame, name: str) -> pd.Series:
    """A column of attributes; RequestError that lists the columns if there is none of this name."""
    if name not in table.columns or name == getattr(table, "_geometry_column_name", None):
        others = [str(each) for each in table.columns if each != getattr(table, "_geometry_column_name", None)]
        raise RequestError(f"the label file {file} has no field {name!r}: expected one of {', '.join(others)}")
    return table[name]


def _from_gdal(file: LabelFile) -> geopandas.GeoDataFrame:
    try:
        table = read_vector_file(file.path)
    except (DataSourceError, OSError, ValueError) as error:
        raise RequestError(f"{file} is not a readable label file: {error}") from error
    if not isinstance(table, geopandas.GeoDataFrame):
        raise RequestError(f"the label file {file} is empty: expected at least one shape")
    return table


def _from_parquet(file: LabelFile) -> geopandas.GeoDataFrame:
    try:
        return geopandas.read_parquet(file.path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise RequestError(f"{file} is not a readable GeoParquet file: {error}") from error


def _from_columns(file: LabelFile, said: Coordinates) -> geopandas.GeoDataFrame:
    try:
        table = pd.read_csv(file.path, sep=TABLES[file.suffix])
    except pd.errors.EmptyDataError as error:
        raise RequestError(
            f"the label file {file} is empty: expected a line of names and one for each place"
        ) from error
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise RequestError(f"{file} is not a readable table: {error}") from error
    x, y = _coordinate_columns(file, said, [str(name) for name in table.columns])
    if said.crs is None:
        raise RequestError(
            f"the table {file} has coordinates in {x} and {y}, but no CRS: say `crs:`, such as EPSG:4326 for degrees of WGS 84"
        )
    try:
        crs = CRS.from_user_input(said.crs)
    except CRSError as error:
        raise RequestError(
            f"unknown CRS {said.crs!r} of {file}: expected an authority code such as EPSG:4326"
        ) from error
    for name in (x, y):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise RequestError(f"the column {name} of {file} holds text: expected coordinates in numbers")
    if table[[x, y]].isna().any(axis=None):
        n_lacking = int(table[[x, y]].isna().any(axis=1).sum())
        raise RequestError(f"the label file {file} has {n_lacking} rows without a place: remove them, or give them one")
    return geopandas.GeoDataFrame(table, geometry=geopandas.points_from_xy(table[x], table[y]), crs=crs)


def _coordinate_columns(file: LabelFile, said: Coordinates, columns: Sequence[str]) -> tuple[str, str]:
    if said.x and said.y:
        for name in (said.x, said.y):
            if name not in columns:
                raise RequestError(f"the label file {file} has no field {name!r}: expected one of {', '.join(columns)}")
        return said.x, said.y
    by_name = {name.lower(): name for name in columns}
    for x, y in COORDINATES:
        if x in by_name and y in by_name:
            return by_name[x], by_name[y]
    raise RequestError(
        f"the table {file} has no columns of coordinates that are known by name: say `x:` and `y:`, of {', '.join(columns)}"
    )
