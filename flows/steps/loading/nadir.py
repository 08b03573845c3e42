"""Scenes that come with the angles of every pixel, as they would be seen from the zenith."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from flows.steps.loading.granule_file import read_granule
from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.read_attempts import attempt_read
from flows.steps.loading.read_job import ReadJob
from flows.steps.loading.reading import BandRead, warp_band
from flows.steps.scenes.normalise import GRANULE
from products.pixel.angle_grids import AngleGrids, factors_at
from products.pixel.brdf import GLOBAL_PARAMETERS, multiply_between, to_nadir
from products.pixel.causes import Cause
from products.scene import Scene
from products.sensors import ANGLE_BANDS
from products.source_spec import file_band

NODE_PX = 8  # between the nodes at which the c-factor of a granule is worked out

Numbers = NDArray[np.uint16]
Doubles = NDArray[np.float64]
Lost = NDArray[np.bool_]


def adjust_to_nadir(
    job: ReadJob, pool: ThreadPoolExecutor, scenes: Sequence[Scene], causes: NDArray[np.uint8], block: Numbers
) -> list[list[AssetRead]]:
    """Adjust the block (band, scene, y, x) in place where a recipe asks for it; the assets of each scene that were read for that.

    Causes (scene, y, x): unread where the angles of a scene cannot be read, nodata where they have none.
    """

    def adjust(s: int) -> list[AssetRead]:
        scene, used = scenes[s], causes[s] == Cause.USED
        if job.recipe.brdf == "none" or not scene.has_pixel_angles or not (used.any() or job.recipe.keeps_masked):
            return []
        by_angles = _by_rasters if scene.has_angle_rasters else _by_granule
        reads, is_lost = by_angles(job, scene, block[:, s])
        if is_lost is None:
            causes[s][used] = Cause.UNREAD
        else:
            causes[s][is_lost & used] = Cause.NODATA
        return reads

    return list(pool.map(adjust, range(len(scenes))))


@dataclass(frozen=True, slots=True)
class _Present:
    """The bands of a block that a scene has: their rows in it, their names in the scene, scale and offset."""

    rows: NDArray[np.int64]
    names: list[str]
    scale: Doubles
    offset: Doubles


def _present(job: ReadJob, scene: Scene) -> _Present:
    every = [file_band(band, scene.sensor, job.recipe.harmonise) for band in job.recipe.used_bands]
    rows = [number for number, name in enumerate(every) if name in scene.bands]
    names = [every[number] for number in rows]
    scale, offset = (
        np.array([getattr(scene.bands[name], term) for name in names], np.float64) for term in ("scale", "offset")
    )
    return _Present(np.array(rows, np.int64), names, scale, offset)


def _by_rasters(job: ReadJob, scene: Scene, numbers: Numbers) -> tuple[list[AssetRead], Lost | None]:
    """What was read of the rasters of angles, and where (y, x) they have none, None if one failed; numbers (band, y, x) are adjusted elsewhere."""
    angles = np.empty((len(ANGLE_BANDS), *numbers.shape[1:]), np.float32)
    reads = [_read_raster(job, scene, band, layer) for band, layer in zip(ANGLE_BANDS, angles, strict=True)]
    assets = [asset for asset, _ in reads]
    if any(read is None for _, read in reads):
        return assets, None
    bands, is_lost = _present(job, scene), np.zeros(numbers.shape[1:], np.bool_)
    parameters = np.array([GLOBAL_PARAMETERS[name] for name in bands.names], np.float64)
    chosen = np.ascontiguousarray(numbers[bands.rows])
    degrees = angles * np.float32(scene.bands[ANGLE_BANDS[0]].scale)
    to_nadir(chosen, degrees, parameters, bands.scale, bands.offset, is_lost)
    numbers[bands.rows] = chosen
    return assets, is_lost


def _read_raster(job: ReadJob, scene: Scene, band: str, out: NDArray[np.float32]) -> tuple[AssetRead, BandRead | None]:
    file = scene.bands[band]

    def read() -> BandRead:
        with job.access.env():
            return warp_band(file.href, file.layer, file.nodata, job.place(scene, job.geobox), "nearest", out)

    return attempt_read(scene, band, job.failed, read)


def _by_granule(job: ReadJob, scene: Scene, numbers: Numbers) -> tuple[list[AssetRead], Lost | None]:
    """What was read of the grids of angles in the metadata of a granule, and where (y, x) they have none, None if it failed; numbers are adjusted elsewhere."""
    found: list[AngleGrids] = []

    def read() -> BandRead:
        grids, done = read_granule(scene.granule_metadata, scene.revision, job.access)
        found.append(grids)
        return done

    asset, done = attempt_read(scene, GRANULE, job.failed, read)
    if done is None:
        return [asset], None
    bands, is_lost = _present(job, scene), np.zeros(numbers.shape[1:], np.bool_)
    factors, rows, columns = nodes(found[-1], bands.names, job.place(scene, job.geobox))
    chosen = np.ascontiguousarray(numbers[bands.rows])
    multiply_between(chosen, factors, rows, columns, bands.scale, bands.offset, is_lost)
    numbers[bands.rows] = chosen
    return [asset], is_lost


def nodes(grids: AngleGrids, bands: Sequence[str], geobox: GeoBox) -> tuple[Doubles, Doubles, Doubles]:
    """The c-factors at nodes (band, row, column) NODE_PX pixels apart, and where between them the pixels of a geobox lie: rows (y,), columns (x,).

    Nodes are counted from the origin of the CRS, so that they are the same for every part of a grid.
    """
    columns, first_column, across = _between(geobox.affine.c, geobox.affine.a, geobox.shape[1])
    rows, first_row, down = _between(geobox.affine.f, geobox.affine.e, geobox.shape[0])
    x, y = np.meshgrid(
        first_column + across * np.arange(int(columns[-1]) + 2), first_row + down * np.arange(int(rows[-1]) + 2)
    )
    if CRS(grids.crs) != geobox.crs:
        x, y = Transformer.from_crs(str(geobox.crs), grids.crs, always_xy=True).transform(x, y)
    return factors_at(grids, bands, x, y), rows, columns


def _between(edge: float, pixel: float, n: int) -> tuple[Doubles, float, float]:
    """Where the centres of n pixels from an edge lie between nodes, the coordinate of the first node, and from one to the next."""
    step = NODE_PX * pixel
    centres = (edge + (np.arange(n) + 0.5) * pixel) / step
    first = np.floor(centres[0])
    return centres - first, float(first * step), step
