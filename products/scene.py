"""A scene as the pipeline sees it: which observation it belongs to and where its bands lie."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from odc.geo.geom import Geometry

from products.covered_ground import covered_ground
from products.sensors import ANGLE_BANDS

REMOTE_WINDOW_BYTES = 64_000_000  # compressed, of one file: what a reading thread fetches over a network at a time
SATURATED, NEVER_SATURATED = 65535, 65536  # the largest DN of 16 bit; one that no file holds


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
    """One band of a scene in a file: physical value = DN * scale + offset; `nodata` marks missing DN, `saturated` is the least DN that stands for all above it;
    `shape` is what the catalogue says.

    `href` is the source; `places`, if any, are all to read from, it included, the preferred first. With `by_overview` pixels that are coarser
    than those of an overview of the file are made of that.
    """

    href: str
    scale: float
    offset: float
    nodata: int
    layer: int = 1
    shape: tuple[int, ...] | None = None
    places: tuple[BandPlace, ...] = ()
    by_overview: bool = False
    saturated: int = SATURATED

    @property
    def is_remote(self) -> bool:
        """Whether it is read over a network, from its first place."""
        href = self.places[0].href if self.places else self.href
        return "://" in href and not href.startswith("file://")


@dataclass(frozen=True, slots=True)
class Angles:
    """Where the sun and the sensor stood for the middle of a scene, degrees; azimuths from north, clockwise."""

    sun_elevation_deg: float
    sun_azimuth_deg: float
    view_zenith_deg: float
    view_azimuth_deg: float


@dataclass(frozen=True)
class Scene:
    """The chosen rendition of an acquisition. `pass_id` groups the overlapping rows and tiles of one pass; `footprint` has straight edges in its CRS.

    `tide_m` is the tide over the tile that it is read for, above mean sea level, where features go by it; `revision` how often
    its archive came to say something else of its pixels. `granule_metadata` are the
    places of the file that states the angles of a Sentinel-2 tile over a grid, the preferred first.
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
    angles: Angles | None = None
    tide_m: float | None = None
    revision: int = 0
    granule_metadata: tuple[str, ...] = ()

    @cached_property
    def ground(self) -> Geometry:
        """What the footprint covers, in degrees."""
        return covered_ground(self.footprint)

    @property
    def has_angle_rasters(self) -> bool:
        """Whether the angles of every pixel come with it as rasters."""
        return all(band in self.bands for band in ANGLE_BANDS)

    @property
    def has_pixel_angles(self) -> bool:
        """Whether every pixel has angles of its own, from rasters or from the metadata of its granule."""
        return self.has_angle_rasters or bool(self.granule_metadata)

    @property
    def is_remote(self) -> bool:
        """Whether some band is read over a network."""
        return any(file.is_remote for file in self.bands.values())


def reading_threads(scenes: Iterable[Scene], threads: int, remote_threads: int) -> int:
    """The threads that read some scenes: over a network most of their time is waiting, so there are more."""
    return max(threads, remote_threads, 1) if is_any_remote(scenes) else max(threads, 1)


def is_any_remote(scenes: Iterable[Scene]) -> bool:
    """Whether some of the scenes are read over a network."""
    return any(scene.is_remote for scene in scenes)
