"""Shapes found in pictures as GeoPackages: one for each CRS, and one in pixels for pictures that lie nowhere."""

import hashlib
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import geopandas
import pandas as pd
from pyproj import CRS

Frames = Mapping[str, geopandas.GeoDataFrame]
NOWHERE = "pixels"


def by_crs(parts: Iterable[geopandas.GeoDataFrame]) -> Frames:
    """Tables of shapes joined where they have the same CRS, by its name: `epsg-32622`, or `pixels` without one."""
    found: dict[str, list[geopandas.GeoDataFrame]] = {}
    for part in parts:
        found.setdefault(crs_name(part.crs), []).append(part)
    return {name: pd.concat(frames, ignore_index=True) for name, frames in found.items()}


def crs_name(crs: CRS | None) -> str:
    """Of a CRS, fit for a file's name."""
    if crs is None:
        return NOWHERE
    return "-".join(crs.to_authority() or ("crs", hashlib.sha256(crs.to_wkt().encode()).hexdigest()[:8])).lower()


def geopackages(kind: str, frames: Frames, geometry_type: str) -> dict[str, bytes]:
    """The files `<kind>-<crs>.gpkg`, each with one layer `kind`."""
    return {f"{kind}-{name}.gpkg": _geopackage(frame, kind, geometry_type) for name, frame in frames.items()}


def _geopackage(frame: geopandas.GeoDataFrame, layer: str, geometry_type: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # of shapes in pixels
        path = Path(folder) / "shapes.gpkg"
        frame.to_file(path, layer=layer, driver="GPKG", geometry_type=geometry_type)
        return path.read_bytes()
