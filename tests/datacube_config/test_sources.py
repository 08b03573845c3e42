"""sources.yaml: what is declared, what a file of one's own adds, and what is refused."""

from pathlib import Path

import pytest

from datacube_config.errors import SettingsError
from datacube_config.sources import RasterSource, SourceTable, source_table

PHOTOS = """
rasters:
  harbour_photos:
    title: Aerial photographs of the harbour
    kind: image
    license: various
    credit: our own
    files: ["*.tif"]
    name: '(?P<tile>\\d+)_(?P<date>\\d{8})\\.tif'
    time: date
    bands: {red: {dtype: uint8, nodata: 0, layer: 1}, green: {dtype: uint8, nodata: 0, layer: 2}}
"""
ENTRY = {
    "title": "t", "kind": "image", "license": "various", "credit": "c", "files": ["*.tif"], "time": "static",
    "name": r".*\.tif", "bands": {"red": {"dtype": "uint8", "nodata": 0}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "path", "facts"),
    [
        ("global_mangrove_watch", "a/GMW_N26W082_1996_v3.tif", {"tile": "N26W082", "epoch": "1996", "version": "3"}),
        ("copernicus_dem_glo30", "Copernicus_DSM_COG_10_S04_00_W070_00_DEM.tif", {"tile": "S04_00_W070_00"}),
        ("jrc_global_surface_water", "occurrence_80W_30Nv1_4_2021.tif", {"tile": "80W_30N", "version": "1_4_2021"}),
        ("force_landsat", "l2/X0003_Y0048/20200131_LEVEL2_LND08_QAI.tif",
         {"tile": "X0003_Y0048", "date": "20200131", "platform": "LND08", "band": "QAI"}),
        ("force_sentinel2", "X-003_Y0048/20200131_LEVEL2_SEN2B_BOA.tif", None),
    ],
)  # fmt: skip
def test_the_declared_names_say_tile_time_and_version(source: str, path: str, facts: dict[str, str] | None) -> None:
    found = source_table().rasters[source].match(path)
    assert (found.groupdict() if found else None) == facts


def test_every_declared_source_has_a_credit_and_a_licence() -> None:
    table = source_table()
    assert len(table.names) >= 8
    for source in (*table.rasters.values(), *table.folders.values()):
        assert len(source.credit) > 10 and source.license and source.title


def test_a_file_in_the_home_adds_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(PHOTOS)
    table = source_table(tmp_path)
    assert table.rasters["harbour_photos"].bands["green"].layer == 2
    assert "global_mangrove_watch" in table.rasters


def test_a_wrong_file_in_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(PHOTOS.replace("time: date", "time: epoch"))
    with pytest.raises(SettingsError, match=r"sources.yaml.*time: epoch needs a group \(\?P<epoch>"):
        source_table(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            PHOTOS.replace("time: date", "time: never"),
            r"sources.yaml, line \d+, rasters.harbour_photos.time: Input should",
        ),
        (PHOTOS + "pictures: {}\n", r"sources.yaml, line \d+, pictures: unknown key"),
        ("rasters: [1]\n", r"sources.yaml, line 1, rasters: Input should be a valid dictionary"),
        ("rasters: {}\nrasters: {}\n", r"sources.yaml, line 2: the key 'rasters' stands twice"),
        ("rasters: [\n", "sources.yaml is not readable YAML"),
        ("- mine\n", "sources.yaml, line 1: expected a mapping, got list"),
    ],
)
def test_what_is_wrong_in_a_file_in_the_home_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "sources.yaml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        source_table(tmp_path)


def test_a_file_in_the_home_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"sources.yaml cannot be read: .*decode"):
        source_table(tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "rasters:\n"])
def test_a_file_in_the_home_may_say_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.yaml").write_text(text)
    assert source_table(tmp_path) == source_table()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "("}, "expected a regular expression"),
        ({"name": "(?P<colour>x)"}, "unknown group 'colour' in name"),
        ({"name": "(?P<band>x)"}, "go together"),
        ({"colour": 1}, "Extra inputs"),
        ({"license": "a b"}, "String should match pattern"),
        ({"bands": {"red": {"dtype": "uint8"}}}, "nodata"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_cause(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RasterSource.model_validate(ENTRY | change)


def test_a_product_name_that_odc_would_refuse_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a product name of lower-case letters"):
        SourceTable.model_validate({"rasters": {"My-Photos": ENTRY}})
