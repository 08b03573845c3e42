"""The files of a training set in the store: a GeoParquet table or a Zarr of chips, its document and its picture."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import geopandas
import pandas as pd
import pyarrow
from pyarrow import parquet

from flows.steps.storage import Storage
from products.errors import RequestError

TABLE, CHIPS, DOCUMENT, PICTURE = "samples.parquet", "chips.zarr", "samples.json", "samples.png"


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The folder of one training set: `<store>/samples/<name>/<id>/`; `content` is its table or its chips."""

    storage: Storage
    name: str
    id: UUID
    content: str = TABLE

    @property
    def folder(self) -> str:
        """Where the set lies."""
        return self.storage.path("samples", self.name, str(self.id))

    def path(self, file: str) -> str:
        """Where a file of the set lies."""
        return f"{self.folder}/{file}"

    def url(self, file: str) -> str:
        """Its URL."""
        return self.storage.url(self.path(file))

    def are_whole(self) -> bool:
        """Whether the samples and the document, which is written last, are there."""
        return all(self.storage.exists(self.path(file)) for file in (self.content, DOCUMENT))

    def document(self) -> dict[str, Any]:
        """What is known of the set."""
        found: dict[str, Any] = json.loads(self.storage.read_bytes(self.path(DOCUMENT)))
        return found


def table_bytes(table: pd.DataFrame, crs: str) -> bytes:
    """A table with x and y as GeoParquet with a point for each row: the same bytes for the same rows."""
    points = geopandas.points_from_xy(table["x"], table["y"], crs=crs)
    buffer = io.BytesIO()
    geopandas.GeoDataFrame(table, geometry=points).to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def table_columns(files: SampleFiles) -> tuple[tuple[str, ...], int]:
    """The columns of the table of a set, and its number of rows; RequestError if it is not readable."""
    with _opened(files) as file:
        return tuple(file.schema_arrow.names), file.metadata.num_rows


def read_table(files: SampleFiles, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of the table of a set, each of which is in memory once; RequestError if it is not readable."""
    with _opened(files) as file:
        return file.read(list(columns)).to_pandas(split_blocks=True, self_destruct=True)


@contextmanager
def _opened(files: SampleFiles) -> Iterator[parquet.ParquetFile]:
    path = files.path(TABLE)
    try:
        with parquet.ParquetFile(pyarrow.BufferReader(files.storage.view(path))) as file:
            yield file
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise RequestError(f"{path} is not a readable table of samples: {error}; draw it again") from error
