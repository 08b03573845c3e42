"""The masks of a recipe, as its cells use them, against the sky that a simulated archive is known to have had."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import read_band, warp_band
from flows.steps.loading.tile_block import load_observations
from products.errors import RequestError
from products.pixel.mask_scores import Fates, count_fates
from products.scene import BandFile, Scene
from products.scene_recipe import SceneRecipe
from products.simulation.fields import Mask
from products.simulation.strata import FRINGE_M, coast_strata, majority

CELL_M = 5.0  # half a cell of the truth, so that no edge of a Landsat pixel lies inside one
StratumFates = Mapping[tuple[str, str], Fates]


@dataclass(frozen=True, slots=True)
class MaskTruth:
    """The folder `truth` of a simulated archive and its acquisitions by item."""

    folder: Path
    acquisitions: Mapping[str, Mapping[str, Any]]

    def knows(self, scene: Scene) -> bool:
        """Whether the sky of a scene is known."""
        return scene.item_id in self.acquisitions


def read_truth(folder: str) -> MaskTruth:
    """The truth of a simulated archive; RequestError for another folder."""
    path = Path(folder)
    try:
        listed = json.loads((path / "acquisitions.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(
            f"no truth in {folder}: expected the folder that `neocube simulate` calls truth, with acquisitions.json"
        ) from error
    return MaskTruth(path, {each["item_id"]: each for each in listed})


def tile_fates(
    truth: MaskTruth, recipe: SceneRecipe, scenes: Iterable[Scene], geobox: GeoBox, threads: int,
    access: RasterAccess,
) -> StratumFates:  # fmt: skip
    """What became of the observations of a tile by their true sky, for each collection and stratum; scenes without truth are left out."""
    seen = load_observations(recipe, scenes, geobox, threads, access).seen
    strata_at = _strata(truth, geobox)
    fates: dict[tuple[str, str], Fates] = {}
    for scene, causes in zip(seen.scenes, seen.causes, strict=True):
        if not truth.knows(scene):
            continue
        known = truth.acquisitions[scene.item_id]
        sky = np.empty(geobox.shape, np.uint16)
        read_band(_truth_file(truth, known["sky_raster"]), geobox, "nearest", sky)
        for name, where in strata_at(known["tide_m"]).items():
            counted = count_fates(sky.astype(np.uint8), causes, where)
            place = scene.collection, name
            fates[place] = fates[place] + counted if place in fates else counted
    return fates


def _strata(truth: MaskTruth, geobox: GeoBox) -> Callable[[float], Mapping[str, Mask]]:
    """A function from a tide in metres to the strata (y, x) of the pixels of a geobox."""
    resolution_m = geobox.resolution.x
    factor, margin_px = max(round(resolution_m / CELL_M), 1), math.ceil(FRINGE_M / resolution_m)
    wide = geobox.pad(margin_px)
    shape = (wide.shape[0] * factor, wide.shape[1] * factor)
    cells = GeoBox(shape, wide.affine * Affine.scale(1 / factor), wide.crs)
    classes, elevation_m = np.empty(shape, np.uint16), np.empty(shape, np.float32)
    read_band(_truth_file(truth, "classes_10m.tif"), cells, "nearest", classes)
    warp_band(str(truth.folder / "elevation_10m.tif"), 1, np.nan, cells, "nearest", elevation_m)

    @cache
    def at(tide_m: float) -> Mapping[str, Mask]:
        found = coast_strata(classes.astype(np.uint8), elevation_m, tide_m, resolution_m / factor)
        inner = slice(margin_px, -margin_px)
        return {name: majority(mask, factor)[inner, inner] for name, mask in found.items()}

    return at


def _truth_file(truth: MaskTruth, name: str) -> BandFile:
    return BandFile(str(truth.folder / name), 1.0, 0.0, 0)
