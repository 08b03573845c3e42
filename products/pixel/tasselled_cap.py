"""Tasselled cap: brightness, greenness and wetness as weighted sums of reflectance."""

from collections.abc import Mapping
from types import MappingProxyType

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
Weights = Mapping[str, tuple[float, ...]]

CRIST1985: Weights = MappingProxyType(
    {
        "brightness": (0.2043, 0.4158, 0.5524, 0.5741, 0.3124, 0.2303),
        "greenness": (-0.1603, -0.2819, -0.4934, 0.7940, -0.0002, -0.1446),
        "wetness": (0.0315, 0.2021, 0.3102, 0.1594, -0.6806, -0.6109),
    }
)
"""Crist 1985, Remote Sensing of Environment 17, 301-306: reflectance factors of TM, the usual choice for surface reflectance of any of these sensors."""

HUANG2002: Weights = MappingProxyType(
    {
        "brightness": (0.3561, 0.3972, 0.3904, 0.6966, 0.2286, 0.1596),
        "greenness": (-0.3344, -0.3544, -0.4556, 0.6966, -0.0242, -0.2630),
        "wetness": (0.2626, 0.2141, 0.0926, 0.0656, -0.7629, -0.5388),
    }
)
"""Huang et al. 2002, International Journal of Remote Sensing 23, 1741-1748: at-satellite reflectance of ETM+."""

BAIG2014: Weights = MappingProxyType(
    {
        "brightness": (0.3029, 0.2786, 0.4733, 0.5599, 0.5080, 0.1872),
        "greenness": (-0.2941, -0.2430, -0.5424, 0.7276, 0.0713, -0.1608),
        "wetness": (0.1511, 0.1973, 0.3283, 0.3407, -0.7117, -0.4559),
    }
)
"""Baig et al. 2014, Remote Sensing Letters 5, 423-431: at-satellite reflectance of OLI."""

SHI2019: Weights = MappingProxyType(
    {
        "brightness": (0.3510, 0.3813, 0.3437, 0.7196, 0.2396, 0.1949),
        "greenness": (-0.3599, -0.3533, -0.4734, 0.6633, 0.0087, -0.2856),
        "wetness": (0.2578, 0.2305, 0.0883, 0.1071, -0.7611, -0.5308),
    }
)
"""Shi and Xu 2019, IEEE JSTARS, doi:10.1109/JSTARS.2019.2938388: at-sensor reflectance of MSI, with B8 for the near infrared."""

TASSELLED_CAP: Mapping[str, Weights] = MappingProxyType(
    {"crist1985": CRIST1985, "huang2002": HUANG2002, "baig2014": BAIG2014, "shi2019": SHI2019}
)


def component_formula(coefficients: str, component: str) -> str:
    """The weighted sum of a component over band names."""
    weights = TASSELLED_CAP[coefficients][component]
    return " + ".join(f"({weight}) * {band}" for weight, band in zip(weights, BANDS, strict=True))
