"""Tables of samples: text, Parquet and vector files, and labelled chips as one row a pixel."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyogrio
from pyarrow import parquet
from pyogrio.errors import DataSourceError

from flows.steps.vector_files import read_vector_file
from products.errors import RequestError
from products.learning.training_memory import TableSize

CHIP_BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
VECTOR = (".geojson", ".json", ".gpkg")
SHAPE_BYTES, TEXT_BYTES = 400, 30  # of a shape as it is read, and of a word
SUFFIXES = (".csv", ".txt", ".parquet", *VECTOR, ".npz")


def read_tables(places: Sequence[str]) -> pd.DataFrame:
    """The rows of all files in the order of their names, with the column `file` of these without suffix; RequestError where one is no table, or two have
    other columns."""
    places = sorted(places, key=lambda place: Path(place).stem)
    names = [Path(place).stem for place in places]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"two tables are called {name!r}: rename one, the column `file` tells rows apart by it")
    frames = [_read(Path(place)).assign(file=name) for place, name in zip(places, names, strict=True)]
    for place, frame in zip(places, frames, strict=True):
        if set(frame.columns) != set(frames[0].columns):
            odd = sorted(set(frame.columns) ^ set(frames[0].columns))
            raise RequestError(f"{place} and {places[0]} have other columns: {', '.join(map(str, odd[:5]))}")
    return pd.concat(frames, ignore_index=True)


def table_size(places: Sequence[str]) -> TableSize:
    """Rows and bytes of a row of the tables of some files, by what they say of themselves; of text by its lines, 8 bytes a column.

    RequestError where one is not there, or is named as no table is; one that cannot be read has no rows here, and reading it says why.
    """
    sizes = [_size(Path(place)) for place in places]
    return TableSize(sum(size.rows for size in sizes), max(size.row_bytes for size in sizes))


def _size(path: Path) -> TableSize:
    _check(path)
    try:
        if path.suffix == ".parquet":
            with parquet.ParquetFile(path) as file:
                return TableSize(file.metadata.num_rows, sum(map(_value_bytes, file.schema_arrow.types)))
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive, archive.open("img.npy") as array:
                np.lib.format.read_magic(array)
                (rows, columns, bands), _, dtype = np.lib.format.read_array_header_1_0(array)
            return TableSize(rows * columns, bands * dtype.itemsize + 8 + 2 * 4)
        if path.suffix in VECTOR:
            about = pyogrio.read_info(path, force_feature_count=True)
            return TableSize(about["features"], SHAPE_BYTES + 8 * len(about["fields"]))
        with path.open("rb") as file:
            first = file.readline()
            return TableSize(sum(1 for _ in file), 8 * (max(first.count(b","), len(first.split())) + 1))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, pyarrow.ArrowException, DataSourceError):
        return TableSize(0, 0)


def _value_bytes(kind: pyarrow.DataType) -> int:
    """Bytes of a value in memory; of text as many as a short word takes."""
    return max(1, kind.bit_width // 8) if pyarrow.types.is_primitive(kind) else TEXT_BYTES


def tables_digest(places: Sequence[str]) -> str:
    """SHA-256 of the names and contents of files, in any order."""
    parts = sorted((Path(place).stem, _digest(Path(place))) for place in places)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise RequestError(f"{path} is no table: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise RequestError(f"no table at {path}")


def _read(path: Path) -> pd.DataFrame:
    _check(path)
    try:
        if path.suffix == ".npz":
            return _chip(path)
        if path.suffix in VECTOR:
            return pd.DataFrame(read_vector_file(path).drop(columns="geometry"))
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path) if path.suffix == ".csv" else _columns(path)
    except (OSError, KeyError, ValueError, DataSourceError) as error:
        raise RequestError(f"{path} is no table: {' '.join(str(error).split())}") from error


def _columns(path: Path) -> pd.DataFrame:
    """A text of numbers with blanks between, whose first line names the columns, as numpy.savetxt writes it."""
    with path.open(encoding="utf-8") as file:
        names = file.readline().lstrip("# ").split()
    return pd.read_csv(path, sep=r"\s+", skiprows=1, header=None, names=names, index_col=False)


def _chip(path: Path) -> pd.DataFrame:
    """The pixels of `img` (y, x, band) float and `msk` (y, x, 1), with columns of the bands, `label`, `row` and `column`."""
    with np.load(path, allow_pickle=False) as arrays:
        image, labels = arrays["img"], arrays["msk"]
    if image.ndim != 3 or image.shape[2] != len(CHIP_BANDS) or labels.shape != (*image.shape[:2], 1):
        raise ValueError(
            f"expected img (y, x, {' '.join(CHIP_BANDS)}) and msk (y, x, 1), got {image.shape} and {labels.shape}"
        )
    frame = pd.DataFrame(image.reshape(-1, len(CHIP_BANDS)), columns=list(CHIP_BANDS))
    row, column = np.indices(labels.shape[:2], np.int32)
    return frame.assign(label=labels.ravel().astype(np.int64), row=row.ravel(), column=column.ravel())
