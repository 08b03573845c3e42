"""A scene as the pipeline sees it: which observation it belongs to and where its bands lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from odc.geo.geom import Geometry


@dataclass(frozen=True, slots=True)
class Clip:
    """The part of a file that a copy holds: `window` (row, column, height, width) in pixels of the whole file, whose grid and layers follow."""

    window: tuple[int, int, int, int]
    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    dtypes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BandPlace:
    """Where a band file can be read: its source, or a copy, whole or clipped, of `size_bytes`."""

    href: str
    size_bytes: int | None = None
    clip: Clip | None = None


@dataclass(frozen=True, slots=True)
class BandFile:
    """One band of a scene in a file: physical value = DN * scale + offset; `nodata` marks missing DN; `shape` is what the catalogue says.

    `href` is the source; `places`, if any, are all to read from, it included, the preferred first.
    """

    href: str
    scale: float
    offset: float
    nodata: int
    layer: int = 1
    shape: tuple[int, ...] | None = None
    places: tuple[BandPlace, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """The chosen rendition of an acquisition. `pass_id` groups the overlapping rows and tiles of one pass; `footprint` is EPSG:4326.

    `tide_m` is the tide over the tile that it is read for, above mean sea level, where features go by it.
    """

    id: UUID
    item_id: str
    product: str
    collection: str
    sensor: str
    platform: str
    acquired: datetime
    acquisition: str
    rendition: str
    pass_id: str
    footprint: Geometry
    bands: Mapping[str, BandFile]
    tide_m: float | None = None
