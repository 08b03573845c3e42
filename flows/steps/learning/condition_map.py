"""The dated map of a condition: one pass of a cube of observations as a COG and a picture, and how much of the ground it holds on."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from flows.steps.cubes.cube_pieces import open_pieces, piece_tails, window_of
from flows.steps.cubes.open_cube import geobox_of
from flows.steps.learning.map_files import cog
from flows.steps.loading.source_grid import covered_by
from flows.steps.pictures.map import map_picture
from flows.steps.storage import Storage
from products.area import Area
from products.condition import NO, UNSEEN, YES, condition_codes, parse_condition
from products.learning.ground_area import ROWS_AT_ONCE, ground_of_codes
from products.learning.maps import M2_PER_HA
from products.pixel.causes import NOT_EXPECTED, Cause

COLOURS = {NO: (217, 200, 160), YES: (202, 0, 32)}


@dataclass(frozen=True, slots=True)
class DatedMap:
    """Where a map and its picture lie, and all `maps` and `pictures` of sites far apart, the first of which these are.

    The share of the area that was seen, and of that the share that is so, and its hectares on the ground.
    """

    map: str
    picture: str
    clear_share: float
    share: float | None
    hectares: float | None
    maps: tuple[str, ...]
    pictures: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class PassedSite:
    """One pass of a cube, or of a piece of it, cut to the bounding box of the area there."""

    geobox: GeoBox
    seen: xarray.Dataset
    ground: Geometry

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Whether the centre of each pixel lies in the area, (y, x)."""
        return covered_by(self.ground, self.geobox)

    @property
    def is_passed(self) -> bool:
        """Whether a scene of the pass covers a pixel."""
        return bool((self.seen["cause"] != NOT_EXPECTED).any())

    def codes(self, when: str) -> NDArray[np.uint8]:
        """UNSEEN, NO or YES of each pixel (y, x)."""
        strips = []
        for start in range(0, self.geobox.height, ROWS_AT_ONCE):
            rows = self.seen.isel(y=slice(start, start + ROWS_AT_ONCE))
            bands = {str(band): rows["reflectance"].sel(band=band).values for band in rows["band"].values}
            is_clear = rows["cause"].values == Cause.USED
            strips.append(condition_codes(parse_condition(when, frozenset(bands)), bands, is_clear))
        return np.concatenate(strips)


def write_condition_map(
    storage: Storage, cube_url: str, crs: str, pass_id: str, when: str, area: Area, folder: str
) -> DatedMap:
    """Write map.tif (0 not seen, 1 no, 2 yes) and map.png of a pass over an area into a folder of the store.

    Of sites far apart map_1.tif, map_2.tif, …: those that the pass went over.
    """
    sites = [_site(piece, crs, pass_id, area) for piece in open_pieces(cube_url, storage.options)]
    passed = sites if len(sites) == 1 else [site for site in sites if site.is_passed] or sites[:1]
    n_inside = sum(int(site.inside.sum()) for site in sites if site not in passed)
    counts, ground_m2 = np.zeros(YES + 1, np.int64), np.zeros(YES + 1)
    maps, pictures = [], []
    for site, tail in zip(passed, piece_tails(passed), strict=True):
        codes, inside = site.codes(when), site.inside
        n_inside += int(inside.sum())
        counts += np.bincount(codes[inside], minlength=YES + 1)
        x, y = (site.geobox.coordinates[axis].values for axis in ("x", "y"))
        ground_m2 += ground_of_codes(codes, inside, YES + 1, crs, x, y, float(site.geobox.resolution.x))
        maps.append(f"{folder}/map{tail}.tif")
        pictures.append(f"{folder}/map{tail}.png")
        with storage.writing(folder, f"the map of {pass_id}"):
            storage.write_bytes(maps[-1], _raster(codes, site.geobox, pass_id, when))
            picture = map_picture(codes, site.geobox, (f"not {when}", when), COLOURS, f"{when}, {pass_id}")
            storage.write_bytes(pictures[-1], picture)
    n_seen, n_yes = int(counts[NO] + counts[YES]), int(counts[YES])
    share = n_yes / n_seen if n_seen else None
    hectares = float(ground_m2[YES]) / M2_PER_HA if n_seen else None
    clear_share = n_seen / max(n_inside, 1)
    return DatedMap(maps[0], pictures[0], clear_share, share, hectares, tuple(maps), tuple(pictures))


def _site(piece: xarray.Dataset, crs: str, pass_id: str, area: Area) -> PassedSite:
    whole = geobox_of(piece, crs)
    here = area.geometry.to_crs(whole.crs)
    rows, columns = window_of(here, whole)
    number = [str(name) for name in piece["pass_id"].values].index(pass_id)
    seen = piece[["reflectance", "cause"]].isel(time=number, y=rows, x=columns)
    return PassedSite(whole[rows, columns], seen, here)


def _raster(codes: NDArray[np.uint8], geobox: GeoBox, pass_id: str, when: str) -> bytes:
    tags = {"condition": when, "pass": pass_id, "codes": f"{UNSEEN}=not seen, {NO}=no, {YES}=yes"}
    table = {UNSEEN: (0, 0, 0, 0)} | {code: (*colour, 255) for code, colour in COLOURS.items()}
    return cog(codes[None], geobox, UNSEEN, "MODE", tags, ("condition",), table)


def write_json(storage: Storage, path: str, document: dict[str, Any]) -> None:
    """Put a document."""
    storage.write_bytes(path, json.dumps(document, indent=2).encode())
