"""Each decision of docs/scenes.md on items that differ from real ones in that one point."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from odc.geo.crs import CRS
from odc.geo.geom import box

from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.scenes.footprint import AssetGrid, FileGrid, read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise

SITE = "https://stac.example.org/collections/c/items"
Item = dict[str, Any]


def scene_of(item: Item, read_grid: Callable[[str], FileGrid | None] = read_file_grid) -> SceneDocument:
    return normalise(item, ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset()), "test", read_grid)


def refusal(item: Item) -> str:
    with pytest.raises(ItemRefused, match=".") as caught:
        scene_of(item)
    return str(caught.value)


@pytest.fixture
def landsat(shared_data: Path) -> Item:
    """Landsat 8, path 197, from Planetary Computer, its grid in the properties only."""
    path = shared_data / "stac/planetary_computer/landsat/netherlands_timeseries_60_items.json"
    item: Item = json.loads(path.read_text())["features"][0]
    for asset in item["assets"].values():
        for name in ("proj:shape", "proj:transform", "proj:bbox"):
            item["properties"][name] = asset.pop(name, None) or item["properties"].get(name)
    return item


@pytest.fixture
def msi(shared_data: Path) -> Item:
    """Sentinel-2B, tile 31UDQ, from Earth Search v1."""
    item: Item = json.loads((shared_data / "stac/earth_search/v1/31UDQ_2023_3_items.json").read_text())["features"][0]
    return item


@pytest.fixture
def cdse(shared_data: Path) -> Item:
    """Sentinel-2B, tile 36NYH, STAC 1.1 of Copernicus."""
    document = json.loads((shared_data / "stac/cdse/S2B_20200322_T36NYH_N0500.json").read_text())
    item: Item = document["features"][0]
    return item


def lonlat_of(grid: dict[str, Any], crs: str, margin: float = 0.05) -> Item:
    """A footprint inside a grid, as GeoJSON, its longitudes folded into -180 to 180."""
    rows, columns = grid["proj:shape"]
    a, _, west, _, e, north = grid["proj:transform"][:6]
    bounds = (
        west + a * columns * margin,
        north + e * rows * (1 - margin),
        west + a * columns * (1 - margin),
        north + e * rows * margin,
    )
    geometry: Item = box(*bounds, crs).to_crs("EPSG:4326").json
    return geometry


def put(item: Item, crs: str, west: float, north: float) -> Item:
    """A Landsat item whose grid starts at a corner in a CRS."""
    grid = {"proj:shape": [7000, 7000], "proj:transform": [30.0, 0.0, west, 0.0, -30.0, north]}
    moved = copy.deepcopy(item)
    for name in ("proj:epsg", "proj:code", "proj:wkt2"):
        moved["properties"].pop(name, None)
    moved["properties"] |= grid | {"proj:code": crs}
    moved["geometry"] = lonlat_of(grid, crs)
    return moved


POLAR = [
    ("EPSG:3031", 300_000, -900_000), ("EPSG:3031", -900_000, 1_000_000), ("EPSG:3031", -100_000, -1_500_000),
    ("EPSG:3413", -300_000, -900_000), ("EPSG:3413", 200_000, -2_000_000), ("EPSG:3995", 900_000, 900_000),
]  # fmt: skip


@pytest.mark.parametrize(("crs", "west", "north"), POLAR)
def test_a_polar_stereographic_scene_stays_in_its_system(landsat: Item, crs: str, west: float, north: float) -> None:
    document = scene_of(put(landsat, crs, west, north)).document
    assert document["crs"] == crs and "neocube:note" not in document["properties"]
    placed = shapely.geometry.shape(document["geometry"])
    assert placed.area == pytest.approx((7000 * 30 * 0.9) ** 2, rel=1e-3)
    assert document["extent"]["lon"]["end"] - document["extent"]["lon"]["begin"] < 90


def test_a_polar_scene_with_the_code_of_another_system_is_put_where_its_geometry_is(landsat: Item) -> None:
    item = put(landsat, "EPSG:3031", 300_000, -900_000)
    item["properties"]["proj:code"] = "EPSG:32633"
    document = scene_of(item).document
    assert document["crs"] == "EPSG:3031"
    assert document["properties"]["neocube:note"].startswith("stated EPSG:32633 puts the grid elsewhere")


@pytest.mark.parametrize("stated", ["EPSG:32732", "EPSG:32631", "EPSG:3857", "EPSG:3271", "EPSG:4326"])
def test_a_wrong_code_is_replaced_by_the_zone_of_the_geometry(landsat: Item, stated: str) -> None:
    landsat["properties"].pop("proj:epsg", None)
    landsat["properties"]["proj:code"] = stated
    document = scene_of(landsat).document
    assert document["crs"] == "EPSG:32632"
    assert f"stated {stated} puts the grid elsewhere" in document["properties"]["neocube:note"]


def test_a_grid_that_is_nowhere_near_the_geometry_is_refused(landsat: Item) -> None:
    landsat["properties"]["proj:transform"] = [30.0, 0.0, 5.0e6, 0.0, -30.0, 1.0e7]
    assert "does not meet the geometry of the item" in refusal(landsat)


STATED = [
    {"proj:epsg": 32632}, {"proj:code": "EPSG:32632"}, {"proj:code": "epsg:32632"}, {"eo:epsg": 32632},
    {"proj:epsg": None, "proj:wkt2": CRS("EPSG:32632").to_wkt()}, {"proj:code": None, "proj:epsg": "32632"},
]  # fmt: skip


@pytest.mark.parametrize("stated", STATED)
def test_a_coordinate_system_is_read_as_any_version_of_stac_writes_it(landsat: Item, stated: Item) -> None:
    landsat["properties"].pop("proj:epsg", None)
    landsat["properties"] |= stated
    assert scene_of(landsat).document["crs"] == "EPSG:32632"


HOSTILE_SYSTEMS = [
    ({"proj:code": "+proj=utm +zone=32 +nadgrids=/etc/passwd"}, "unknown coordinate system"),
    ({"proj:code": "+init=/etc/passwd:1"}, "unknown coordinate system"),
    ({"proj:code": "https://example.org/crs"}, "unknown coordinate system"),
    ({"proj:code": "EPSG:999999"}, "unknown coordinate system 'EPSG:999999'"),
    ({"proj:code": "EPSG:5703"}, "is not one of maps"),
    ({"proj:code": "EPSG:4978"}, "is not one of maps"),
    ({"proj:code": ["EPSG:32632"]}, "unknown coordinate system"),
    ({"proj:epsg": 10**400}, "unknown coordinate system"),
    ({"proj:epsg": True}, "unknown coordinate system"),
    ({"proj:wkt2": "/etc/passwd"}, "unreadable proj:wkt2"),
    ({"proj:wkt2": 'PROJCRS["x"'}, "unreadable proj:wkt2"),
]


@pytest.mark.parametrize(("stated", "cause"), HOSTILE_SYSTEMS)
def test_only_known_codes_reach_proj(landsat: Item, stated: Item, cause: str) -> None:
    landsat["properties"].pop("proj:epsg", None)
    landsat["properties"] |= stated
    assert cause in refusal(landsat)


def test_two_coordinate_systems_in_one_item_are_refused(msi: Item) -> None:
    msi["assets"]["red"]["proj:code"] = "EPSG:32632"
    assert refusal(msi) == "two coordinate systems in one item: EPSG:32631 and EPSG:32632"


def test_without_proj_the_header_of_the_file_is_read(landsat: Item) -> None:
    grid = AssetGrid(tuple(landsat["properties"].pop("proj:shape")), tuple(landsat["properties"].pop("proj:transform")))
    assert refusal(landsat).startswith("no grid for coastal: expected proj:shape and proj:transform")
    code = f"EPSG:{landsat['properties'].pop('proj:epsg')}"
    assert refusal(landsat).startswith("no grid for coastal: expected proj:code, proj:shape and proj:transform")
    document = scene_of(landsat, lambda href: (code, grid)).document
    assert (document["crs"], document["grids"]["default"]["shape"]) == (code, list(grid.shape))


def across(west: float, east: float) -> list[list[float]]:
    return [[west, 61.0], [east, 61.0], [east, 62.0], [west, 62.0], [west, 61.0]]


ACROSS = [
    {"type": "Polygon", "coordinates": [across(179.0, 181.0)]},
    {"type": "Polygon", "coordinates": [across(-181.0, -179.0)]},
    {"type": "Polygon", "coordinates": [across(179.0, -179.0)]},
    {"type": "Polygon", "coordinates": [across(-179.0, 179.0)]},
    {"type": "MultiPolygon", "coordinates": [[across(179.0, 180.0)], [across(-180.0, -179.0)]]},
    {"type": "MultiPolygon", "coordinates": [[across(-180.0, -179.0)], [across(179.0, 180.0)]]},
    {
        "type": "GeometryCollection",
        "geometries": [
            {"type": "Point", "coordinates": [0, 0]},
            {"type": "MultiPolygon", "coordinates": [[across(179.0, 180.0)], [across(-180.0, -179.0)]]},
        ],
    },
]


@pytest.mark.parametrize("geometry", ACROSS)
def test_a_footprint_across_the_antimeridian_is_one_polygon_however_it_is_written(
    landsat: Item, geometry: Item
) -> None:
    item = put(landsat, "EPSG:32601", 290_000, 6_930_000)
    item["geometry"] = geometry
    document = scene_of(item).document
    assert document["geometry"]["type"] == "Polygon"
    assert document["extent"]["lon"] == pytest.approx({"begin": 179.0, "end": 181.0})
    half_deg = 1.0 if geometry["type"] == "Polygon" else 0.5  # of the northern edge of a part, a great circle
    north = math.degrees(math.atan(math.tan(math.radians(62)) / math.cos(math.radians(half_deg))))
    assert document["extent"]["lat"] == pytest.approx({"begin": 61.0, "end": north}, abs=1e-9)


def test_a_hole_across_the_antimeridian_stays_in_its_footprint(landsat: Item) -> None:
    item = put(landsat, "EPSG:32601", 290_000, 6_930_000)
    hole = [[-179.6, 61.4], [-179.4, 61.4], [-179.4, 61.6], [-179.6, 61.6], [-179.6, 61.4]]
    whole = shapely.geometry.shape(scene_of({**item, "geometry": ACROSS[0]}).document["geometry"])
    item["geometry"] = {"type": "Polygon", "coordinates": [across(179.0, -179.0), hole]}
    placed = shapely.geometry.shape(scene_of(item).document["geometry"])
    assert len(placed.interiors) == 1 and 0.9 * whole.area < placed.area < whole.area


WORLD = [
    ([[-180, -80], [180, -80], [180, 80], [-180, 80], [-180, -80]], "the geometry wraps the world: an edge is 360"),
    ([[-170, 50], [-60, 50], [60, 50], [170, 50], [170, 51], [-170, 51], [-170, 50]], "the geometry runs round a pole"),
    ([[-70, 50], [70, 50], [70, 51], [-70, 51], [-70, 50]], "the geometry wraps the world: it is 140 degrees wide"),
    ([[0, 85], [90, 85], [180, 85], [270, 85], [360, 85], [0, 85]], "the geometry wraps the world"),
    ([[5e5, 5e6], [6e5, 5e6], [6e5, 6e6], [5e5, 5e6]], "the geometry is not in degrees: it spans 500000 to 600000"),
    ([[5, 95], [6, 95], [6, 96], [5, 95]], "the geometry is not in degrees"),
    ([[5, 51], [5, 51], [5, 51], [5, 51]], "the geometry has no surface"),
    ([[5, 51], [6, 52]], "unreadable geometry: a ring of 2 vertices"),
    ([[5, 51], [6, None], [6, 52], [5, 51]], "unreadable geometry"),
    ([[5, 51], [6, float("nan")], [6, 52], [5, 51]], "the geometry is not in degrees"),
    ([[5, 51], [10**400, 51], [6, 52], [5, 51]], "unreadable geometry"),
    ([[5 + n / 1e5, 51 + n % 2] for n in range(20_001)], "more than 20000 vertices"),
    ([[5 + n * 7919 % 1000 / 1e3, 51 + n * 104729 % 997 / 1e3] for n in range(1000)], "its rings cross each other"),
]  # fmt: skip


@pytest.mark.parametrize(("ring", "cause"), WORLD)
def test_a_footprint_that_cannot_be_is_refused(landsat: Item, ring: list[Any], cause: str) -> None:
    landsat["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    assert cause in refusal(landsat)


@pytest.mark.parametrize(
    "geometry", [None, {}, {"type": "Point", "coordinates": [5, 51]}, {"type": "Polygon"}, [], "POLYGON"]
)
def test_an_item_without_a_polygon_is_refused(landsat: Item, geometry: Any) -> None:
    landsat["geometry"] = geometry
    assert "geometry: expected a" in refusal(landsat)


def test_rings_that_cross_are_made_valid(landsat: Item) -> None:
    (a, b, c, d, e) = landsat["geometry"]["coordinates"][0]
    landsat["geometry"]["coordinates"] = [[a, c, b, d, e]]
    placed = shapely.geometry.shape(scene_of(landsat).document["geometry"])
    assert placed.is_valid and placed.area > 0


OTHERS = [
    ("LM02_L1TP_197023_19770324_20200907_02_T2", "landsat-2", "Landsat MSS is not read: it has no Level-2"),
    ("LM05_L1TP_197023_19870324_20200907_02_T2", "landsat-5", "Landsat MSS is not read"),
    ("LM51970231987083ESA00", "landsat-5", "Landsat MSS is not read"),
    ("LC08_L1TP_197023_20220324_20220330_02_T1", "landsat-8", "'c' is another product: .*, got LC08_L1TP_197023"),
    ("LC08_L2SP_197023_20220324_20220330_01_T1", "landsat-8", "expected a Landsat Collection 02 product id"),
    ("LC08_L2SP_197023_20220324_02_T1", "landsat-8", "expected a Landsat Collection 02 product id with its processing"),
    ("LC09_L2SP_197023_20220324_20220330_02_T1", "landsat-8", "'landsat-8' contradicts the product id LC09_L2SP"),
    ("LC08_L2SP_197023_20221324_20220330_02_T1", "landsat-8", "no path, row and days in the product id"),
    ("LC08_L2SP_997023_20220324_20220330_02_T1", "landsat-8", "no path, row and days in the product id"),
    ("S1A_IW_GRDH_1SDV", "sentinel-1a", "platform 'sentinel-1a' of collection 'c' is not read"),
]


@pytest.mark.parametrize(("name", "platform", "cause"), OTHERS)
def test_what_is_not_read_says_what_it_is(landsat: Item, name: str, platform: str, cause: str) -> None:
    for asset in landsat["assets"].values():
        asset["href"] = f"https://host.example.org/{name}/{name}_SR_B1.TIF"
    landsat |= {"id": name, "collection": "c"}
    landsat["properties"] = {"platform": platform, "datetime": "2022-03-24T10:00:00Z"}
    with pytest.raises(ItemRefused, match=cause):
        scene_of(landsat)


LANDSAT = [
    ("LT04", "landsat-4", "landsat_tm_c2_l2"), ("LT05", "landsat-5", "landsat_tm_c2_l2"),
    ("LE07", "landsat-7", "landsat_etm_c2_l2"), ("LC08", "landsat-8", "landsat_oli_c2_l2"),
    ("LO08", "landsat-8", "landsat_oli_c2_l2"), ("LC09", "landsat-9", "landsat_oli_c2_l2"),
]  # fmt: skip


@pytest.mark.parametrize(("prefix", "platform", "product"), LANDSAT)
@pytest.mark.parametrize("level", ["L2SP", "L2SR"])
def test_landsat_4_to_9_are_read_with_and_without_temperature(
    landsat: Item, prefix: str, platform: str, product: str, level: str
) -> None:
    text = json.dumps(landsat).replace("LC08_L2SP", f"{prefix}_{level}").replace('"landsat-8"', f'"{platform}"')
    scene = scene_of(json.loads(text))
    assert (scene.product, scene.acquisition) == (product, f"{platform}/197023/2022-03-24")


@pytest.mark.parametrize("unit", "ABCD")
def test_every_sentinel_2_unit_is_read(msi: Item, unit: str) -> None:
    text = json.dumps(msi).replace("S2B_", f"S2{unit}_").replace("sentinel-2b", f"sentinel-2{unit.lower()}")
    assert scene_of(json.loads(text)).acquisition == f"sentinel-2{unit.lower()}/31UDQ/R051/2023-06-09"


def test_the_relative_orbit_follows_from_the_absolute_one_as_published(msi: Item) -> None:
    """T36TVK of 2026-04-30 and T30UVA of 2025-06-12 (Sentinel-2C, Copernicus Data Space): orbits 8614 and 4011 are R064 and R037."""
    product, strip = msi["properties"].pop("s2:product_uri"), msi["properties"].pop("s2:datastrip_id")
    assert product and strip
    for take, orbit in (("GS2C_20260430T083651_008614_N05.12", "R064"), ("GS2C_20250612T112131_004011_N05.11", "R037")):
        day = f"{take[5:9]}-{take[9:11]}-{take[11:13]}"
        msi["properties"] |= {"platform": "sentinel-2c", "s2:datatake_id": take, "datetime": day}
        assert f"/{orbit}/" in scene_of(msi).acquisition


def test_a_tile_or_platform_against_the_product_id_is_refused(msi: Item) -> None:
    other = copy.deepcopy(msi)
    other["properties"]["grid:code"] = "MGRS-31UDR"
    assert refusal(other).startswith(
        "tile 31UDR contradicts the product id S2B_MSIL2A_20230609T104629_N0509_R051_T31UDQ"
    )
    msi["properties"]["platform"] = "sentinel-2a"
    assert refusal(msi).startswith("platform 'sentinel-2a' contradicts the product id S2B_MSIL2A")


def test_bands_of_stac_11_name_assets_that_no_archive_names(cdse: Item) -> None:
    before = scene_of(cdse).document["measurements"]
    cdse["assets"] = {
        f"asset-{name}": asset for name, asset in cdse["assets"].items() if not name.startswith("SCL")
    } | {"SCL_20m": cdse["assets"]["SCL_20m"]}
    with pytest.raises(ItemRefused, match="missing asset"):
        scene_of(cdse)
    native = {"B01": "60m", "B02": "10m", "B03": "10m", "B04": "10m", "B08": "10m"}
    for name in list(cdse["assets"]):
        band = name.removeprefix("asset-").split("_")[0]
        if band.startswith("B") and not name.endswith(native.get(band, "20m")):
            del cdse["assets"][name]
    assert scene_of(cdse).document["measurements"] == before


def test_another_format_of_a_missing_band_is_not_taken_for_it(msi: Item) -> None:
    """The JP2 beside a COG of Earth Search v1 still has the offset that was taken off the COG."""
    assert msi["assets"]["red-jp2"]["eo:bands"][0]["common_name"] == "red"
    del msi["assets"]["red"]
    assert refusal(msi) == "missing asset red: the item has none of red, B04, B04_10m with an href"


def test_temperature_is_skipped_even_where_its_geometry_is_bad(shared_data: Path) -> None:
    item = json.loads((shared_data / "stac/usgs/LT05_L2SP_010067_19860424_20200918_02_T2_ST_stac.json").read_text())
    item["geometry"] = None
    with pytest.raises(NotAScene, match="surface temperature"):
        scene_of(item)


IMPOSSIBLE = [
    ({"scale": 0.0001, "offset": 1e9}, "impossible radiometry of red"),
    ({"scale": -1.0, "offset": 0}, "impossible radiometry of red"),
    ({"scale": 0.0001, "offset": 0, "nodata": -9999}, "impossible radiometry of red"),
]


@pytest.mark.parametrize(("stated", "cause"), IMPOSSIBLE)
def test_scale_offset_and_nodata_that_cannot_be_are_refused(msi: Item, stated: Item, cause: str) -> None:
    msi["properties"]["earthsearch:boa_offset_applied"] = False
    msi["assets"]["red"]["raster:bands"] = [stated]
    assert cause in refusal(msi)


DEFAULTS = [
    {"scale": 1.0, "offset": 0.0},
    {"scale": 1, "offset": 0, "data_type": "uint16", "nodata": 0},
    {"scale": 1.0},
]


@pytest.mark.parametrize("stated", DEFAULTS)
def test_the_scale_1_and_offset_0_that_gdal_says_of_any_file_state_nothing(
    msi: Item, landsat: Item, stated: Item
) -> None:
    """rio-stac writes them into every item that it makes of files of integers."""
    msi["properties"]["earthsearch:boa_offset_applied"] = False
    for item, scale, offset in ((msi, 1e-4, -0.1), (landsat, 2.75e-5, -0.2)):
        (item["assets"].get("red") or item["assets"]["SR_B4"])["raster:bands"] = [stated]
        found = scene_of(item).document["properties"]["neocube:radiometry"]["red"]
        assert found == {"scale": scale, "offset": offset, "nodata": 0}
    msi["assets"]["red"]["raster:bands"] = [stated | {"data_type": "float32"}]
    assert scene_of(msi).document["properties"]["neocube:radiometry"]["red"]["scale"] == 1.0


def test_a_cause_is_short_and_printable_whatever_it_quotes(msi: Item) -> None:
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    for place, value in (("datetime", deep), ("datetime", "\ud800" * 99), ("s2:processing_baseline", "x" * 10**6)):
        item = {**msi, "properties": {**msi["properties"], place: value}}
        cause = refusal(item)
        assert len(cause) < 1000
        assert cause.encode()


def product(item: Item, uri: str, **properties: Any) -> Item:
    """The Sentinel-2 item under another product id, saying other things."""
    return item | {"properties": item["properties"] | {"s2:product_uri": uri} | properties}


MSI_URI = "S2B_MSIL2A_20230609T104629_N0509_R051_T31UDQ_20230609T121643.SAFE"


@pytest.mark.parametrize("sensed", ["2023-06-11T00:00:00Z", "2022-06-09T10:56:29Z", "2023-06-07T23:59:59Z"])
def test_a_sensing_time_of_another_day_than_the_product_id_is_refused(msi: Item, landsat: Item, sensed: str) -> None:
    assert msi["properties"]["s2:product_uri"] == MSI_URI
    cause = refusal(product(msi, MSI_URI, datetime=sensed))
    assert cause.startswith(f"sensing time {sensed} contradicts the id S2B_MSIL2A_20230609T104629_N0509")
    landsat["properties"]["datetime"] = sensed
    assert f"sensing time {sensed} contradicts the product id LC08_L2SP_197023_20220324" in refusal(landsat)


@pytest.mark.parametrize("sensed", ["2023-06-10T00:03:00Z", "2023-06-09", "2023-06-08T23:59:00Z"])
def test_a_sensing_time_on_the_other_side_of_midnight_is_believed(msi: Item, sensed: str) -> None:
    assert scene_of(product(msi, MSI_URI, datetime=sensed)).acquisition == "sentinel-2b/31UDQ/R051/2023-06-09"


def test_a_baseline_other_than_that_of_the_product_id_is_refused_but_for_the_toolbox_s(msi: Item) -> None:
    cause = refusal(product(msi, MSI_URI, **{"s2:processing_baseline": "02.09"}))
    assert cause.startswith("processing baseline 02.09 contradicts the product id S2B_MSIL2A_20230609T104629_N0509")
    for number, stated in (("N9999", "02.09"), ("N0209", "99.33")):
        own = product(msi, MSI_URI.replace("N0509", number), **{"s2:processing_baseline": stated})
        assert scene_of(own).rendition == f"{stated}/20230609T121643"


@pytest.mark.parametrize("day", ["2023-06-09", "2023-06-09T00:00:00Z", "2023-06-10T00:00:00Z"])
def test_an_item_that_states_only_the_day_competes_with_the_same_acquisition(msi: Item, day: str) -> None:
    msi["properties"].pop("s2:datastrip_id")
    whole, day_only = scene_of(msi), scene_of(product(msi, MSI_URI, datetime=day))
    assert (whole.slice[:1], day_only.slice) == ("T", "")
    at_midnight = MSI_URI.replace("20230609T104629", "20230609T235029")
    assert scene_of(product(msi, at_midnight, datetime="2023-06-10T00:00:00Z")).slice == "T20230610T000000"
