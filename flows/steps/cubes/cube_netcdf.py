"""A cube as one NetCDF-4 file with CF conventions: a variable for each feature, and the accounts."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray

from flows.steps.cubes.open_cube import GRID_MAPPING, features_apart

COMPRESSION: Final = {"zlib": True, "complevel": 4, "shuffle": True}
CHUNK_PX: Final = 512
TIME: Final = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "float64"}


def write_netcdf(cube: xarray.Dataset, folder: Path, name: str, tail: str = "") -> None:
    """`<name><tail>.nc`: NetCDF-4 (HDF5), deflated; NaN is missing; lists in the attributes joined by blanks, `:` in their names by `_`."""
    file = features_apart(cube)
    file.attrs = {key.replace(":", "_"): _attribute(value) for key, value in file.attrs.items()}
    for variable, array in file.variables.items():
        array.attrs = {key.replace(":", "_"): _attribute(value, array.dtype) for key, value in array.attrs.items()}
        array.encoding = dict(TIME) if str(variable) in ("period", "period_end") else {}
        if variable in file.data_vars:
            array.encoding = {**COMPRESSION, "chunksizes": _chunks(array), "grid_mapping": GRID_MAPPING}
    file.to_netcdf(folder / f"{name}{tail}.nc", engine="h5netcdf", format="NETCDF4")


def _chunks(array: xarray.Variable) -> tuple[int, ...]:
    """One layer, at most 512 pixels square."""
    return tuple(min(CHUNK_PX, n) if dim in ("y", "x") else 1 for dim, n in zip(array.dims, array.shape, strict=True))


def _attribute(value: object, dtype: np.dtype[Any] | None = None) -> Any:  # noqa: ANN401
    """Lists of numbers in the type of their variable, as CF wants `flag_values`; other lists as one text."""
    if dtype is not None and isinstance(value, list) and all(isinstance(each, int) for each in value):
        return np.asarray(value, dtype)
    return " ".join(map(str, value)) if isinstance(value, list) else value
