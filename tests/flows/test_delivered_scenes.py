"""Scenes as delivered (Landsat folders and tars with an MTL file, SAFE folders and zips) are those of the archives."""

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.items import FoundItem, Wanted, read_items
from flows.steps.archives.landsat_mtl import mtl_item, read_mtl
from flows.steps.archives.packed_files import packed_folder, packed_members, read_packed
from flows.steps.index.catalogue import scene_of
from flows.steps.ingesting.ingest_archive import ingest_archive, retry_quarantine
from flows.steps.ingesting.quarantine import listed
from flows.steps.loading.reading import read_band
from flows.steps.scenes.footprint import AssetGrid, read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise
from products.scene import BandFile
from tests.flows.granule_documents import granule_document

T01KAB = "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825"
GRANULE = "GRANULE/L2A_T01KAB_A042640_20230821T221944"
# Facts of the product's own metadata files; the rest of them is left out.
MTD_MSIL2A = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_URI>{T01KAB}.SAFE</PRODUCT_URI><PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
<PROCESSING_BASELINE>05.09</PROCESSING_BASELINE><GENERATION_TIME>2023-08-22T02:18:25.000000Z</GENERATION_TIME>
<Datatake datatakeIdentifier="GS2A_20230821T221941_042640_N05.09">
<SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME><SENSING_ORBIT_NUMBER>29</SENSING_ORBIT_NUMBER></Datatake>
<Product_Organisation><Granule_List><Granule imageFormat="JPEG2000">IMAGES</Granule></Granule_List></Product_Organisation>
</Product_Info><Product_Image_Characteristics>
<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
<BOA_ADD_OFFSET_VALUES_LIST>OFFSETS</BOA_ADD_OFFSET_VALUES_LIST>
</Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint><EXT_POS_LIST>
-16.247763 179.258625 -16.263411 -179.71545 -17.25485 -179.72957 -17.238192 179.23921 -16.247763 179.258625
</EXT_POS_LIST></Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
<n1:Quality_Indicators_Info><Cloud_Coverage_Assessment>59.050727</Cloud_Coverage_Assessment></n1:Quality_Indicators_Info>
</n1:Level-2A_User_Product>"""
MTD_TL = """<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:General_Info><SENSING_TIME metadataLevel="Standard">2023-08-21T22:20:45.625508Z</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief"><HORIZONTAL_CS_CODE>EPSG:32701</HORIZONTAL_CS_CODE>SIZES</Tile_Geocoding>
<Tile_Angles><Mean_Sun_Angle><ZENITH_ANGLE unit="deg">38.4174390061789</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">43.3009058473725</AZIMUTH_ANGLE></Mean_Sun_Angle>
<Mean_Viewing_Incidence_Angle_List>VIEWS</Mean_Viewing_Incidence_Angle_List></Tile_Angles>
</n1:Geometric_Info></n1:Level-2A_Tile_ID>"""
ANGLES = ("eo:sun_elevation", "eo:sun_azimuth", "eo:off_nadir")
NATIVE = {"10": ["B02", "B03", "B04", "B08"], "20": ["B05", "B06", "B07", "B8A", "B11", "B12", "SCL"], "60": ["B01"]}


def scenes(path: Path) -> list[SceneDocument]:
    found = [each for each in read_items(str(path), Wanted(), ArchiveFiles()) if each.document]
    return [normalise(each.document or {}, each.place, "here", read_file_grid) for each in found]


def refused(path: Path) -> list[FoundItem]:
    return [each for each in read_items(str(path), Wanted(), ArchiveFiles()) if each.document is None]


def stac_scene(path: Path) -> SceneDocument:
    found = next(each for each in read_items(str(path), Wanted(), ArchiveFiles()))
    return normalise(found.document or {}, found.place, "there", read_file_grid)


def bare(folder: Path, target: Path, mtl: str) -> Path:
    """A scene folder without its STAC items, with one form of MTL."""
    target.mkdir(parents=True)
    for path in folder.iterdir():
        if path.suffix == ".TIF" or path.name.endswith(mtl):
            shutil.copy(path, target)
    return target


def packed(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return target


def safe_files(image: Callable[[str, int], bytes]) -> dict[str, bytes]:
    """The files of the SAFE folder, its images made by `image` from band and pixel size in metres."""
    files, images = {}, []
    for size, bands in NATIVE.items():
        for band in bands:
            path = f"{GRANULE}/IMG_DATA/R{size}m/T01KAB_20230821T221941_{band}_{size}m"
            images.append(f"<IMAGE_FILE>{path}</IMAGE_FILE>")
            files[f"{path}.jp2"] = image(band, int(size))
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{number}">-1000</BOA_ADD_OFFSET>' for number in range(13))
    sizes = "".join(
        f'<Size resolution="{m}"><NROWS>{109800 // m}</NROWS><NCOLS>{109800 // m}</NCOLS></Size>'
        f'<Geoposition resolution="{m}"><ULX>99960</ULX><ULY>8200000</ULY><XDIM>{m}</XDIM><YDIM>-{m}</YDIM></Geoposition>'
        for m in (10, 20, 60)
    )
    files["MTD_MSIL2A.xml"] = MTD_MSIL2A.replace("IMAGES", "".join(images)).replace("OFFSETS", offsets).encode()
    views = "".join(
        f'<Mean_Viewing_Incidence_Angle bandId="{number}"><ZENITH_ANGLE unit="deg">{zenith}</ZENITH_ANGLE>'
        f'<AZIMUTH_ANGLE unit="deg">{azimuth}</AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>'
        for number, (zenith, azimuth) in enumerate([(2.0, 350.0), (4.0, 10.0)])
    )
    files[f"{GRANULE}/MTD_TL.xml"] = MTD_TL.replace("SIZES", sizes).replace("VIEWS", views).encode()
    return files


def write_files(files: dict[str, bytes], folder: Path) -> Path:
    for name, raw in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    return folder


def delivered_as(form: str, files: dict[str, bytes], folder: Path) -> Path:
    """The SAFE delivery of these files in the folder: a zip or a folder of its own."""
    if form == "folder":
        return write_files(files, folder / f"{T01KAB}.SAFE").parent
    place = folder / f"{T01KAB}.zip"
    with zipfile.ZipFile(place, "w") as zipped:
        for name, raw in files.items():
            zipped.writestr(f"{T01KAB}.SAFE/{name}", raw)
    return place


def empty(_band: str, _size: int) -> bytes:
    return b""


@pytest.mark.parametrize("mtl", ["_MTL.json", "_MTL.xml", "_MTL.txt"])
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_landsat_delivery_is_the_scene_of_its_stac_item(
    shared_data: Path, tmp_path: Path, mtl: str, form: str
) -> None:
    source = shared_data / "landsat_c2_l2/mini_LT05_L2SP_090084_19980308"
    folder = bare(source, tmp_path / "plain", mtl)
    (delivered,) = scenes(packed(folder, tmp_path / "scene.tar") if form == "tar" else folder)
    expected = stac_scene(next(source.glob("*_SR_stac.json")))
    assert (delivered.id, delivered.product) == (expected.id, expected.product)
    assert delivered.rendition == expected.rendition == "02/T1/20200909"
    for fact in ("neocube:pass", "neocube:radiometry", "eo:platform", "eo:cloud_cover", "odc:region_code"):
        assert delivered.document["properties"][fact] == expected.document["properties"][fact]
    assert set(delivered.document["measurements"]) == set(expected.document["measurements"])
    assert delivered.document["properties"]["datetime"].startswith("1998-03-08T23:26:47.294")
    assert [delivered.document["properties"][name] for name in ANGLES] == [41.58326399, 61.29879916, 0.0]


@pytest.mark.parametrize(
    "scene", ["LC08_L2SP_001062_20201031", "LC08_L2SP_005009_20150710", "LC08_L2SP_008059_20191201"]
)
def test_the_grid_of_an_mtl_covers_what_its_files_cover(shared_data: Path, scene: str) -> None:
    folder = shared_data / "landsat_c2_l2" / scene
    mtl = next(folder.glob("*_MTL.json"))
    stated = mtl_item(mtl.name, mtl.read_bytes())["properties"]
    outline = AssetGrid(tuple(stated["proj:shape"]), tuple(stated["proj:transform"])).outline
    with rasterio.open(next(folder.glob("*_SR_B4.TIF"))) as raster:
        np.testing.assert_allclose(outline.bounds, raster.bounds, atol=1)
        assert stated["proj:code"] == str(raster.crs)


def test_a_tar_is_ingested_and_read_in_place(shared_data: Path, tmp_path: Path, embedded_settings: Settings) -> None:
    source = shared_data / "landsat_c2_l2/mini_LC08_L2SP_098084_20210503"
    packed(source, tmp_path / "LC08_L2SP_098084_20210503_20210508_02_T1.tar")
    with open_index(embedded_settings) as index:
        report = ingest_archive(index, str(tmp_path))
        assert (report.found, report.added, report.quarantined) == (1, 1, [])
        assert ingest_archive(index, str(tmp_path)).unchanged == 1
        assert ingest_archive(index, str(source)).added == 0
        (dataset,) = index.dc.find_datasets(product="landsat_oli_c2_l2")
        file = scene_of(dataset).bands["red"]
    with rasterio.open(next(source.glob("*_SR_B4.TIF"))) as raster:
        geobox = GeoBox(raster.shape, raster.transform, str(raster.crs))
        expected = raster.read(1)
    out = np.empty(geobox.shape, np.uint16)
    read_band(file, geobox, "nearest", out)
    np.testing.assert_array_equal(out, expected)


def test_a_level_1_delivery_is_quarantined_by_its_level(shared_data: Path) -> None:
    causes = [each.cause for each in refused(shared_data / "landsat_c2_l2/reprocessed_pair")]
    assert any("is L1TP: expected Level-2 (L2SP or L2SR)" in str(cause) for cause in causes)
    assert all("MTL" in str(cause) or "L1TP" in str(cause) for cause in causes)


def test_a_truncated_tar_is_quarantined_and_taken_when_delivered_again(
    shared_data: Path, tmp_path: Path, embedded_settings: Settings
) -> None:
    source = shared_data / "landsat_c2_l2/mini_LC08_L2SP_098084_20210503"
    tar = packed(source, tmp_path / "LC08_L2SP_098084_20210503_20210508_02_T1.tar")
    whole = tar.read_bytes()
    tar.write_bytes(b"not a tar at all" * 100)
    with open_index(embedded_settings) as index:
        report = ingest_archive(index, str(tmp_path))
        assert "unreadable .tar file" in report.quarantined[0]["cause"]
        tar.write_bytes(whole)
        assert retry_quarantine(index).added == 1
        assert listed(index) == []


def test_members_that_lead_out_of_a_tar_are_not_seen(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        for name in ("./good.txt", "../bad.txt", "/etc/bad.txt", "a/../../bad.txt", "a{b}.txt", "sub/fine.txt"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert packed_members(str(tmp_path / "evil.tar")) == {"good.txt": 0, "sub/fine.txt": 0}
    folder = packed_folder(str(tmp_path / "evil.tar"))
    assert ArchiveFiles().files_in(folder) == {"good.txt"}
    assert ArchiveFiles().files_in(f"{folder}/sub") == {"fine.txt"}


def test_an_mtl_cannot_name_files_elsewhere(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "landsat_c2_l2/mini_LT05_L2SP_090084_19980308"
    folder = bare(source, tmp_path / "plain", "_MTL.txt")
    (mtl,) = folder.glob("*_MTL.txt")
    red = "LT05_L2SP_090084_19980308_20200909_02_T1_SR_B3.TIF"
    mtl.write_text(mtl.read_text().replace(f'"{red}"', '"/etc/passwd"'))
    with pytest.raises(ValueError, match=r"asset red: .*/etc/passwd"):
        scenes(folder)


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("x_MTL.json", b"{", "unreadable x_MTL.json"),
        ("x_MTL.json", b"[]", "unreadable x_MTL.json"),
        ("x_MTL.xml", b"<a><b></a>", "unreadable x_MTL.xml"),
        ("x_MTL.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
        ("x_MTL.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"), "expected XML in UTF-8"),
        ("x_MTL.txt", b"END_GROUP = A", "unreadable x_MTL.txt"),
        ("x_MTL.txt", b"A" * 1_000_001, "expected at most 1000000"),
    ],
)
def test_an_unreadable_mtl_is_refused_with_its_name(name: str, raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_mtl(name, raw)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_safe_delivery_is_the_scene_of_its_stac_item(shared_data: Path, tmp_path: Path, form: str) -> None:
    (delivered,) = scenes(delivered_as(form, safe_files(empty), tmp_path))
    expected = safe_identity(shared_data)
    assert (delivered.product, delivered.acquisition, delivered.rendition) == expected
    document = delivered.document
    assert document["crs"].upper() == "EPSG:32701"
    assert document["grids"]["default"] == {"shape": [10980, 10980], "transform": [10, 0, 99960, 0, -10, 8200000]}
    assert document["properties"]["neocube:radiometry"]["nir_narrow"] == {"scale": 0.0001, "offset": -0.1, "nodata": 0}
    assert document["properties"]["datetime"].startswith("2023-08-21T22:20:45.625508")
    assert document["measurements"]["coastal"]["path"].endswith("IMG_DATA/R60m/T01KAB_20230821T221941_B01_60m.jp2")
    assert set(document["measurements"]) >= {"blue", "nir", "nir_narrow", "rededge3", "swir2", "scl"}


def test_a_safe_delivery_states_the_mean_angles_of_its_tile(tmp_path: Path) -> None:
    (delivered,) = scenes(write_files(safe_files(empty), tmp_path / f"{T01KAB}.SAFE").parent)
    found = delivered.document["properties"]
    assert found["eo:sun_elevation"] == pytest.approx(51.5825609938211)
    assert found["eo:sun_azimuth"] == 43.3009058473725
    assert found["view:incidence_angle"] == pytest.approx(3.0)
    assert found["eo:azimuth"] == pytest.approx(0.0, abs=1e-9) or found["eo:azimuth"] == pytest.approx(360.0)


def test_a_safe_delivery_that_does_not_say_how_it_looked_states_no_angles(tmp_path: Path) -> None:
    files = safe_files(empty)
    tile = files[f"{GRANULE}/MTD_TL.xml"].decode()
    first, last = tile.index("<Tile_Angles>"), tile.index("</Tile_Angles>")
    files[f"{GRANULE}/MTD_TL.xml"] = (tile[:first] + "<Tile_Angles>" + tile[last:]).encode()
    (delivered,) = scenes(write_files(files, tmp_path / f"{T01KAB}.SAFE").parent)
    assert not [name for name in delivered.document["properties"] if name in ANGLES or name.startswith("view:")]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_safe_delivery_says_where_the_angles_of_its_granule_are(tmp_path: Path, form: str) -> None:
    files, name = safe_files(empty), f"{GRANULE}/MTD_TL.xml"
    (plain,) = scenes(write_files(files, tmp_path / "plain" / f"{T01KAB}.SAFE").parent)
    assert plain.document["accessories"] == {}

    grids = granule_document()
    files[name] = files[name].replace(b"<Tile_Angles>", b"<Tile_Angles>" + grids[grids.index(b"<Sun_Angles_Grid>") : grids.index(b"<Mean_Sun")])  # fmt: skip
    place = delivered_as(form, files, tmp_path)
    (delivered,) = [each for each in scenes(place) if each.document["accessories"]]
    href = delivered.document["accessories"]["granule_metadata"]["path"]
    assert href.endswith(f"{T01KAB}.SAFE/{name}")
    if form == "folder":
        assert Path(href).read_bytes() == files[name]
    else:
        assert read_packed(href, 10**6) == files[name]


def safe_identity(shared_data: Path) -> tuple[str, str, str]:
    item = json.loads((shared_data / "stac/odd/S2A_T01KAB_20230821_antimeridian.json").read_text())
    from flows.steps.scenes.scene_identity import identify

    identity = identify(item)
    return identity.sensor.product, identity.acquisition, identity.rendition


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>", "", "no SPACECRAFT_NAME"),
        ("-17.238192 179.23921", "-17.238192", "zip"),
        ("GRANULE/L2A_T01KAB_A042640_20230821T221944/IMG_DATA/R60m", "GRANULE/OTHER/IMG_DATA/R60m", "names 2 granules"),
        ("<n1:General_Info>", "<!DOCTYPE x><n1:General_Info>", "declares a document type"),
    ],
)
def test_a_safe_folder_that_says_too_little_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    files = safe_files(empty)
    files["MTD_MSIL2A.xml"] = files["MTD_MSIL2A.xml"].decode().replace(old, new).encode()
    (found,) = refused(write_files(files, tmp_path / f"{T01KAB}.SAFE").parent)
    assert words in str(found.cause)


def test_a_safe_zip_is_read_in_place(tmp_path: Path) -> None:
    def image(_band: str, size: int) -> bytes:
        pixels: Any = np.full((64, 64), 1000 + size, np.uint16)
        transform = rasterio.Affine(size, 0, 99960, 0, -size, 8200000)
        profile = {
            "driver": "JP2OpenJPEG",
            "dtype": "uint16",
            "count": 1,
            "height": 64,
            "width": 64,
            "crs": "EPSG:32701",
        }
        with rasterio.MemoryFile(ext=".jp2") as memory:
            with memory.open(**profile, transform=transform, QUALITY="100", REVERSIBLE="YES") as raster:
                raster.write(pixels, 1)
            return bytes(memory.read())

    with zipfile.ZipFile(tmp_path / f"{T01KAB}.zip", "w") as zipped:
        for name, raw in safe_files(image).items():
            zipped.writestr(f"{T01KAB}.SAFE/{name}", raw)
    (scene,) = scenes(tmp_path)
    out = np.empty((8, 8), np.uint16)
    geobox = GeoBox((8, 8), rasterio.Affine(10, 0, 99960, 0, -10, 8200000), "EPSG:32701")
    path = scene.document["measurements"]["red"]["path"]
    read_band(BandFile(path, 0.0001, -0.1, 0), geobox, "nearest", out)
    assert (out == 1010).all()


def test_other_items_of_a_folder_do_not_hide_a_delivered_scene(shared_data: Path, tmp_path: Path) -> None:
    described = shared_data / "landsat_c2_l2/mini_LT05_L2SP_090084_19980308"
    delivered = bare(shared_data / "landsat_c2_l2/mini_LC08_L2SP_098084_20210503", tmp_path / "flat", "_MTL.txt")
    for path in described.iterdir():
        shutil.copy(path, delivered)
    (delivered / "aoi.geojson").write_text('{"type": "Feature", "id": "aoi", "properties": {}, "geometry": null}')
    found = {item.id: item.place.location for item in read_items(str(tmp_path), Wanted(), ArchiveFiles())}
    scene = "LC08_L2SP_098084_20210503_20210508_02_T1"
    assert found[scene] == delivered.as_uri()
    assert [name for name in found if name.startswith("LT05")] == [
        json.loads(path.read_text())["id"] for path in sorted(described.glob("*_SR_stac.json"))
    ]


def test_the_temperature_item_of_a_scene_does_not_hide_its_delivery(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(shared_data / "landsat_c2_l2/LC08_L2SP_008059_20191201", folder)
    items = list(read_items(str(folder), Wanted(), ArchiveFiles()))
    (reflectance,) = folder.glob("*_SR_stac.json")
    reflectance.unlink()
    mtl = next(folder.glob("*_MTL.*")).name.rpartition("_MTL")[0]
    left = list(read_items(str(folder), Wanted(), ArchiveFiles()))
    assert mtl in {item.id for item in left}
    assert len(left) == len(items)
