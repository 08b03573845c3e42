"""The metadata of a Sentinel-2 granule (MTD_TL.xml), written as ESA writes it: several detectors, each with NaN where it does not look."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
View = Callable[[int, int], tuple[Doubles, Doubles]]

NODES, STEP_M, DETECTORS, BANDS = 23, 5000, (2, 3, 4), range(13)
ROWS, COLUMNS = np.indices((NODES, NODES)).astype(np.float64)
SUN = 35.0 + 0.03 * ROWS - 0.02 * COLUMNS, 350.0 + 0.9 * COLUMNS  # the azimuth passes north
EDGES = {
    2: (0, 9),
    3: (8, 16),
    4: (15, 21),
}  # the first and last column that a detector sees; none sees the last column of nodes


def view(band: int, detector: int) -> tuple[Doubles, Doubles]:
    """Zenith and azimuth of a band and detector, degrees: the line of sight leans as the satellite flies, and from detector to detector."""
    first, last = EDGES[detector]
    unseen = ~np.isin(COLUMNS, np.arange(first, last + 1)) | (ROWS + COLUMNS < 3)
    zenith = 2.0 + 0.4 * COLUMNS + 0.02 * ROWS + 0.05 * band
    azimuth = 104.0 + (5 if detector % 2 else -5) + 0.3 * ROWS + 0.1 * band
    return np.where(unseen, np.nan, zenith), np.where(unseen, np.nan, azimuth)


def granule_document(
    crs: str = "EPSG:32647", west: float = 499_980, north: float = 600_000, views: View = view,
    bands: Iterable[int] = BANDS, sun: tuple[Doubles, Doubles] = SUN,
) -> bytes:  # fmt: skip
    """The document of a tile."""
    grids = "".join(
        f'<Viewing_Incidence_Angles_Grids bandId="{band}" detectorId="{detector}">{_directions(*views(band, detector))}'
        "</Viewing_Incidence_Angles_Grids>"
        for band in bands
        for detector in DETECTORS
    )
    means = "".join(
        f'<Mean_Viewing_Incidence_Angle bandId="{band}"><ZENITH_ANGLE unit="deg">{6 + 0.05 * band}</ZENITH_ANGLE>'
        f'<AZIMUTH_ANGLE unit="deg">{106 + 0.1 * band}</AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>'
        for band in bands
    )
    sizes = "".join(
        f'<Size resolution="{m}"><NROWS>{109800 // m}</NROWS><NCOLS>{109800 // m}</NCOLS></Size>'
        f'<Geoposition resolution="{m}"><ULX>{west:.0f}</ULX><ULY>{north:.0f}</ULY><XDIM>{m}</XDIM><YDIM>-{m}</YDIM></Geoposition>'
        for m in (10, 20, 60)
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:General_Info><SENSING_TIME metadataLevel="Standard">2020-02-18T03:48:45.625508Z</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info>
<Tile_Geocoding metadataLevel="Brief"><HORIZONTAL_CS_NAME>WGS84 / UTM zone</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>{crs}</HORIZONTAL_CS_CODE>{sizes}</Tile_Geocoding>
<Tile_Angles metadataLevel="Standard">
<Sun_Angles_Grid>{_directions(*sun)}</Sun_Angles_Grid>
<Mean_Sun_Angle><ZENITH_ANGLE unit="deg">35.1</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">0.2</AZIMUTH_ANGLE></Mean_Sun_Angle>
{grids}<Mean_Viewing_Incidence_Angle_List>{means}</Mean_Viewing_Incidence_Angle_List>
</Tile_Angles></n1:Geometric_Info></n1:Level-2A_Tile_ID>""".encode()


def _directions(zenith: Doubles, azimuth: Doubles) -> str:
    return f"<Zenith>{_grid(zenith)}</Zenith><Azimuth>{_grid(azimuth % 360)}</Azimuth>"


def _grid(values: Doubles) -> str:
    lines = "".join(
        f"<VALUES>{' '.join('NaN' if np.isnan(each) else f'{each:.6g}' for each in row)}</VALUES>" for row in values
    )
    return f'<COL_STEP unit="m">{STEP_M}</COL_STEP><ROW_STEP unit="m">{STEP_M}</ROW_STEP><Values_List>{lines}</Values_List>'
