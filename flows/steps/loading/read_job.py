"""What all reads of one tile share."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.mirror_locations import read_nearest
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.read_attempts import Failures
from flows.steps.loading.reading import BandRead, UnreadBand
from flows.steps.loading.wanted_pixels import WantedPixels
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.sensors import SENSORS


@dataclass(frozen=True, slots=True)
class ReadJob:
    """The recipe and the pixels of a tile, how files are opened, which assets failed already, and how far scenes are shifted, in rows and columns."""

    recipe: SceneRecipe
    geobox: GeoBox
    access: RasterAccess
    failed: Failures
    shifts: Mapping[UUID, tuple[float, float]]

    def place(self, scene: Scene, geobox: GeoBox) -> GeoBox:
        """Where the pixels of a geobox lie in a scene."""
        rows, columns = self.shifts.get(scene.id, (0.0, 0.0))
        return geobox.translate_pix(columns, rows) if rows or columns else geobox

    def read(
        self, scene: Scene, band: str, geobox: GeoBox, method: str, out: NDArray[np.uint16],
        wanted: WantedPixels | None = None,
    ) -> BandRead:  # fmt: skip
        """Read a band of a scene onto the pixels of a geobox into out (y, x), at least where they are wanted; UnreadBand if none of its places can be read.

        Reflectance has 0 in the place of its nodata.
        """
        if band not in scene.bands:
            raise UnreadBand(f"the indexed scene {scene.item_id} has no band {band}")
        file = scene.bands[band]
        with self.access.env():
            read = read_nearest(file, self.place(scene, geobox), method, out, wanted)
        if file.nodata > 0 and band in SENSORS[scene.sensor].reflectance:
            out[out == file.nodata] = 0
        return read
