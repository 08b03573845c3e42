"""What a user gets wrong: one clear line on stderr, the right exit code, and nothing half done."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.catalogue import published_cells
from products.period import parse_period

AREA, YEAR = "demo", "2020"


def neocube(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def refused(result: Result, *words: str) -> None:
    """Exit code 2, nothing on stdout, and one line that has the words."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("neocube: ")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


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


def test_an_unknown_recipe_lists_the_near_ones(ingested_settings: Settings) -> None:
    assert ingested_settings.index_url is None
    refused(
        neocube("build", "mangrove_feature", "--area", AREA, "--period", YEAR), "unknown recipe", "mangrove_features"
    )


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
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs root, to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_fails_the_cells_and_leaves_nothing_of_them(
    ingested_settings: Settings, small_disk: Path, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(small_disk / "store"))
    result = neocube("build", str(small_recipe), "--area", AREA, "--period", YEAR)
    assert result.exit_code in (1, 2), result.output
    assert "No space left on device: make room there, or set NEOCUBE_STORE_URL" in result.output
    with open_index(ingested_settings) as index:
        cells = published_cells(index, "mangrove_features", 1, [parse_period(YEAR)])
    written = {path.name for path in (small_disk / "store" / "cells" / "mangrove_features").glob("*")}
    assert written == {str(cell.id) for cell in cells.values()}
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(ingested_settings.store_url))
