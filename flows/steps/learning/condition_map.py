"""The dated map of a condition: one pass of a cube of observations as a COG and a picture, and how much of the ground it holds on."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flows.steps.cubes.open_cube import geobox_of, open_snapshot
from flows.steps.learning.map_files import cog
from flows.steps.loading.source_grid import covered_by
from flows.steps.pictures.map import map_picture
from flows.steps.storage import Storage
from products.area import Area
from products.condition import NO, UNSEEN, YES, condition_codes, parse_condition
from products.learning.ground_area import ground_of_codes
from products.learning.maps import M2_PER_HA
from products.pixel.causes import Cause

COLOURS = {NO: (217, 200, 160), YES: (202, 0, 32)}


@dataclass(frozen=True, slots=True)
class DatedMap:
    """Where a map and its picture lie; the share of the area that was seen, and of that the share that is so, and its hectares on the ground."""

    map: str
    picture: str
    clear_share: float
    share: float | None
    hectares: float | None

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def write_condition_map(
    storage: Storage, cube_url: str, crs: str, pass_id: str, when: str, area: Area, folder: str
) -> DatedMap:
    """Write map.tif (0 not seen, 1 no, 2 yes) and map.png of a pass over an area into a folder of the store."""
    cube = open_snapshot(cube_url, storage.options)
    whole = geobox_of(cube, crs)
    here = area.geometry.to_crs(whole.crs)
    rows, columns = whole.overlap_roi(whole.enclosing(here), tol=0.01)
    geobox = whole[rows, columns]
    number = [str(name) for name in cube["pass_id"].values].index(pass_id)
    seen = cube.isel(time=number, y=rows, x=columns)
    bands = {str(band): seen["reflectance"].sel(band=band).values for band in seen["band"].values}
    is_clear = seen["cause"].values == Cause.USED
    codes = condition_codes(parse_condition(when, frozenset(bands)), bands, is_clear)
    inside = covered_by(here, geobox)
    counts = np.bincount(codes[inside], minlength=YES + 1)
    x, y = (geobox.coordinates[axis].values for axis in ("x", "y"))
    ground_m2 = ground_of_codes(codes, inside, YES + 1, crs, x, y, float(geobox.resolution.x))
    n_seen, n_yes = int(counts[NO] + counts[YES]), int(counts[YES])
    tags = {"condition": when, "pass": pass_id, "codes": f"{UNSEEN}=not seen, {NO}=no, {YES}=yes"}
    table = {UNSEEN: (0, 0, 0, 0)} | {code: (*colour, 255) for code, colour in COLOURS.items()}
    names = (f"not {when}", when)
    with storage.writing(folder, f"the map of {pass_id}"):
        storage.write_bytes(f"{folder}/map.tif", cog(codes[None], geobox, UNSEEN, "MODE", tags, ("condition",), table))
        picture = map_picture(codes, geobox, names, COLOURS, f"{when}, {pass_id}")
        storage.write_bytes(f"{folder}/map.png", picture)
    share = n_yes / n_seen if n_seen else None
    hectares = float(ground_m2[YES]) / M2_PER_HA if n_seen else None
    clear_share = n_seen / max(int(inside.sum()), 1)
    return DatedMap(f"{folder}/map.tif", f"{folder}/map.png", clear_share, share, hectares)


def write_json(storage: Storage, path: str, document: dict[str, Any]) -> None:
    """Put a document."""
    storage.write_bytes(path, json.dumps(document, indent=2).encode())
