"""Rasters that are not scenes: from files and an entry of sources.yaml to products in the index."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from datacube_config.sources import SourceTable, source_table
from flows.cli import main
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.areas import find_area
from flows.steps.ingesting.ingest_rasters import ingest_rasters, retry_rasters
from flows.steps.ingesting.quarantine import listed
from flows.steps.ingesting.raster_files import raster_facts
from flows.steps.ingesting.raster_products import raster_id
from products.errors import RequestError
from products.period import parse_period

ORIGIN = from_origin(300000, 500000, 30, 30)
TABLE = source_table()
LOCAL = SourceTable.model_validate(
    {
        "rasters": {
            "olinda_etm": {
                "title": "Landsat 7 ETM+ over Olinda, 28.5 m", "kind": "image", "license": "PDDL-1.0", "credit": "USGS",
                "files": ["L7_*.tif"], "name": r"L7_ETMs\.tif", "time": "static",
                "bands": {"blue": {"dtype": "uint8", "nodata": 0}, "nir": {"dtype": "uint8", "nodata": 0, "layer": 4}},
            },
        }
    }
)  # fmt: skip


def write_tif(
    path: Path,
    dtype: str = "uint8",
    layers: int = 1,
    nodata: float | None = 0,
    crs: str = "EPSG:32647",
    transform: rasterio.Affine = ORIGIN,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(layers * 64).reshape(layers, 8, 8).astype(dtype)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=8,
        width=8,
        count=layers,
        dtype=dtype,
        nodata=nodata,
        crs=crs,
        transform=transform,
    ) as raster:
        raster.write(pixels)
    return path


def test_mangrove_tiles_become_a_product_by_epoch_and_version(shared_data: Path, any_settings: Settings) -> None:
    with open_index(any_settings) as index:
        report = ingest_rasters(index, "global_mangrove_watch", str(shared_data / "labels/mangrove"), TABLE)
        assert (report.found, report.added, report.quarantined) == (2, 2, [])
        again = ingest_rasters(index, "global_mangrove_watch", str(shared_data / "labels/mangrove"), TABLE)
        assert (again.found, again.added, again.unchanged) == (2, 0, 2)
        (first,) = index.dc.find_datasets(product="global_mangrove_watch", time="1996")
        assert first.id == raster_id("global_mangrove_watch", "N26W082/1996/3/")
        assert first.metadata.region_code == "N26W082"
        assert "Bunting" in first.metadata_doc["properties"]["neocube:credit"]
        assert not index.dc.find_datasets(product="global_mangrove_watch", time="2010")


def test_dc_load_reads_the_labels_of_an_epoch(shared_data: Path, index: Index) -> None:
    folder = shared_data / "labels/mangrove"
    ingest_rasters(index, "global_mangrove_watch", str(folder), TABLE)
    where = {"x": (-81.4, -81.3), "y": (25.85, 25.95), "output_crs": "EPSG:4326", "resolution": 0.000222222222222}
    loaded = index.dc.load(product="global_mangrove_watch", time="2020", **where)
    with rasterio.open(folder / "GMW_N26W082_2020_v3.tif") as raster:
        window = rasterio.windows.from_bounds(*loaded.odc.geobox.boundingbox.bbox, raster.transform).round()
        expected = raster.read(1, window=window)
    assert expected.any()
    np.testing.assert_array_equal(loaded.mangrove.values[0], expected)


def test_a_folder_of_jp2_in_a_sphere_without_a_code_becomes_a_time_series(
    shared_data: Path, any_settings: Settings
) -> None:
    with open_index(any_settings) as index:
        report = ingest_rasters(index, "modis_mod13q1_ndvi", str(shared_data / "timeseries/modis_sinop"), TABLE)
        assert (report.added, report.quarantined) == (12, [])
        times = sorted(
            each.time.begin.date().isoformat() for each in index.dc.index.datasets.search(product="modis_mod13q1_ndvi")
        )
        assert (times[0], times[-1]) == ("2013-09-14", "2014-08-29")
        where = {"x": (-55.3, -55.2), "y": (-11.8, -11.7), "output_crs": "EPSG:32721", "resolution": 250}
        ndvi = index.dc.load(product="modis_mod13q1_ndvi", time="2014-01", **where).ndvi
        assert 2000 < float(ndvi.median()) < 10000


def test_a_local_raster_of_any_resolution_is_an_entry_away(shared_data: Path, index: Index) -> None:
    report = ingest_rasters(index, "olinda_etm", str(shared_data / "single_rasters"), LOCAL)
    assert (report.found, report.added) == (1, 1)
    (dataset,) = index.dc.find_datasets(product="olinda_etm", time="1985")
    assert dataset.measurements["nir"]["band"] == 4
    assert abs(dataset.metadata_doc["grids"]["default"]["transform"][0] - 28.5) < 1e-6


def test_force_tiles_group_reflectance_and_quality_of_a_date(tmp_path: Path, index: Index) -> None:
    for tile in ("X0003_Y0048", "X0004_Y0048"):
        write_tif(tmp_path / tile / "20200131_LEVEL2_LND08_BOA.tif", "int16", 6, -9999)
        write_tif(tmp_path / tile / "20200131_LEVEL2_LND08_QAI.tif", "int16", 1, 1)
    write_tif(tmp_path / "X0004_Y0048" / "20200216_LEVEL2_LND08_BOA.tif", "int16", 6, -9999)
    report = ingest_rasters(index, "force_landsat", str(tmp_path), TABLE)
    assert report.added == 2
    assert [each["cause"] for each in report.quarantined] == [
        "no file QAI of X0004_Y0048/2020-02-16//LND08: expected one file for each `file` of the bands"
    ]
    dataset = next(iter(index.dc.index.datasets.search(product="force_landsat", region_code="X0003_Y0048")))
    assert dataset.measurements["swir2"]["band"] == 6
    assert dataset.measurements["qai"]["path"].endswith("LND08_QAI.tif")
    assert dataset.metadata.platform == "LND08"


def dated(group: str) -> SourceTable:
    """A source of one band whose names end in a date."""
    described = {"title": "NDVI", "kind": "index", "license": "PDDL-1.0", "credit": "us", "files": ["*.tif"]}
    bands = {"ndvi": {"dtype": "uint8", "nodata": 0}}
    entry = {**described, "name": rf"ndvi_(?P<date>{group})\.tif", "time": "date", "bands": bands}
    return SourceTable.model_validate({"rasters": {"ndvi": entry}})


def test_days_of_the_year_stay_the_days_that_the_names_say(tmp_path: Path, index: Index) -> None:
    said = {"2020031": "2020-01-31", "2020035": "2020-02-04", "2020131": "2020-05-10", "2020305": "2020-10-31"}
    for date in said:
        write_tif(tmp_path / f"ndvi_{date}.tif")
    report = ingest_rasters(index, "ndvi", str(tmp_path), dated(r"\d{7}"))
    assert (report.added, report.quarantined) == (4, [])
    taken = {
        Path(each.measurements["ndvi"]["path"]).stem.removeprefix("ndvi_"): each.time.begin.date().isoformat()
        for each in index.dc.index.datasets.search(product="ndvi")
    }
    assert taken == said


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("20200131", "2020-01-31"),
        ("2020-01-31", "2020-01-31"),
        ("2020-1-31", "2020-01-31"),
        ("2020_01_31", "2020-01-31"),
        ("2020366", "2020-12-31"),
        ("20200131T101500", "2020-01-31T10:15:00"),
        ("2020-01-31T101500", "2020-01-31T10:15:00"),
    ],
)
def test_a_date_is_read_by_its_shape(date: str, moment: str) -> None:
    assert raster_facts(dated(".+").rasters["ndvi"], f"ndvi_{date}.tif")[0].moment == moment


@pytest.mark.parametrize(
    "date", ["202011", "2020400", "2019366", "20201332", "2020131T101500", "20200131T1015", "2020-01-31T1015"]
)
def test_a_date_that_may_be_several_or_none_is_refused(date: str) -> None:
    with pytest.raises(ItemRefused, match=f"no date in the name: expected one such as .* got '{date}'"):
        raster_facts(dated(".+").rasters["ndvi"], f"ndvi_{date}.tif")


def test_elevation_matches_every_time(tmp_path: Path, index: Index) -> None:
    write_tif(tmp_path / "Copernicus_DSM_COG_10_N04_00_E100_00_DEM.tif", "float32", nodata=None)
    ingest_rasters(index, "copernicus_dem_glo30", str(tmp_path), TABLE)
    assert len(index.dc.find_datasets(product="copernicus_dem_glo30", time="1995")) == 1


def test_the_id_does_not_depend_on_the_place_and_a_moved_file_keeps_its_row(
    tmp_path: Path, any_settings: Settings
) -> None:
    old = write_tif(tmp_path / "old" / "GMW_N04E100_2010_v3.tif")
    with open_index(any_settings) as index:
        ingest_rasters(index, "global_mangrove_watch", str(old), TABLE)
        (tmp_path / "new").mkdir()
        new = tmp_path / "new" / old.name
        old.rename(new)
        report = ingest_rasters(index, "global_mangrove_watch", str(tmp_path), TABLE)
        assert (report.added, report.replaced, report.quarantined) == (0, 1, [])
        (dataset,) = index.dc.index.datasets.search(product="global_mangrove_watch")
        assert dataset.uri == new.as_uri()
        assert dataset.measurements["mangrove"]["path"] == str(new)
        assert ingest_rasters(index, "global_mangrove_watch", str(tmp_path), TABLE).unchanged == 1


def test_two_files_of_one_raster_are_not_both_taken(tmp_path: Path, index: Index) -> None:
    first = write_tif(tmp_path / "a" / "GMW_N04E100_2010_v3.tif")
    write_tif(tmp_path / "b" / first.name)
    report = ingest_rasters(index, "global_mangrove_watch", str(tmp_path), TABLE)
    assert (report.found, report.added) == (2, 1)
    assert "give this one another version" in report.quarantined[0]["cause"]
    elsewhere = ingest_rasters(index, "global_mangrove_watch", str(tmp_path / "b"), TABLE)
    assert "known already, at file://" in elsewhere.quarantined[0]["cause"]


@pytest.mark.parametrize("folder", ["plain", "ü b", "50% #1"])
def test_a_second_copy_is_refused_whatever_the_folder_of_the_first_is_called(
    tmp_path: Path, index: Index, folder: str
) -> None:
    first = write_tif(tmp_path / folder / "GMW_N04E100_2010_v3.tif")
    copy = write_tif(tmp_path / f"{folder}_copy" / first.name)
    assert ingest_rasters(index, "global_mangrove_watch", str(first.parent), TABLE).added == 1
    report = ingest_rasters(index, "global_mangrove_watch", str(copy.parent), TABLE)
    assert (report.replaced, [each["id"] for each in report.quarantined]) == (0, [str(copy)])
    assert f"known already, at {first.as_uri()}" in report.quarantined[0]["cause"]
    (dataset,) = index.dc.index.datasets.search(product="global_mangrove_watch")
    assert dataset.uri == first.as_uri()
    retry_rasters(index, TABLE)
    assert [each["id"] for each in listed(index)] == [str(copy)]
    copy.unlink()
    retry_rasters(index, TABLE)
    assert listed(index) == []


def test_what_is_not_as_declared_goes_to_quarantine_and_comes_out_when_corrected(tmp_path: Path, index: Index) -> None:
    (tmp_path / "GMW_N04E100_1996_v3.tif").write_bytes(b"II*\0 torn")
    write_tif(tmp_path / "GMW_N04E100_2007_v3.tif", "float32")
    write_tif(tmp_path / "GMW_N04E100_2008_v3.tif", nodata=255)
    write_tif(tmp_path / "GMW_N04E100_2009.tif")
    write_tif(tmp_path / "GMW_N04E100_2015_v3.tif")
    report = ingest_rasters(index, "global_mangrove_watch", str(tmp_path), TABLE)
    causes = {Path(each["id"]).name: each["cause"] for each in report.quarantined}
    assert report.added == 1 and report.found == 5
    assert causes["GMW_N04E100_1996_v3.tif"].startswith("unreadable raster:")
    assert causes["GMW_N04E100_2007_v3.tif"] == "band mangrove: expected uint8, the file holds float32"
    assert causes["GMW_N04E100_2008_v3.tif"] == "band mangrove: expected nodata 0, the file says 255"
    assert causes["GMW_N04E100_2009.tif"].startswith("the name does not match")
    assert len(listed(index)) == 4
    write_tif(tmp_path / "GMW_N04E100_2007_v3.tif")
    assert ingest_rasters(index, "global_mangrove_watch", str(tmp_path), TABLE).added == 1
    assert len(listed(index)) == 3


def test_area_and_period_choose(shared_data: Path, index: Index) -> None:
    folder = str(shared_data / "labels/mangrove")
    elsewhere = ingest_rasters(index, "global_mangrove_watch", folder, TABLE, area=find_area("100,4,101,5"))
    assert (elsewhere.found, elsewhere.added) == (0, 0)
    early = ingest_rasters(index, "global_mangrove_watch", folder, TABLE, period=parse_period("1990-01-01/1999-12-31"))
    assert (early.found, early.added) == (1, 1)


@pytest.mark.parametrize(
    ("crs", "transform", "n_taken"),
    [
        ("EPSG:32601", from_origin(150_000, 500_000, 5000, 5000), {"-180,4.2,-179.9,4.4": 1, "179.9,4.2,180,4.4": 1, "-10,4.2,10,4.4": 0}),
        ("EPSG:4326", from_origin(-180, 90, 45, 22.5), {"-180,4.2,-179.9,4.4": 1, "-10,4.2,10,4.4": 1}),
        ("EPSG:3857", from_origin(-20_037_508, 20_037_508, 5_009_377, 5_009_377), {"179.9,4.2,180,4.4": 1, "-10,4.2,10,4.4": 1}),
    ],
    ids=["across 180 degrees", "world", "world in metres"],
)  # fmt: skip
def test_an_area_chooses_also_across_180_degrees_and_of_the_whole_world(
    tmp_path: Path, index: Index, crs: str, transform: rasterio.Affine, n_taken: dict[str, int]
) -> None:
    write_tif(tmp_path / "GMW_N04W180_2010_v3.tif", crs=crs, transform=transform)
    taken = {
        area: ingest_rasters(index, "global_mangrove_watch", str(tmp_path), TABLE, area=find_area(area), dry_run=True)
        for area in n_taken
    }
    assert {area: report.added for area, report in taken.items()} == n_taken
    assert not any(report.quarantined for report in taken.values())


def test_a_trial_run_writes_nothing(shared_data: Path, index: Index) -> None:
    report = ingest_rasters(index, "global_mangrove_watch", str(shared_data / "labels/mangrove"), TABLE, dry_run=True)
    assert report.added == 2
    assert index.dc.index.products.get_by_name("global_mangrove_watch") is None


def test_a_tide_model_is_registered_by_presence_and_name(tmp_path: Path, any_settings: Settings) -> None:
    (tmp_path / "ocean_tides").mkdir()
    (tmp_path / "ocean_tides" / "m2_ocean_eot20.nc").write_bytes(b"never opened")
    with open_index(any_settings) as index:
        assert ingest_rasters(index, "eot20", str(tmp_path), TABLE).added == 1
        assert ingest_rasters(index, "eot20", str(tmp_path), TABLE).unchanged == 1
        (dataset,) = index.dc.index.datasets.search(product="eot20")
        assert dataset.uri == tmp_path.as_uri()
        assert dataset.metadata_doc["properties"]["odc:product_family"] == "tide_model"


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("global_mangrove", "labels", "unknown source 'global_mangrove'; near ones: global_mangrove_watch"),
        ("eot20", "labels", r"no file at .*labels is named \*.nc"),
        ("eot20", "nowhere", "nothing at .*nowhere: expected a file or a folder of files"),
    ],
)
def test_a_wrong_request_is_answered_with_what_to_do(
    shared_data: Path, index: Index, name: str, path: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        ingest_rasters(index, name, str(shared_data / path), TABLE)


@pytest.mark.parametrize("path", ["", " "])
def test_files_at_no_path_are_not_those_of_the_current_folder(
    path: str, shared_data: Path, embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embedded_settings.index_url is None
    monkeypatch.chdir(shared_data / "labels/mangrove")
    refused = CliRunner().invoke(main, ["ingest", path, "--as", "global_mangrove_watch"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert (
        "expected the path or URL of files of global_mangrove_watch; got an empty text: is a variable unset?"
        in refused.stderr
    )


def test_the_command_takes_a_source_of_ones_own(shared_data: Path, embedded_settings: Settings, tmp_path: Path) -> None:
    own = {"rasters": {"olinda_etm": LOCAL.rasters["olinda_etm"].model_dump(mode="json")}}
    (embedded_settings.home / "sources.yaml").write_text(json.dumps(own))
    shutil.copy(shared_data / "single_rasters/L7_ETMs.tif", tmp_path)
    result = CliRunner().invoke(main, ["ingest", str(tmp_path), "--as", "olinda_etm", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["archive"], document["found"], document["added"]) == ("olinda_etm", 1, 1)
    wrong = CliRunner().invoke(main, ["ingest", str(tmp_path), "--as", "olinda_etm", "--collection", "x"])
    assert wrong.exit_code == 2 and "--as takes no --collection" in wrong.stderr


def test_quarantine_retry_takes_corrected_rasters_and_forgets_removed_ones(
    embedded_settings: Settings, tmp_path: Path
) -> None:
    first, second = (tmp_path / "maps" / f"GMW_N04E100_{year}_v3.tif" for year in (2007, 2008))
    write_tif(first, "float32")
    write_tif(second, "float32")
    ingest = CliRunner().invoke(main, ["ingest", str(tmp_path / "maps"), "--as", "global_mangrove_watch", "--json"])
    assert ingest.exit_code == 1 and len(json.loads(ingest.stdout)["quarantined"]) == 2
    again = json.loads(CliRunner().invoke(main, ["quarantine", "--retry", "--json"]).stdout)
    assert {each["cause"] for each in again} == {"band mangrove: expected uint8, the file holds float32"}
    write_tif(first)
    second.unlink()
    assert json.loads(CliRunner().invoke(main, ["quarantine", "--retry", "--json"]).stdout) == []
    with open_index(embedded_settings) as index:
        assert len(index.dc.find_datasets(product="global_mangrove_watch")) == 1
