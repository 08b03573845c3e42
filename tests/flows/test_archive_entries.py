"""Each archive of archives.yaml takes its recorded items through its own entry: names, hosts, kind of href, aliases."""

import copy
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from datacube_config.archives import archive_table, collection_aliases
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.found_items import FoundItem
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.items import Wanted
from flows.steps.archives.items_api import api_item, api_of
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise

Item = dict[str, Any]
PC_S2 = "planetary_computer/sentinel2/S2B_MSIL2A_20220612T182919_R027_T24XWR_20220613T123251_baseline0400.json"

# archive, recorded file, number of the item in it, scene, bands, where the files are
RECORDED = [
    ("earth-search", "earth_search/c1/13TDE_2024_10_items.json", 0,
     "sentinel2_msi_l2a sentinel-2a/13TDE/R098/2024-04-22", 13, "e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com"),
    ("earth-search", "earth_search/v1/same_day_20231008_L8_and_S2_2_items.json", 1,
     "landsat_oli_c2_l2 landsat-8/033032/2023-10-08", 9, "usgs-landsat"),
    ("earth-search-v1", "earth_search/v1/31UDQ_2023_3_items.json", 0,
     "sentinel2_msi_l2a sentinel-2b/31UDQ/R051/2023-06-09", 12, "sentinel-cogs.s3.us-west-2.amazonaws.com"),
    ("earth-search-v0", "earth_search/v0/S2A_17SPR_20221106_0_L2A.json", 0,
     "sentinel2_msi_l2a sentinel-2a/17SPR/R054/2022-11-06", 12, "sentinel-cogs.s3.us-west-2.amazonaws.com"),
    ("planetary-computer", "planetary_computer/landsat/netherlands_timeseries_60_items.json", 0,
     "landsat_oli_c2_l2 landsat-8/197023/2022-03-24", 9, "landsateuwest.blob.core.windows.net"),
    ("planetary-computer", PC_S2, 0,
     "sentinel2_msi_l2a sentinel-2b/24XWR/R027/2022-06-12", 12, "sentinel2l2a01.blob.core.windows.net"),
    ("usgs", "usgs/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json", 0,
     "landsat_oli_c2_l2 landsat-8/028030/2020-01-14", 9, "usgs-landsat"),
    ("usgs", "usgs/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json", 0,
     "landsat_etm_c2_l2 landsat-7/044033/2021-03-29", 8, "usgs-landsat"),
    ("usgs", "usgs/LT05_L2SP_010067_19860424_20200918_02_T2_SR_stac.json", 0,
     "landsat_tm_c2_l2 landsat-5/010067/1986-04-24", 8, "usgs-landsat"),
    ("cdse", "cdse/S2B_20200322_T36NYH_N0500.json", 0,
     "sentinel2_msi_l2a sentinel-2b/36NYH/R135/2020-03-22", 12, "eodata"),
]  # fmt: skip
OWN_PRODUCTS = [
    ("dea", "ga_ls8c_ard_3-1-0_088080_2020-05-25_final", "ga_ls8c_ard_3"),
    ("dea", "ga_ls5t_nbart_gm_cyear_3_x30y14_1999--P1Y_final", "ga_ls5t_nbart_gm_cyear_3"),
    ("deafrica", "fc_ls_159069_2021-07-17", "fc_ls"),
]


def as_found(archive: str, item: Item) -> FoundItem:
    """An item as the listing of an archive finds it."""
    known, files = archive_table().archives[archive], ArchiveFiles()
    return api_item(copy.deepcopy(item), api_of(known.url, known, Wanted(), files), files)


def through(archive: str, item: Item) -> SceneDocument:
    """The scene of an item by the entry of an archive; ItemRefused."""
    found = as_found(archive, item)
    return normalise(found.document or {}, found.place, archive, read_file_grid)


def recorded(shared_data: Path, name: str, number: int = 0) -> Item:
    document = json.loads((shared_data / "stac" / name).read_text())
    item: Item = document.get("features", [document])[number]
    return item


def hosts_of(scene: SceneDocument) -> set[str | None]:
    return {urlsplit(str(band["path"])).hostname for band in scene.document["measurements"].values()}


@pytest.mark.parametrize(("archive", "name", "number", "scene", "n_bands", "host"), RECORDED)
def test_a_recorded_item_becomes_a_scene_through_the_entry_of_its_archive(
    shared_data: Path, archive: str, name: str, number: int, scene: str, n_bands: int, host: str
) -> None:
    item = recorded(shared_data, name, number)
    made = through(archive, item)
    assert f"{made.product} {made.acquisition}" == scene
    assert len(made.document["measurements"]) == n_bands
    assert hosts_of(made) == {host}
    assert made.document["properties"]["neocube:archive"] == archive


def test_every_archive_has_a_recorded_item_or_a_decision() -> None:
    decided = {row[0] for row in RECORDED} | {row[0] for row in OWN_PRODUCTS}
    assert decided == set(archive_table().archives)


@pytest.mark.parametrize(("archive", "name", "number", "scene", "n_bands", "host"), RECORDED)
def test_the_collection_of_a_recorded_item_is_one_that_its_archive_is_asked_for(
    shared_data: Path, archive: str, name: str, number: int, scene: str, n_bands: int, host: str
) -> None:
    named = str(recorded(shared_data, name, number)["collection"])
    named = {"landsat-8-c2-l2": "landsat-c2-l2"}.get(named, named)  # as the Planetary Computer called it in 2022
    known = archive_table().archives[archive]
    ours = next(ours for ours, names in known.collections.items() if named in names)
    assert collection_aliases()[named] == ours == made_of(scene)


def made_of(scene: str) -> str:
    return "landsat-c2-l2" if scene.startswith("landsat") else "sentinel-2-l2a"


@pytest.mark.parametrize(("archive", "name", "number", "scene", "n_bands", "host"), RECORDED)
def test_an_item_whose_files_are_elsewhere_is_refused_by_the_entry_of_its_archive(
    shared_data: Path, archive: str, name: str, number: int, scene: str, n_bands: int, host: str
) -> None:
    item = recorded(shared_data, name, number)
    for asset in item["assets"].values():
        asset["href"] = "https://files.example.org/" + str(asset["href"]).rpartition("/")[2]
        asset.pop("alternate", None)
    with pytest.raises(ItemRefused, match="host 'files.example.org' is not one of this archive's: "):
        through(archive, item)


@pytest.mark.parametrize(("archive", "stem", "product"), OWN_PRODUCTS)
def test_a_product_of_a_cubes_own_is_refused_by_its_name_and_says_how_it_is_used(
    shared_data: Path, archive: str, stem: str, product: str
) -> None:
    item = recorded(shared_data, f"dea_deafrica/{stem}.stac-item.json")
    words = f"'{product}' is another product (of an Open Data Cube: recipes read it there as it is): expected Landsat"
    with pytest.raises(ItemRefused, match=re.escape(words)):
        through(archive, item)


def test_the_collections_of_australia_are_products_of_its_own() -> None:
    dea = archive_table().archives["dea"]
    assert set(dea.collections) == {"ga-ls-ard-3", "ga-s2-ard-3"}
    assert not set(collection_aliases().values()) & {"landsat-c2-l2", "sentinel-2-l2a"} & set(dea.collections)


def as_its_explorer_says(shared_data: Path) -> Item:
    """The item that Digital Earth Africa's STAC API makes of the published EO3 document of one of its `s2_l2a` datasets."""
    stem = shared_data / "stac/dea_deafrica/S2A_28QCH_20200714_0_L2A"
    eo3 = json.loads(Path(f"{stem}.odc-metadata.json").read_text())
    facts = eo3["properties"]
    names = {
        "eo:platform": "platform",
        "eo:gsd": "gsd",
        "eo:instrument": "instruments",
        "eo:off_nadir": "view:off_nadir",
    }
    properties = {names.get(name, name): value for name, value in facts.items()}
    folder = "s3://deafrica-sentinel-2/sentinel-s2-l2a-cogs/28/Q/CH/2020/7/S2A_28QCH_20200714_0_L2A"
    assets = {
        name: {"href": f"{folder}/{band['path']}", "roles": ["data"], "eo:bands": [{"name": name}]}
        | {f"proj:{key}": value for key, value in eo3["grids"][band.get("grid", "default")].items()}
        for name, band in eo3["measurements"].items()
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": eo3["id"],
        "collection": "s2_l2a",
        "properties": properties | {"instruments": ["MSI"], "odc:product": "s2_l2a", "title": eo3["label"]},
        "geometry": json.loads(Path(f"{stem}.json").read_text())["geometry"],
        "assets": assets,
        "links": [],
    }


def test_africas_copy_of_a_scene_is_the_scene_that_it_is_a_copy_of(shared_data: Path) -> None:
    copied = through("deafrica", as_its_explorer_says(shared_data))
    assert hosts_of(copied) == {"deafrica-sentinel-2"}
    assert len(copied.document["measurements"]) == 12
    original = through("earth-search-v0", recorded(shared_data, "earth_search/v0/S2A_28QCH_20200714_0_L2A_beta1.json"))
    assert (copied.id, copied.acquisition, copied.rendition) == (original.id, original.acquisition, original.rendition)
    assert copied.document["grids"]["default"] == original.document["grids"]["default"]
