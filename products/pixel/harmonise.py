"""Band-pass adjustment of surface reflectance (0 to 1) to Landsat 8 OLI: OLI = slope * sensor + intercept."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from products.errors import RequestError
from products.scene import Scene

Line = tuple[float, float]

ROY2016_ETM_TO_OLI: Mapping[str, Line] = MappingProxyType(
    {
        "blue": (0.9785, -0.0095),
        "green": (0.9542, -0.0016),
        "red": (0.9825, -0.0022),
        "nir": (1.0073, -0.0021),
        "swir1": (1.0171, -0.0030),
        "swir2": (0.9949, 0.0029),
    }
)
"""Roy et al. 2016, Remote Sensing of Environment 185, 57-70, Table 2: reduced major axis, surface reflectance, ETM+
to OLI; used for TM too."""

HLS_MSI_A_TO_OLI: Mapping[str, Line] = MappingProxyType(
    {
        "coastal": (0.9959, -0.0002),
        "blue": (0.9778, -0.0040),
        "green": (1.0053, -0.0009),
        "red": (0.9765, 0.0009),
        "nir_narrow": (0.9983, -0.0001),
        "swir1": (0.9987, -0.0011),
        "swir2": (1.0030, -0.0012),
    }
)
"""Claverie et al. 2018, Remote Sensing of Environment 219, 145-161, and the HLS v2.0 user guide: Sentinel-2A to OLI;
NIR is B8A."""

HLS_MSI_B_TO_OLI: Mapping[str, Line] = MappingProxyType(
    {
        "coastal": (0.9959, -0.0002),
        "blue": (0.9778, -0.0040),
        "green": (1.0075, -0.0008),
        "red": (0.9761, 0.0010),
        "nir_narrow": (0.9966, 0.0000),
        "swir1": (1.0000, -0.0003),
        "swir2": (0.9867, 0.0004),
    }
)
"""Sentinel-2B to OLI, of the same sources."""

TO_OLI: Mapping[str, Mapping[str, Line]] = MappingProxyType(
    {
        "landsat-4": ROY2016_ETM_TO_OLI,
        "landsat-5": ROY2016_ETM_TO_OLI,
        "landsat-7": ROY2016_ETM_TO_OLI,
        "landsat-8": MappingProxyType({}),
        "landsat-9": MappingProxyType({}),
        "sentinel-2a": HLS_MSI_A_TO_OLI,
        "sentinel-2b": HLS_MSI_B_TO_OLI,
    }
)
"""Platform -> band -> (slope, intercept); a platform that is missing is not covered by the published tables."""

STANDS_IN: Mapping[str, str] = MappingProxyType({"sentinel-2c": "sentinel-2a", "sentinel-2d": "sentinel-2a"})
"""Policy for platforms that no published table covers: they take the lines of another one, and plans say so. Sentinel-2C is
in the orbit of 2A, which it replaced in January 2025; the slopes of 2A and 2B themselves differ by 1.7 % at most (swir2)."""


def oli_adjustment(platform: str, band: str) -> Line:
    """(slope, intercept) of a band to OLI; (1, 0) where the published tables have none. For Sentinel-2C and D see STANDS_IN."""
    table = TO_OLI[STANDS_IN.get(platform, platform)]
    name = "nir_narrow" if band == "nir" and platform.startswith("sentinel-2") else band
    return table.get(name, (1.0, 0.0))


def check_platforms(scenes: Sequence[Scene]) -> None:
    """RequestError for scenes of platforms that no line is known for."""
    known = (*TO_OLI, *STANDS_IN)
    lacking = [scene for scene in scenes if scene.platform not in known]
    if lacking:
        raise RequestError(
            f"harmonise: no published line is of the platform of {len(lacking)} of {len(scenes)} scenes, the first {lacking[0].item_id} of platform "
            f"{lacking[0].platform!r}: expected one of {', '.join(known)}, as the eo:platform of its dataset; correct it there, keep them out by "
            "`platforms`, or say none for their sensor (tm_etm: none, msi: none)"
        )


def stand_in_notes(platforms: Iterable[str]) -> list[str]:
    """What to say of scenes, by their platforms, that take the lines of another platform."""
    counts = Counter(platform for platform in platforms if platform in STANDS_IN)
    return [
        f"{n} scenes of {platform} are harmonised as {STANDS_IN[platform]}: no published table covers them"
        for platform, n in sorted(counts.items())
    ]
