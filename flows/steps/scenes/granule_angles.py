"""The angle grids in the metadata of a Sentinel-2 granule (MTD_TL.xml of Level-1C and Level-2A).

Sentinel-2 Products Specification Document, Tile_Angles: zenith and azimuth of the sun, and of the view of each band and detector, at nodes 5 km apart, the
first at the upper left corner of the tile; NaN where a detector does not look.
"""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np

from flows.steps.archives.item_refused import ItemRefused, brief
from flows.steps.archives.landsat_mtl import safe_xml
from products.pixel.angle_grids import AngleGrids, Directions, merged

# bandId: the bands of the instrument in order of wavelength
BAND_NUMBERS = {
    "coastal": 0, "blue": 1, "green": 2, "red": 3, "rededge1": 4, "rededge2": 5, "rededge3": 6, "nir": 7, "nir_narrow": 8,
    "swir1": 11, "swir2": 12,
}  # fmt: skip

UTM_ZONE = re.compile(r"EPSG:32[67](0[1-9]|[1-5]\d|60)")
Steps = tuple[float, float]


def granule_angles(raw: bytes) -> AngleGrids:
    """The angle grids of MTD_TL.xml, its detectors merged; ItemRefused where it says too little.

    A band that no detector sees at any node, as in a tile that the swath only touches, has its mean view of the tile.
    """
    root = safe_xml("the metadata", raw)
    try:
        sun_grid = _one(root, "Sun_Angles_Grid")
        steps = _steps(sun_grid)
        sun = merged([_directions(sun_grid, steps)])
        views = {band: _view(root, str(number), steps, sun) for band, number in BAND_NUMBERS.items()}
        west, north = _number(root, "ULX"), _number(root, "ULY")
        return AngleGrids(_zone(root), west, north, steps, sun, views)
    except ItemRefused:
        raise
    except ValueError as error:
        raise ItemRefused(f"the angles of the metadata are no grids: {error}") from error


def _zone(root: Element) -> str:
    """The UTM zone of the tile."""
    code = _text(_one(root, "HORIZONTAL_CS_CODE")).upper()
    if not UTM_ZONE.fullmatch(code):
        raise ItemRefused(
            f"HORIZONTAL_CS_CODE is {brief(code)}: expected a UTM zone, EPSG:32601 to 32660 or 32701 to 32760"
        )
    return code


def _view(root: Element, number: str, steps: Steps, sun: Directions) -> Directions:
    """The view of one band over the nodes of the sun."""
    detectors = [_directions(each, steps) for each in _of_band(root, "Viewing_Incidence_Angles_Grids", number)]
    for each in detectors:
        if each.zenith_deg.shape != sun.zenith_deg.shape:
            raise ItemRefused(
                f"view angles of bandId {number} at {each.zenith_deg.shape} nodes: expected those of the sun, {sun.zenith_deg.shape}"
            )
    if any(np.isfinite(each.zenith_deg + each.azimuth_deg).any() for each in detectors):
        return merged(detectors)
    mean = next(_of_band(root, "Mean_Viewing_Incidence_Angle", number), None)
    if mean is None:
        raise ItemRefused(f"no view angles of bandId {number}: expected Viewing_Incidence_Angles_Grids")
    zenith, azimuth = (_number(mean, tag) for tag in ("ZENITH_ANGLE", "AZIMUTH_ANGLE"))
    return merged([Directions(np.full_like(sun.zenith_deg, zenith), np.full_like(sun.zenith_deg, azimuth))])


def _of_band(root: Element, tag: str, number: str) -> Iterator[Element]:
    return (each for each in root.iter(tag) if each.get("bandId") == number)


def _steps(grid: Element) -> Steps:
    steps = _number(grid, "ROW_STEP"), _number(grid, "COL_STEP")
    if min(steps) <= 0:
        raise ItemRefused(f"expected nodes some metres apart, got ROW_STEP and COL_STEP {steps}")
    return steps


def _directions(grid: Element, steps: Steps) -> Directions:
    zenith, azimuth = (_values(_one(grid, tag), steps) for tag in ("Zenith", "Azimuth"))
    if zenith.shape != azimuth.shape:
        raise ItemRefused(f"zenith at {zenith.shape} nodes, azimuth at {azimuth.shape}")
    if not ((zenith >= 0) & (zenith <= 180) | np.isnan(zenith)).all():
        raise ItemRefused("expected zenith angles of 0 to 180 degrees")
    if not ((np.abs(azimuth) <= 360) | np.isnan(azimuth)).all():
        raise ItemRefused("expected azimuths of -360 to 360 degrees")
    return Directions(zenith, azimuth)


def _values(grid: Element, steps: Steps) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """float64 (row, column) of the lines of one grid."""
    if _steps(grid) != steps:
        raise ItemRefused(f"nodes {_steps(grid)} m apart: expected those of the sun, {steps} m")
    values = np.array([_text(line).split() for line in grid.iter("VALUES")], np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ItemRefused(f"a grid of {values.shape} nodes: expected 2 x 2 or more in Values_List")
    return values


def _number(root: Element, tag: str) -> float:
    number = float(_text(_one(root, tag)))
    if not np.isfinite(number):
        raise ItemRefused(f"{tag} is {number}: expected a number")
    return number


def _one(root: Element, tag: str) -> Element:
    found = next(root.iter(tag), None)
    if found is None:
        raise ItemRefused(f"no {tag}: expected the metadata of a Sentinel-2 granule (MTD_TL.xml)")
    return found


def _text(element: Element) -> str:
    return (element.text or "").strip()
