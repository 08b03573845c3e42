"""What a user gets wrong: one clear line on stderr, the right exit code, and nothing half done."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.cli import main
from flows.console import written
from flows.steps.index.catalogue import published_cells
from products.errors import RequestError
from products.period import parse_period
from products.registry import DEFINITIONS
from tests.flows.command_line import answered, failed, neocube, refused
from tests.flows.small_disks import mounted

AREA, YEAR = "demo", "2020"


@pytest.mark.parametrize("command", ["plan", "build"])
@pytest.mark.parametrize(
    ("area", "period", "words"),
    [
        ("nowhere", YEAR, ("unknown area 'nowhere'", "demo")),
        ("10,20,5,30", YEAR, ("expected west < east",)),
        (AREA, "2020-13", ("expected a period", "2020-13")),
        (AREA, "2020-03", ("cuts a cell", "P1Y")),
        (AREA, "2015", ("no scene of landsat-c2-l2, sentinel-2-l2a", "ingest some first")),
        ("10,20,10.1,20.1", YEAR, ("no scene of", "ingest some first")),
        (AREA, "2026", ("settles on 2027-01-17", "--provisional")),
    ],
)
def test_a_wrong_area_or_period_is_refused(
    command: str, area: str, period: str, words: tuple[str, ...], ingested_settings: Settings
) -> None:
    refused(neocube(command, "mangrove_features", "--area", area, "--period", period), *words)
    assert not list(Path(ingested_settings.store_url).rglob("*.zarr"))


def test_an_empty_area_is_refused(ingested_settings: Settings, tmp_path: Path) -> None:
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    refused(neocube("build", "mangrove_features", "--area", str(empty), "--period", YEAR), str(empty), "empty")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("swir2]", "swir3]", ("line 12", "unknown band 'swir3'", "swir2")),
        ("NDVI, ", "NDVX, ", ("line 14", "unknown index 'NDVX'", "NDVI")),
        ("crs: utm", "crs: EPSG:99999", ("line 5", "unknown CRS 'EPSG:99999'")),
        ("harmonise:", "harmonize:", ("line 10", "unknown key 'harmonize'", "harmonise")),
        ("kind: features", "kind: feature", ("line 3", "expected kind: features")),
        ("p10", "q10", ("line 14", "unknown reducer 'q10'")),
    ],
)
def test_a_wrong_recipe_is_answered_with_its_line(
    old: str, new: str, words: tuple[str, ...], ingested_settings: Settings, small_recipe: Path, tmp_path: Path
) -> None:
    assert ingested_settings.index_url is None
    wrong = tmp_path / "wrong.recipe.yaml"
    text = small_recipe.read_text()
    assert old in text
    wrong.write_text(text.replace(old, new, 1))
    refused(neocube("plan", str(wrong), "--area", AREA, "--period", YEAR), "wrong.recipe.yaml", *words)


@pytest.mark.parametrize(
    ("crs", "area", "words"),
    [
        ("EPSG:3031", "-180,-80,180,-79", ("no scene of landsat-c2-l2", "ingest some first")),
        ("EPSG:32647", "9,0,9.5,0.5", ("holds no tile of EPSG:32647: expected an area within the reach of that CRS",)),
    ],
)
def test_an_area_round_a_pole_or_far_from_the_crs_is_answered_in_one_line(
    crs: str, area: str, words: tuple[str, ...], ingested_settings: Settings, tmp_path: Path
) -> None:
    recipe = tmp_path / "far.recipe.yaml"
    text = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
    recipe.write_text(text.replace("crs: utm, resolution_m: 30", f"crs: {crs}, resolution_m: 300"))
    refused(neocube("plan", str(recipe), f"--area={area}", "--period", YEAR), *words)


def test_a_terminal_that_does_not_know_a_sign_shows_another(ingested_settings: Settings, small_recipe: Path) -> None:
    assert ingested_settings.index_url is None
    asked = ["plan", str(small_recipe), "--area", "100.7,4.9,100.85,5.0", "--period", YEAR]
    done = CliRunner(charset="latin-1").invoke(main, asked, catch_exceptions=False)
    assert done.exit_code == 0
    assert b"cells have no scene: " in done.stdout_bytes and b" ?\n" in done.stdout_bytes


def test_a_product_of_scenes_is_no_model(ingested_settings: Settings) -> None:
    assert ingested_settings.index_url is None
    asked = ("map", "sentinel2_msi_l2a", "--area", AREA, "--period", YEAR)
    refused(neocube(*asked), "unknown model 'sentinel2_msi_l2a'", "none is trained yet: run `neocube train`")


def test_an_unknown_recipe_lists_the_near_ones(ingested_settings: Settings) -> None:
    assert ingested_settings.index_url is None
    refused(
        neocube("build", "mangrove_feature", "--area", AREA, "--period", YEAR), "unknown recipe", "mangrove_features"
    )


@pytest.mark.parametrize("archive", ["", "  "])
@pytest.mark.parametrize("command", ["ingest", "reconcile"])
def test_an_archive_of_no_name_is_not_the_current_folder(
    command: str, archive: str, small_archive: Path, embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embedded_settings.index_url is None
    monkeypatch.chdir(small_archive)
    refused(neocube(command, archive), "expected a path, an s3://", "got an empty text: is a variable unset?")


def test_a_look_around_a_place_far_from_the_crs_is_answered_in_one_line(
    ingested_settings: Settings, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "far.recipe.yaml", ingested_settings.home / "far.png"
    text = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
    recipe.write_text(text.replace("crs: utm", "crs: EPSG:32647"))
    done = neocube("preview", str(recipe), "--at", "9,0", "--period", YEAR, "--out", str(out))
    refused(done, "the area '9,0' holds no tile of EPSG:32647: expected an area within the reach of that CRS")


@pytest.mark.parametrize(
    ("product", "words"),
    [
        ("sentinel2_msi_l2", ("'sentinel2_msi_l2'", "near ones: sentinel2_msi_l2a")),
        ("mangrove_features", ("'mangrove_features'", "landsat_oli_c2_l2")),
    ],
)
def test_scenes_of_what_is_no_product_of_scenes_are_refused(
    product: str, words: tuple[str, ...], ingested_settings: Settings
) -> None:
    assert ingested_settings.index_url is None
    refused(neocube("scenes", "--product", product), "no source product of scenes", *words)


def test_an_empty_answer_says_what_there_is_none_of(ingested_settings: Settings) -> None:
    assert ingested_settings.index_url is None
    none = ("scenes", "--product", "sentinel2_msi_l2a", "--area", AREA, "--period", "2019")
    assert neocube(*none).stdout == "no scene of sentinel2_msi_l2a over demo in 2019 is indexed\n"
    assert neocube("quarantine").stdout == "nothing is in quarantine\n"
    assert [answered(*none), answered("quarantine")] == [[], []]


@pytest.mark.parametrize("command", ["plan", "build"])
def test_help_shows_periods_that_yearly_recipes_take(command: str) -> None:
    shown = " ".join(neocube(command, "--help").stdout.split())
    assert "whole periods of the recipe, such as 2020 or 2018-01-01/2020-12-31." in shown.lower()


@pytest.mark.parametrize("days", ["nan", "inf", "1e+300", "-1"])
def test_an_age_that_is_no_number_of_days_is_refused(days: str, embedded_settings: Settings) -> None:
    assert embedded_settings.index_url is None
    refused(neocube("retire", "--older-than", days), "--older-than", "expected days, 0 to 36500", days)


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    ingested_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ingested_settings.index_url is None
    monkeypatch.chdir(tmp_path)
    Path("file.png").touch()
    look = ["mangrove_features", "--area", AREA]
    for command in (
        ["preview", *look, "--period", YEAR, "--out"],
        ["gallery", *look, "--out"],
        ["gallery", *look, "--tides"],
        ["report", *look],
        ["assess", "design", "mangrove_map", "--area", AREA, "--out"],
    ):
        for folder in ("file.png", "file.png/below", "/proc/below"):
            place = f"{folder}/y.{'gpkg' if 'design' in command else 'png'}"
            refused(neocube(*command, place), f"cannot write {place}: ", ": choose another place")


def test_a_disk_that_takes_no_more_ends_a_picture_with_one_line() -> None:
    with pytest.raises(RequestError, match="cannot write /dev/full: No space left on device: choose another place"):
        written(Path("/dev/full"), b"picture")


def test_a_retry_that_leaves_items_in_quarantine_is_work_that_failed(
    embedded_settings: Settings, small_archive: Path, tmp_path: Path
) -> None:
    assert embedded_settings.index_url is None
    scene = next(small_archive.rglob("LC08*_B4.TIF")).parent
    shutil.copytree(scene, tmp_path / "archive" / scene.name)
    band = next((tmp_path / "archive").rglob("*_B4.TIF"))
    band.rename(tmp_path / band.name)
    assert neocube("ingest", str(tmp_path / "archive")).exit_code == 1
    tried = neocube("quarantine", "--retry")
    assert tried.exit_code == 1 and "1 tried, 0 passed" in tried.stderr
    assert neocube("quarantine").exit_code == 0
    (tmp_path / band.name).rename(band)
    tried = neocube("quarantine", "--retry")
    assert tried.exit_code == 0 and "1 tried, 1 passed" in tried.stderr


def test_shell_lines_are_no_json(neocube_home: Path) -> None:
    refused(neocube("settings", "--shell", "--json"), "expected --shell or --json")
    assert not neocube_home.exists()


def test_a_cell_beyond_the_memory_limit_is_refused_before_it_starts(
    ingested_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_MEMORY_LIMIT_BYTES", "1000000")
    refused(
        neocube("build", "mangrove_features", "--area", AREA, "--period", YEAR),
        "may be used",
        "tile_px",
        "NEOCUBE_MEMORY_LIMIT_BYTES",
    )
    assert not Path(ingested_settings.store_url, "cells").exists()


def test_a_stopped_database_is_one_clear_line(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not neocube_home.exists()
    monkeypatch.setenv("NEOCUBE_INDEX_URL", "postgresql://odc:hidden@127.0.0.1:1/odc")
    result = neocube("build", "mangrove_features", "--area", AREA, "--period", YEAR)
    refused(result, "cannot be reached", "127.0.0.1:1", "NEOCUBE_INDEX_URL")
    assert "hidden" not in result.output


def test_an_index_that_was_never_made_says_so(neocube_home: Path) -> None:
    refused(neocube("build", "mangrove_features", "--area", AREA, "--period", YEAR), "run `neocube init`")
    assert not (neocube_home / "store" / "cells").exists()


def test_a_store_that_cannot_be_written_is_one_clear_line(
    ingested_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ingested_settings.index_url is None
    monkeypatch.setenv("NEOCUBE_STORE_URL", "/proc/neocube")
    refused(
        neocube("build", "mangrove_features", "--area", AREA, "--period", YEAR),
        "cannot write to the store /proc/neocube",
        "NEOCUBE_STORE_URL",
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    with mounted(tmp_path / "disk", "size=1m") as folder:
        yield folder


@pytest.fixture
def full_disk(small_disk: Path) -> Path:
    """The same with room for 40 kB: enough for a first file, not for all."""
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - 40_960)
    return small_disk


def test_a_full_disk_fails_the_cells_and_leaves_nothing_of_them(
    ingested_settings: Settings, small_disk: Path, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(small_disk / "store"))
    result = neocube("build", str(small_recipe), "--area", AREA, "--period", YEAR)
    assert result.exit_code == 1, result.output
    assert "No space left on device: make room there, or set NEOCUBE_STORE_URL" in result.stdout
    with open_index(ingested_settings) as index:
        cells = published_cells(index, "mangrove_features", 1, [parse_period(YEAR)])
    written = {path.name for path in (small_disk / "store" / "cells" / "mangrove_features").glob("*")}
    assert written == {str(cell.id) for cell in cells.values()}
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(ingested_settings.store_url))


@pytest.fixture
def small_model(small_recipe: Path, tmp_path: Path) -> Path:
    """`mangrove_extent` of ten trees on the small recipe."""
    text = (DEFINITIONS / "mangrove_extent.recipe.yaml").read_text()
    path = tmp_path / "small_model.recipe.yaml"
    path.write_text(text.replace("features: mangrove_features", f"features: {small_recipe}").replace("100", "10"))
    return path


@pytest.mark.full
def test_a_full_disk_ends_training_and_mapping_with_one_line_and_nothing_of_them(
    ingested_settings: Settings, full_disk: Path, small_recipe: Path, small_model: Path, small_archive: Path
) -> None:
    store = Path(ingested_settings.store_url)
    assert neocube("build", str(small_recipe), "--area", AREA, "--period", YEAR).exit_code == 0
    labels = str(small_archive / "truth" / "labels.geojson")
    training = ("train", str(small_model), "--area", AREA, "--period", YEAR, "--labels", labels)
    mapping = ("map", "mangrove_extent", "--area", AREA, "--period", YEAR)
    space = "No space left on device: make room there, or set NEOCUBE_STORE_URL"

    (store / "models").symlink_to(full_disk)
    failed(neocube(*training), "cannot write the model mangrove_extent", space)
    assert [path.name for path in full_disk.rglob("*") if path.is_file()] == ["filler"]
    refused(neocube(*mapping), "unknown model 'mangrove_extent'", "none is trained yet")
    (store / "models").unlink()
    assert neocube(*training).exit_code == 0

    (store / "maps").symlink_to(full_disk)
    failed(neocube(*mapping), "cannot write the files of the map mangrove_map", space)
    assert [path.name for path in full_disk.rglob("*") if path.is_file()] == ["filler"]
    (store / "maps").unlink()
    (store / "cells" / "mangrove_map").rename(store / "elsewhere")
    done = neocube(*mapping, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["mapped"] == 0


def test_feature_cells_that_cannot_be_read_end_a_map_with_one_line(
    ingested_settings: Settings, small_recipe: Path, small_model: Path, small_archive: Path
) -> None:
    assert neocube("build", str(small_recipe), "--area", AREA, "--period", YEAR).exit_code == 0
    labels = str(small_archive / "truth" / "labels.geojson")
    asked = ("--area", AREA, "--period", YEAR)
    assert neocube("train", str(small_model), *asked, "--labels", labels).exit_code == 0
    cells = Path(ingested_settings.store_url) / "cells" / "mangrove_features"
    hidden = sorted(cells.iterdir())
    for cell in hidden[1:]:
        cell.rename(cells.parent / cell.name)
    some = neocube("map", "mangrove_extent", *asked, "--json")
    assert some.exit_code == 1 and len(json.loads(some.stdout)["failed"]) == len(hidden) - 1
    with open_index(ingested_settings) as index:
        mapped = published_cells(index, "mangrove_map", 1, [parse_period(YEAR)])
        index.dc.index.datasets.archive([cell.id for cell in mapped.values()])
    hidden[0].rename(cells.parent / hidden[0].name)
    failed(
        neocube("map", "mangrove_extent", *asked), "no cell of demo could be mapped; the first", "no cube at file://"
    )


@pytest.mark.full
def test_a_database_that_stops_during_a_build_is_one_clear_line_and_the_next_build_goes_on(
    ingested_settings: Settings, small_recipe: Path
) -> None:
    home, asked = ingested_settings.home, ("build", str(small_recipe), "--area", AREA, "--period", YEAR)
    cells = home / "store" / "cells" / "mangrove_features"
    command = [sys.executable, "-m", "flows.cli", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as building:
        while not any(cells.glob("*")):
            assert building.poll() is None
            time.sleep(0.002)
        os.kill(int((home / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        stdout, stderr = building.communicate(timeout=300)
    lines = stderr.splitlines()
    assert (building.returncode, stdout, len(lines)) == (1, "", 1), stderr
    for words in ("neocube: the index at postgresql", "gave out during the work", "run the same again"):
        assert words in lines[0]
    assert neocube(*asked).exit_code == 0


def truncated(archive: Path, scene: str) -> None:
    """Cut the red band of a scene in half."""
    band = next(archive.rglob(f"{scene}*/*B4.TIF"))
    band.write_bytes(band.read_bytes()[: band.stat().st_size // 2])


@pytest.mark.parametrize(("budget", "counted"), [("1", "unread"), pytest.param("0", "failed", marks=pytest.mark.full)])
def test_a_truncated_image_is_some_work_that_failed_whether_or_not_the_budget_allows_it(
    budget: str,
    counted: str,
    embedded_settings: Settings,
    small_archive: Path,
    small_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_archive, archive)
    truncated(archive, "LC08")
    monkeypatch.setenv("NEOCUBE_FAILURE_BUDGET", budget)
    assert embedded_settings.index_url is None
    neocube("ingest", str(archive))
    asked = (str(small_recipe), "--area", AREA, "--period", YEAR)
    done = neocube("build", *asked, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert report[counted] and (counted == "failed" or not report["failed"])
    assert "_SR_B4.TIF" in report[counted][0]["cause"]
    shown = neocube("build", *asked)
    assert shown.exit_code == 1 and f"{counted} " in shown.stdout
    states = {cell["state"] for cell in json.loads(neocube("plan", *asked, "--json").stdout)["cells"]}
    assert ("stale" if counted == "unread" else "missing") in states
