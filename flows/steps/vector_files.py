"""Shapes of a vector file."""

from pathlib import Path

import geopandas
import pyogrio

from products.errors import RequestError


def read_vector_file(path: str | Path) -> geopandas.GeoDataFrame:
    """The shapes of a GeoJSON or GeoPackage file; RequestError that names its layers where several have shapes: none is chosen in silence.

    Tables beside the shapes, such as the styles that a GIS keeps there, are no layers of shapes. Raises pyogrio's DataSourceError for what is no vector file.
    """
    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) > 1:
        raise RequestError(
            f"{Path(path).name} has {len(layers)} layers of shapes, {', '.join(layers)}: expected one; "
            "write the one wanted to a file of its own"
        )
    return geopandas.read_file(path, layer=layers[0] if layers else None)
