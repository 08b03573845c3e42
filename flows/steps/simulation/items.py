"""STAC items of simulated scenes, shaped like those of Planetary Computer (Landsat) and Earth Search v1
(Sentinel-2)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from products.simulation.passes import OFFSET_FROM, Pass, Sun
from products.simulation.response import LANDSAT_OFFSET, LANDSAT_SCALE, MSI_OFFSET, MSI_SCALE

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
EXTENSIONS = "https://stac-extensions.github.io/"
Item = dict[str, Any]

# band: asset, number in the file name, centre wavelength and width in micrometres, as the catalogues state them
OLI_ASSETS = {
    "coastal": ("coastal", 1, 0.44, 0.02), "blue": ("blue", 2, 0.48, 0.06), "green": ("green", 3, 0.56, 0.06),
    "red": ("red", 4, 0.65, 0.04), "nir": ("nir08", 5, 0.86, 0.03), "swir1": ("swir16", 6, 1.6, 0.08),
    "swir2": ("swir22", 7, 2.2, 0.2),
}  # fmt: skip
TM_ASSETS = {
    "blue": ("blue", 1, 0.48, 0.07), "green": ("green", 2, 0.56, 0.08), "red": ("red", 3, 0.66, 0.06),
    "nir": ("nir08", 4, 0.84, 0.13), "swir1": ("swir16", 5, 1.65, 0.2), "swir2": ("swir22", 7, 2.2, 0.28),
}  # fmt: skip
MSI_ASSETS = {
    "coastal": ("coastal", "B01", 0.443, 0.027), "blue": ("blue", "B02", 0.49, 0.098),
    "green": ("green", "B03", 0.56, 0.045), "red": ("red", "B04", 0.665, 0.038),
    "rededge1": ("rededge1", "B05", 0.704, 0.019), "rededge2": ("rededge2", "B06", 0.74, 0.018),
    "rededge3": ("rededge3", "B07", 0.783, 0.028),
    "nir": ("nir", "B08", 0.842, 0.145), "nir_narrow": ("nir08", "B8A", 0.865, 0.033),
    "swir1": ("swir16", "B11", 1.61, 0.143), "swir2": ("swir22", "B12", 2.19, 0.242),
}  # fmt: skip

LANDSAT_PREFIX = {"landsat-5": "LT05", "landsat-7": "LE07", "landsat-8": "LC08", "landsat-9": "LC09"}
LANDSAT_INSTRUMENTS = {"tm": ["tm"], "etm": ["etm+"], "oli": ["oli", "tirs"]}
MSI_PREFIX = {"sentinel-2a": "S2A", "sentinel-2b": "S2B"}
MSI_ORBITS = {
    "sentinel-2a": (140, datetime(2015, 6, 23, tzinfo=UTC)),
    "sentinel-2b": (26, datetime(2017, 3, 7, tzinfo=UTC)),
}
COLLECTION_2 = datetime(2020, 8, 24, tzinfo=UTC)
COLLECTION_1_MSI = datetime(2023, 6, 1, tzinfo=UTC)

QA_FIELDS = (
    ("fill", 0, 1), ("dilated_cloud", 1, 1), ("cirrus", 2, 1), ("cloud", 3, 1), ("cloud_shadow", 4, 1), ("snow", 5, 1),
    ("clear", 6, 1), ("water", 7, 1), ("cloud_confidence", 8, 2), ("cloud_shadow_confidence", 10, 2),
    ("snow_confidence", 12, 2), ("cirrus_confidence", 14, 2),
)  # fmt: skip
CONFIDENCES = ("not_set", "low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Processing:
    """A rendition: when it was made, its Sentinel-2 baseline, and whether the DN carry the offset and the catalogue
    says it took it off."""

    generated: datetime
    baseline: str = ""
    has_offset: bool = False
    offset_applied: bool | None = None


def processing_of(one: Pass) -> Processing:
    """How a pass was first delivered: before 2022 a third of Sentinel-2 is baseline 02.14, a third 05.00, a third
    05.00 with its offset taken off."""
    if not one.is_msi:
        return Processing(max(one.instant + timedelta(days=16), COLLECTION_2))
    if one.instant >= OFFSET_FROM:
        return Processing(one.instant + timedelta(hours=4), "05.09", has_offset=True, offset_applied=False)
    kind = one.instant.toordinal() // 10 % 3
    if kind == 0:
        return Processing(one.instant + timedelta(hours=4), "02.14")
    later = COLLECTION_1_MSI + (one.instant - datetime(one.instant.year, 1, 1, tzinfo=UTC)) / 10
    return Processing(later, "05.00", has_offset=kind == 1, offset_applied=kind == 2)


def item_id(one: Pass, name: str, sequence: int = 0) -> str:
    """`LC08_L2SP_128056_20200126_02_T1` or `S2A_47NPF_20200118_0_L2A`; `sequence` counts renditions of Sentinel-2."""
    day = f"{one.instant:%Y%m%d}"
    if one.is_msi:
        return f"{MSI_PREFIX[one.platform.name]}_{name}_{day}_{sequence}_L2A"
    return f"{LANDSAT_PREFIX[one.platform.name]}_L2SP_{name}_{day}_02_T1"


def file_name(one: Pass, name: str, layer: str, processing: Processing) -> str:
    """The file of a layer: `<product id>_SR_B4.TIF`, `<product id>_QA_PIXEL.TIF`, `B04.tif` or `SCL.tif`."""
    if one.is_msi:
        return "SCL.tif" if layer == "scl" else f"{MSI_ASSETS[layer][1]}.tif"
    bands = OLI_ASSETS if one.platform.sensor == "oli" else TM_ASSETS
    suffix = f"SR_B{bands[layer][1]}" if layer in bands else layer.upper()
    return f"{landsat_product(one, name, processing)}_{suffix}.TIF"


def landsat_product(one: Pass, name: str, processing: Processing) -> str:
    """The product id with its processing date."""
    prefix = LANDSAT_PREFIX[one.platform.name]
    return f"{prefix}_L2SP_{name}_{one.instant:%Y%m%d}_{processing.generated:%Y%m%d}_02_T1"


def scene_item(
    one: Pass, name: str, geoboxes: dict[str, GeoBox], footprint: Geometry, sun: Sun, cloud_cover: float,
    processing: Processing,
) -> Item:  # fmt: skip
    """The item of a scene whose layers (band or quality layer: grid) lie beside it."""
    finest = min(geoboxes.values(), key=lambda geobox: geobox.resolution.x)
    properties = {
        "datetime": stamp(one.instant),
        "platform": one.platform.name,
        "created": stamp(processing.generated + timedelta(hours=6)),
        "updated": stamp(processing.generated + timedelta(hours=6)),
        "eo:cloud_cover": round(cloud_cover, 4),
        "view:sun_elevation": round(sun.elevation_deg, 6),
        "view:sun_azimuth": round(sun.azimuth_deg, 6),
        "proj:epsg": finest.crs.epsg,
        "neocube:simulated": True,
        **(msi_properties(one, name, processing) if one.is_msi else _landsat_properties(one, name, finest)),
    }
    extensions = ("eo/v1.1.0", "projection/v1.1.0", "raster/v1.1.0", "view/v1.0.0")
    own = ("grid/v1.1.0", "mgrs/v1.0.0") if one.is_msi else ("landsat/v1.1.1", "classification/v1.0.0")
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [f"{EXTENSIONS}{extension}/schema.json" for extension in (*extensions, *own)],
        "id": item_id(one, name),
        "collection": "sentinel-2-l2a" if one.is_msi else "landsat-c2-l2",
        "geometry": _rounded(footprint.json),
        "bbox": [round(value, 6) for value in footprint.boundingbox.bbox],
        "properties": properties,
        "links": [],
        "assets": {
            _asset_name(one, layer): _asset(one, name, layer, geobox, processing) for layer, geobox in geoboxes.items()
        },
    }


def _landsat_properties(one: Pass, name: str, geobox: GeoBox) -> dict[str, Any]:
    prefix = LANDSAT_PREFIX[one.platform.name]
    return {
        "instruments": LANDSAT_INSTRUMENTS[one.platform.sensor],
        "gsd": 30,
        "view:off_nadir": 0,
        "proj:shape": list(geobox.shape),
        "proj:transform": list(geobox.affine)[:6],
        "landsat:wrs_type": "2",
        "landsat:wrs_path": name[:3],
        "landsat:wrs_row": name[3:],
        "landsat:collection_category": "T1",
        "landsat:collection_number": "02",
        "landsat:correction": "L2SP",
        "landsat:scene_id": f"{prefix[:2]}{prefix[3]}{name}{one.instant:%Y%j}LGN00",
    }


def msi_properties(one: Pass, name: str, processing: Processing) -> dict[str, Any]:
    """What Earth Search v1 says of a tile's rendition."""
    short, start = MSI_PREFIX[one.platform.name], f"{one.instant:%Y%m%dT%H%M%S}"
    generated = f"{processing.generated:%Y%m%dT%H%M%S}"
    number = "N" + processing.baseline.replace(".", "")
    applied = {} if processing.offset_applied is None else {"earthsearch:boa_offset_applied": processing.offset_applied}
    return {
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "mgrs:utm_zone": int(name[:2]),
        "mgrs:latitude_band": name[2],
        "mgrs:grid_square": name[3:],
        "grid:code": f"MGRS-{name}",
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": processing.baseline,
        "s2:generation_time": stamp(processing.generated),
        "s2:product_uri": f"{short}_MSIL2A_{start}_{number}_R{one.track:03d}_T{name}_{generated}.SAFE",
        "s2:datatake_id": f"G{short}_{start}_{_absolute_orbit(one):06d}_N{processing.baseline}",
        **applied,
    }


def _absolute_orbit(one: Pass) -> int:
    """The orbit nearest the day (14.3 a day since launch) whose relative orbit is the pass's."""
    offset, launch = MSI_ORBITS[one.platform.name]
    guess = round((one.instant - launch) / timedelta(days=1) * 14.3)
    return guess + ((one.track - guess + offset + 71) % 143) - 71


def _asset_name(one: Pass, layer: str) -> str:
    table = MSI_ASSETS if one.is_msi else OLI_ASSETS
    return str(table[layer][0]) if layer in table else layer


def _asset(one: Pass, name: str, layer: str, geobox: GeoBox, processing: Processing) -> dict[str, Any]:
    resolution_m = int(geobox.resolution.x)
    asset: dict[str, Any] = {"href": f"./{file_name(one, name, layer, processing)}", "type": COG, "roles": ["data"]}
    if one.is_msi:
        asset |= {"gsd": resolution_m, "proj:shape": list(geobox.shape), "proj:transform": list(geobox.affine)[:6]}
    table = MSI_ASSETS if one.is_msi else OLI_ASSETS if one.platform.sensor == "oli" else TM_ASSETS
    raster: dict[str, Any] = {
        "nodata": 0,
        "data_type": "uint8" if layer == "scl" else "uint16",
        "spatial_resolution": resolution_m,
    }
    if layer in table:
        common, number, centre, width = table[layer]
        label = str(number) if one.is_msi else f"{one.platform.sensor.upper()}_B{number}"
        asset["eo:bands"] = [
            {"name": label, "common_name": common, "center_wavelength": centre, "full_width_half_max": width}
        ]
        asset["roles"] = ["data", "reflectance"]
        raster |= _scaling(one, processing)
    elif layer == "qa_pixel":
        asset["classification:bitfields"] = [_bitfield(*field) for field in QA_FIELDS]
        asset["roles"] = ["cloud", "cloud-shadow", "snow-ice", "water-mask"]
        raster = {"nodata": 1, "data_type": "uint16", "spatial_resolution": resolution_m, "unit": "bit index"}
    elif layer == "qa_radsat":
        asset["roles"] = ["saturation"]
        raster = {"data_type": "uint16", "spatial_resolution": resolution_m, "unit": "bit index"}
    asset["raster:bands"] = [raster]
    return asset


def _scaling(one: Pass, processing: Processing) -> dict[str, float]:
    """What the catalogue states; Earth Search v1 states an offset from baseline 04.00 on even where it took it off."""
    if not one.is_msi:
        return {"scale": LANDSAT_SCALE, "offset": LANDSAT_OFFSET}
    return {"scale": MSI_SCALE, "offset": MSI_OFFSET if processing.baseline >= "04.00" else 0.0}


def _bitfield(name: str, offset: int, length: int) -> dict[str, Any]:
    names = (f"not_{name}", name) if length == 1 else CONFIDENCES
    classes = [
        {"value": value, "name": text, "description": text.replace("_", " ")} for value, text in enumerate(names)
    ]
    return {"name": name, "offset": offset, "length": length, "classes": classes}


def stamp(instant: datetime) -> str:
    """The instant as items write it."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _rounded(geometry: dict[str, Any]) -> dict[str, Any]:
    rings = [[[round(float(x), 7), round(float(y), 7)] for x, y in ring] for ring in geometry["coordinates"]]
    return {"type": geometry["type"], "coordinates": rings}
