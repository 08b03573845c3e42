"""Real items of six catalogues become EO3 documents, or are refused with a cause a person can act on."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise, scene_id
from flows.steps.scenes.radiometry import saturated_dn
from flows.steps.scenes.rendition_policy import rendition_difference, rendition_rank

API = "https://stac.example.org/collections/c/items"


def files_in(folder: str) -> frozenset[str]:
    return frozenset(path.name for path in Path(folder).iterdir()) if Path(folder).is_dir() else frozenset()


def place_of(folder: str, root: str | None = None, hosts: tuple[str, ...] = ()) -> ItemPlace:
    return ItemPlace(f"{folder}/item.json", folder, root or folder, files_in, hosts)


def scene_of(item: dict[str, Any], folder: str = API) -> SceneDocument:
    return normalise(item, place_of(folder), "test", read_file_grid)


def items_in(path: Path) -> list[dict[str, Any]]:
    document = json.loads(path.read_text())
    features = document.get("features") if isinstance(document, dict) else document
    return features if isinstance(features, list) else [document]


def earth_search_item(shared_data: Path) -> dict[str, Any]:
    return items_in(shared_data / "stac/earth_search/v1/31UDQ_2023_3_items.json")[0]


# file, acquisition, rendition, pass, red offset, bands, grids
CATALOGUES = [
    ("usgs/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json", "landsat-8/028030/2020-01-14", "02/T1/20200824",
     "landsat-8/028/2020-01-14", -0.2, 9, 1),
    ("usgs/LT05_L2SR_087017_20090621_20200827_02_T2_SR_stac.json", "landsat-5/087017/2009-06-21", "02/T2/20200827",
     "landsat-5/087/2009-06-22", -0.2, 8, 1),
    ("planetary_computer/landsat/netherlands_timeseries_60_items.json", "landsat-8/197023/2022-03-24", "02/T1/20220330",
     "landsat-8/197/2022-03-24", -0.2, 9, 1),
    ("earth_search/v0/S2A_17SPR_20221106_0_L2A.json", "sentinel-2a/17SPR/R054/2022-11-06", "04.00/20221106T204155",
     "sentinel-2a/R054/2022-11-06", 0.0, 12, 3),
    ("earth_search/v0/S2B_42TUM_20220107_0_L2A.json", "sentinel-2b/42TUM/R077/2022-01-07", "03.01/20220107T084202",
     "sentinel-2b/R077/2022-01-07", 0.0, 12, 3),
    ("earth_search/v1/31UDQ_2023_3_items.json", "sentinel-2b/31UDQ/R051/2023-06-09", "05.09/20230609T121643",
     "sentinel-2b/R051/2023-06-09", 0.0, 12, 3),
    ("earth_search/c1/13TDE_2024_10_items.json", "sentinel-2a/13TDE/R098/2024-04-22", "05.10/20240423T004950",
     "sentinel-2a/R098/2024-04-22", -0.1, 13, 3),
    ("planetary_computer/sentinel2/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json",
     "sentinel-2b/06VVN/R043/2019-06-29", "02.12/20201006T080531", "sentinel-2b/R043/2019-06-29", 0.0, 12, 3),
    ("planetary_computer/sentinel2/S2B_MSIL2A_20220612T182919_R027_T24XWR_20220613T123251_baseline0400.json",
     "sentinel-2b/24XWR/R027/2022-06-12", "04.00/20220613T123251", "sentinel-2b/R027/2022-06-12", -0.1, 12, 3),
    ("cdse/S2B_20200322_T36NYH_N0500.json", "sentinel-2b/36NYH/R135/2020-03-22", "05.00/20230612T214223",
     "sentinel-2b/R135/2020-03-22", -0.1, 12, 3),
    ("odd/S2A_T60CWS_20240109_antimeridian.json", "sentinel-2a/60CWS/R041/2024-01-09", "05.10/20240109T203651",
     "sentinel-2a/R041/2024-01-09", -0.1, 13, 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "acquisition", "rendition", "seen_in", "offset", "n_bands", "n_grids"), CATALOGUES)
def test_every_catalogue_says_the_same_of_a_scene(
    shared_data: Path,
    name: str,
    acquisition: str,
    rendition: str,
    seen_in: str,
    offset: float,
    n_bands: int,
    n_grids: int,
) -> None:
    scene = scene_of(items_in(shared_data / "stac" / name)[0])
    facts = scene.document["properties"]
    assert (scene.acquisition, scene.rendition, facts["neocube:pass"]) == (acquisition, rendition, seen_in)
    assert facts["neocube:radiometry"]["red"]["offset"] == offset
    assert len(scene.document["measurements"]) == n_bands
    assert len(scene.document["grids"]) == n_grids
    assert scene.id == scene_id(scene.product, acquisition, rendition)


def test_every_scene_of_eight_recorded_catalogues_is_taken(shared_data: Path) -> None:
    files = [
        "planetary_computer/landsat/netherlands_timeseries_60_items.json",
        "planetary_computer/landsat/landsat-c2-l2-pc_4_items.json",
        "planetary_computer/landsat/zone1_wrong_epsg_3271_12_items.json",
        "planetary_computer/sentinel2/pc_20240419_high_latitude_4_items.json",
        "earth_search/v0/S2_36MYB_2020_16_items.json",
        "earth_search/v1/31UDQ_2023_3_items.json",
        "earth_search/v1/same_day_20231008_L8_and_S2_2_items.json",
        "earth_search/c1/13TDE_2024_10_items.json",
    ]
    scenes = [scene_of(item) for name in files for item in items_in(shared_data / "stac" / name)]
    assert len(scenes) == len({scene.id for scene in scenes}) == 111


def test_the_same_scene_has_one_id_in_earth_search_v0_and_v1(shared_data: Path) -> None:
    v0 = items_in(shared_data / "stac/earth_search/v0/S2A_28QCH_20200714_0_L2A_beta1.json")[0]
    v1 = items_in(shared_data / "stac/dea_deafrica/S2A_28QCH_20200714_0_L2A.json")[0]
    assert v0["assets"].keys() != v1["assets"].keys()
    assert scene_of(v0).id == scene_of(v1).id


def test_the_rows_of_one_pass_over_the_antimeridian_share_their_pass(shared_data: Path) -> None:
    item = items_in(shared_data / "stac/usgs/LT05_L2SR_087017_20090621_20200827_02_T2_SR_stac.json")[0]
    west = scene_of(item)
    text = json.dumps(item).replace("087017", "087019").replace("2009-06-21T22:53", "2009-06-21T22:54")
    assert (
        scene_of(json.loads(text)).document["properties"]["neocube:pass"] == west.document["properties"]["neocube:pass"]
    )
    undated = json.loads(text)
    undated["properties"]["datetime"] = "2009-06-21"
    assert scene_of(undated).document["properties"]["neocube:pass"] == west.document["properties"]["neocube:pass"]


def test_surface_temperature_is_not_a_scene_of_its_own(shared_data: Path) -> None:
    for name in (
        "LT05_L2SP_010067_19860424_20200918_02_T2_ST_stac.json",
        "LE07_L2SP_021030_20100109_20200911_02_T1_ST_stac.json",
    ):
        with pytest.raises(NotAScene, match="surface temperature"):
            scene_of(items_in(shared_data / "stac/usgs" / name)[0])


def test_wrong_epsg_3271_is_read_as_the_utm_zone_of_the_geometry(shared_data: Path) -> None:
    for item in items_in(shared_data / "stac/planetary_computer/landsat/zone1_wrong_epsg_3271_12_items.json"):
        document = scene_of(item).document
        assert document["crs"] == "EPSG:32601"
        assert "EPSG:3271 puts the grid elsewhere" in document["properties"]["neocube:note"]
        assert -180 <= document["extent"]["lon"]["begin"] < document["extent"]["lon"]["end"] < -170


def test_a_footprint_across_the_antimeridian_stays_in_one_piece(shared_data: Path) -> None:
    for name in ("S2A_T01KAB_20230821_antimeridian.json", "S2A_T60CWS_20240109_antimeridian.json"):
        document = scene_of(items_in(shared_data / "stac/odd" / name)[0]).document
        assert document["geometry"]["type"] == "Polygon"
        xs = [x for x, _ in document["geometry"]["coordinates"][0]]
        assert max(xs) - min(xs) < 120_000


REFUSED = [
    ("odd/item_no_properties.json", "no properties: expected a STAC item with properties, got nothing"),
    ("odd/badGeometryItem.json", "unreadable geometry"),
    ("odd/only_crs_proj.json", "'fc_percentile_albers_annual' is another product: expected Landsat Collection 2"),
    ("odd/world-wrapping.stac-item.json", "no platform.*the item is of 'dep_ls_geomad'"),
    (
        "dea_deafrica/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json",
        "'ga_ls8c_ard_3' is another product .of an Open Data Cube: .*, got LC08_L1TP_088080_20200525_20200608_01_T1",
    ),
    ("dea_deafrica/fc_ls_159069_2021-07-17.stac-item.json", "'fc_ls' is another product"),
    ("earth_search/c1/partial_items_no_assets_no_geometry_10.json", "no assets"),
    (
        "usgs/LC08_L2SR_084024_20160111_20201016_02_T1_SR_stac.json",
        "no grid for coastal: expected proj:code, proj:shape",
    ),
]


@pytest.mark.parametrize(("name", "cause"), REFUSED)
def test_an_item_that_is_no_scene_is_refused_with_its_cause(shared_data: Path, name: str, cause: str) -> None:
    for item in items_in(shared_data / "stac" / name):
        with pytest.raises(ItemRefused, match=cause):
            scene_of(item)


def test_the_offset_follows_the_catalogue_then_the_baseline_and_never_the_date(shared_data: Path) -> None:
    item = earth_search_item(shared_data)
    cases = [(True, "05.09", -0.1, 0.0), (False, "05.09", -0.1, -0.1), (None, "05.09", None, -0.1),
             (None, "02.14", -0.1, 0.0), (None, "05.00", 0, 0.0)]  # fmt: skip
    for applied, baseline, stated, expected in cases:
        changed = copy.deepcopy(item)
        named = changed["properties"]["s2:product_uri"].replace("_N0509_", f"_N{baseline.replace('.', '')}_")
        changed["properties"] |= {"earthsearch:boa_offset_applied": applied, "s2:processing_baseline": baseline}
        changed["properties"]["s2:product_uri"] = named
        changed["assets"]["red"]["raster:bands"] = [
            {"nodata": 0, "scale": 0.0001} | ({} if stated is None else {"offset": stated})
        ]
        red = scene_of(changed).document["properties"]["neocube:radiometry"]["red"]
        assert red == {"scale": 0.0001, "offset": expected, "nodata": 0}, (applied, baseline, stated)


@pytest.mark.parametrize(
    ("sensor", "rendition", "scale", "offset", "expected"),
    [
        ("msi", "05.09/20240101", 1e-4, -0.1, 32767),
        ("msi", "05.09/20240101", 1e-4, 0.0, 31767),  # 1000 were taken off the file
        ("msi", "02.14/20200219", 1e-4, 0.0, 32767),
        ("msi", "05.09/20240101", 1e-4, 0.2, 65535),
        ("msi", "05.09/20240101", 1.0, 0.0, 65535),
        ("oli", "02/T1", 2.75e-5, -0.2, 65535),
    ],
)
def test_sentinel_2_is_saturated_where_its_processor_cut_it_off_and_landsat_at_the_end_of_16_bit(
    sensor: str, rendition: str, scale: float, offset: float, expected: int
) -> None:
    assert saturated_dn(sensor, rendition, scale, offset) == expected


HOSTILE = [
    ("/etc/passwd", "local path in a remote catalogue"),
    ("file:///etc/passwd", "local path in a remote catalogue"),
    ("/vsicurl/http://x.org/a.tif", "GDAL virtual path"),
    ("https://x.org/vsizip/a.tif", "GDAL virtual path"),
    ("vrt://a.tif", "scheme of 'vrt://a.tif' is not read"),
    ("GTIFF_DIR:1:a.tif", "scheme of"),
    ("ftp://x.org/a.tif", "scheme of"),
    ("http://127.0.0.1:8080/a.tif", "host '127.0.0.1' is not a public one"),
    ("http://169.254.169.254/latest/a.tif", "is not a public one"),
    ("http://metadata.internal/a.tif", "is not a public one"),
    ("https://user:secret@x.org/a.tif", "without credentials"),
]


@pytest.mark.parametrize(("href", "cause"), HOSTILE)
def test_an_untrusted_href_of_a_remote_catalogue_is_refused(shared_data: Path, href: str, cause: str) -> None:
    item = earth_search_item(shared_data)
    item["assets"]["red"]["href"] = href
    with pytest.raises(ItemRefused, match=rf"asset red: .*{cause}"):
        scene_of(item)


def test_a_local_href_stays_in_the_archive(shared_data: Path, tmp_path: Path) -> None:
    scene, other = tmp_path / "archive" / "scene", tmp_path / "archive" / "other"
    for folder in (scene, other):
        folder.mkdir(parents=True)
        (folder / "B04.tif").touch()
    (tmp_path / "secret.tif").touch()
    place = place_of(str(scene), str(tmp_path / "archive"))

    def red_of(href: str) -> str:
        item = earth_search_item(shared_data)
        item["assets"]["red"]["href"] = href
        path: str = normalise(item, place, "test", read_file_grid).document["measurements"]["red"]["path"]
        return path

    assert red_of("./B04.tif") == str(scene / "B04.tif")
    assert red_of("../other/B04.tif") == str(other / "B04.tif")
    assert red_of(f"file://{other}/B04.tif") == str(other / "B04.tif")
    assert red_of("https://elsewhere.org/x/B04.tif") == str(scene / "B04.tif")
    assert red_of("/other/machine/B04.tif") == str(scene / "B04.tif")
    for href in ("../../secret.tif", str(tmp_path / "secret.tif"), (tmp_path / "secret.tif").as_uri()):
        with pytest.raises(ItemRefused, match="lies outside the archive"):
            red_of(href)
    with pytest.raises(ItemRefused, match=re.escape(f"missing asset red: {scene}/B99.tif does not exist")):
        red_of("B99.tif")


def test_hosts_of_a_known_archive_are_the_only_ones(shared_data: Path) -> None:
    item = earth_search_item(shared_data)
    place = place_of(API, hosts=("*.amazonaws.com",))
    assert normalise(item, place, "test", read_file_grid).document["id"]
    item["assets"]["red"]["href"] = "https://evil.org/B04.tif"
    with pytest.raises(ItemRefused, match="host 'evil.org' is not one of this archive's"):
        normalise(item, place, "test", read_file_grid)


def test_a_band_without_asset_or_href_is_named(shared_data: Path) -> None:
    item = earth_search_item(shared_data)
    del item["assets"]["swir16"], item["assets"]["swir22"]["href"]
    with pytest.raises(ItemRefused, match="missing asset swir1: the item has none of swir16, swir1, B11"):
        scene_of(item)


def test_renditions_are_ordered_by_tier_baseline_and_time() -> None:
    landsat = ["02/RT/20210101", "02/T2/20200101", "02/T1/20190101", "02/T1/20200101"]
    msi = ["02.14/20200219T123947", "05.00/20230612T214223", "05.00/20240101T000000", "05.10/20230101T000000"]
    for names in (landsat, msi):
        assert [*map(rendition_rank, names)] == sorted(map(rendition_rank, names))
    assert rendition_difference(landsat[2], landsat[0]) == "tier T1 > RT"
    assert rendition_difference(msi[1], msi[0]) == "baseline 05.00 > 02.14"


def test_a_file_beside_a_collection_is_taken_only_by_a_name_with_a_date(shared_data: Path, tmp_path: Path) -> None:
    """Every item of Earth Search has a B04.tif: a search saved in the folder of one scene would read that of another day."""
    for name in ("B04.tif", "T31UDQ_20230609T104629_B04_10m.tif"):
        (tmp_path / name).touch()
    own = place_of(str(tmp_path))
    member = ItemPlace(f"file://{tmp_path}/search.json%23S2B_31UDQ_20230609_0_L2A", own.folder, own.root, files_in)

    def red_of(href: str, place: ItemPlace) -> str:
        item = earth_search_item(shared_data)
        item["assets"]["red"]["href"] = href
        path: str = normalise(item, place, "test", read_file_grid).document["measurements"]["red"]["path"]
        return path

    for href in ("https://elsewhere.org/x/B04.tif", "https://elsewhere.org/x/B04.tif?a=b"):
        assert red_of(href, own) == str(tmp_path / "B04.tif")
        assert red_of(href, member) == href
    dated = "T31UDQ_20230609T104629_B04_10m.tif"
    assert red_of(f"https://elsewhere.org/x/{dated}", member) == str(tmp_path / dated)
    assert red_of("./B04.tif", member) == str(tmp_path / "B04.tif")
    with pytest.raises(ItemRefused, match="lies outside the archive"):
        red_of("/other/machine/B04.tif", member)
