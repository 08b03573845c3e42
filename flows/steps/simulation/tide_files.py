"""The simulated tides as the files of a tide model, laid out as those of EOT20, which eo-tides and pyTMD read."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import xarray

from products.simulation.tide_constants import tidal_constants

MODEL = "EOT20"  # a name that pyTMD knows: it reads no model under another
CONSTITUENTS = ("2N2", "J1", "K1", "K2", "M2", "M4", "MF", "MM", "N2", "O1", "P1", "Q1", "S1", "S2", "SA", "SSA", "T2")
ABSENT_CM, ABSENT_DEG = 1e-5, 1.0  # an amplitude or a phase of 0 counts as missing
NODES_DEG = 5.0


def write_tide_model(folder: Path, phases_deg: Mapping[str, float], instant: datetime) -> None:
    """One NetCDF file a constituent under `EOT20/ocean_tides`: amplitude (cm) and phase lag (degrees), the same at every node of the globe."""
    constants = tidal_constants(phases_deg, instant)
    axes = {"lat": np.arange(-90, 90.1, NODES_DEG), "lon": np.arange(0, 360.1, NODES_DEG)}
    shape = tuple(axis.size for axis in axes.values())
    files = folder / MODEL / "ocean_tides"
    files.mkdir(parents=True)
    for name in CONSTITUENTS:
        known = constants.get(name)
        values = (100 * known.amplitude_m, known.lag_deg) if known else (ABSENT_CM, ABSENT_DEG)
        layers = {
            layer: (("lat", "lon"), np.full(shape, value))
            for layer, value in zip(("amplitude", "phase"), values, strict=True)
        }
        dataset = xarray.Dataset(layers, axes, {"title": "Tides of a simulated coast, in the layout of EOT20"})
        packed = {layer: {"zlib": True} for layer in layers}
        dataset.to_netcdf(files / f"{name}_ocean_eot20.nc", engine="h5netcdf", encoding=packed)
