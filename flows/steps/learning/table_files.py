"""Tables of samples: text, Parquet and vector files, and labelled chips as one row a pixel."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pyogrio.errors import DataSourceError

from flows.steps.vector_files import read_vector_file
from products.errors import RequestError

CHIP_BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
VECTOR = (".geojson", ".json", ".gpkg")
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


def tables_digest(places: Sequence[str]) -> str:
    """SHA-256 of the names and contents of files, in any order."""
    parts = sorted((Path(place).stem, hashlib.sha256(Path(place).read_bytes()).hexdigest()) for place in places)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path) -> pd.DataFrame:
    if path.suffix not in SUFFIXES:
        raise RequestError(f"{path} is no table: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise RequestError(f"no table at {path}")
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
    frame = pd.DataFrame(image.reshape(-1, len(CHIP_BANDS)).astype(np.float64), columns=list(CHIP_BANDS))
    row, column = np.indices(labels.shape[:2])
    return frame.assign(label=labels.ravel().astype(np.int64), row=row.ravel(), column=column.ravel())
