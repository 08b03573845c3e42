"""A cell in strips is the cell: same id, same bytes, less memory."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.cell_memory import cell_bytes
from flows.plan_cells import plan
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading.manifest import AssetRead, ReadManifest, merged
from flows.steps.loading.read_attempts import is_out_of_memory
from flows.steps.loading.reading import UnreadBand
from products.errors import RequestError
from products.registry import features_recipe
from tests.flows.file_digests import digests

AREA, YEAR = "demo", "2020"
BUDGET = "NEOCUBE_MEMORY_LIMIT_BYTES"
TEXTURED = """name: textured
version: 1
kind: features
grid: {crs: utm, resolution_m: 30, tile_px: 120, anchor: landsat}
period: P1Y
sources:
  - {collection: landsat-c2-l2, clear: {dilate_px: 2}}
  - {collection: sentinel-2-l2a, clear: {dilate_px: 3}}
harmonise: {}
features:
  - index: {names: [NDVI], reduce: [p50]}
  - texture: {of: {index: MNDWI}, window_px: 7, measures: [contrast, entropy], levels: 16}
  - count: {}
"""


@pytest.fixture(params=["dilated", pytest.param("textured", marks=pytest.mark.full)])
def recipe(request: pytest.FixtureRequest, small_recipe: Path, tmp_path: Path) -> str:
    """`mangrove_features` in tiles of 160 pixels, and a texture in tiles of 120, which are no multiple of 16."""
    path = tmp_path / f"{request.param}.recipe.yaml"
    dilated = small_recipe.read_text().replace("tile_px: 96", "tile_px: 160")
    path.write_text(dilated if request.param == "dilated" else TEXTURED)
    return str(path)


def built_bytes(settings: Settings, recipe: str) -> dict[str, str]:
    """What a build from nothing leaves in the store, which is then as before."""
    before = settings.home.with_name("before")
    subprocess.run(["cp", "-a", str(settings.home), str(before)], check=True)
    assert build(recipe, AREA, YEAR)["failed"] == []
    made = digests(settings.store_url)
    shutil.rmtree(settings.home)
    before.rename(settings.home)
    return made


def tightest_budget(recipe: str, rows: int) -> int:
    """Enough for each cell in strips of some rows."""
    wanted, threads = features_recipe(recipe), plan(recipe, AREA, YEAR).threads
    return max(cell_bytes(wanted, len(cell.scenes), threads, rows) for cell in plan(recipe, AREA, YEAR).cells)


def test_a_cell_in_strips_has_the_id_and_the_bytes_of_the_undivided(
    ingested_settings: Settings, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = built_bytes(ingested_settings, recipe)
    monkeypatch.setenv(BUDGET, str(tightest_budget(recipe, 16)))
    made = plan(recipe, AREA, YEAR)
    assert made.document(0, "EUR")["strips"] >= 2
    assert made.document(0, "EUR")["host_bytes"] <= int(os.environ[BUDGET])

    report = build(recipe, AREA, YEAR)
    assert report["built"] == len(made.cells)
    assert report["notes"] == []
    assert digests(ingested_settings.store_url) == whole


@pytest.mark.full
def test_a_file_that_fails_in_one_strip_is_unread_in_all_as_in_the_undivided_cell(
    embedded_settings: Settings, small_archive: Path, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_archive, archive)
    with open_index(embedded_settings) as index:
        ingest_archive(index, str(archive))
    for path in list(archive.rglob("*.tif"))[::7]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    monkeypatch.setenv("NEOCUBE_FAILURE_BUDGET", "1")
    whole = built_bytes(embedded_settings, recipe)

    monkeypatch.setenv(BUDGET, str(tightest_budget(recipe, 16)))
    report = build(recipe, AREA, YEAR)
    assert report["unread"]
    assert digests(embedded_settings.store_url) == whole
    assert any(cell["unread"] for cell in report["cells"])


def test_a_build_is_refused_only_where_not_even_16_rows_fit(
    ingested_settings: Settings, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smallest = tightest_budget(recipe, 16)
    monkeypatch.setenv(BUDGET, str(smallest))
    assert plan(recipe, AREA, YEAR).document(0, "EUR")["host_bytes"] == smallest

    monkeypatch.setenv(BUDGET, str(smallest - 1))
    with pytest.raises(RequestError, match="even in strips of 16 rows, .* may be used: take a smaller tile_px than"):
        plan(recipe, AREA, YEAR)
    monkeypatch.setenv(BUDGET, str(smallest * 2 - 1))
    with pytest.raises(RequestError, match="may be used by each of 2 workers"):
        build(recipe, AREA, YEAR, workers=2)


def asset(band: str, outcome: str, attempts: int = 1, n_bytes: int = 0, cause: str = "", note: str = "") -> AssetRead:
    return AssetRead(UUID(int=1), "item", band, outcome, attempts, n_bytes, cause, note)


def test_the_manifest_of_strips_counts_each_asset_once_and_its_worst_fate() -> None:
    strips = [
        ReadManifest((asset("scl", "read", 1, 5), asset("nir", "unneeded"), asset("red", "unneeded"))),
        ReadManifest(
            (asset("scl", "read", 2, 7), asset("nir_narrow", "read", 1, 11), asset("red", "failed", 2, 0, "gone"))
        ),
        ReadManifest(
            (asset("scl", "read", 1, 5), asset("nir_narrow", "read", 1, 3, note="odd"), asset("red", "read", 1, 2))
        ),
    ]
    assert merged(strips).assets == (
        asset("scl", "read", 2, 17), asset("nir_narrow", "read", 1, 14, note="odd"), asset("red", "failed", 2, 2, "gone"),
    )  # fmt: skip
    assert merged(strips[:1]) is strips[0]
    assert merged([strips[0], strips[0]]).assets == (asset("scl", "read", 1, 10), *strips[0].assets[1:])


STARVED = """
import json, resource, sys
from pathlib import Path
from flows.build_here import build
from flows.plan_cells import plan

recipe, warm = sys.argv[1:]
assert build(warm, "demo", "2020")["failed"] == []  # libraries are loaded, kernels compiled
size = next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + 420_000_000, size + 420_000_000))
made = plan(recipe, "demo", "2020")
assert {cell.strip_px for cell in made.cells} == {1536}
report = build(recipe, "demo", "2020")
sys.stdout.write(json.dumps(report))
"""
WIDE = """name: NAME
version: 1
kind: features
grid: {crs: utm, resolution_m: 30, tile_px: SIDE, anchor: landsat}
period: P1Y
sources: [{collection: landsat-c2-l2, clear: {dilate_px: 2}}, {collection: sentinel-2-l2a}]
features:
  - geomedian: {bands: [blue, green, red, nir, swir1, swir2]}
"""


def wide_recipe(folder: Path, side: int) -> str:
    path = folder / f"wide_{side}.recipe.yaml"
    path.write_text(WIDE.replace("NAME", f"wide_{side}").replace("SIDE", str(side)))
    return str(path)


@pytest.mark.full
def test_a_build_that_runs_out_of_memory_halves_its_strips_says_so_and_goes_on(
    ingested_settings: Settings, tmp_path: Path
) -> None:
    recipe, warm = wide_recipe(tmp_path, 1536), wide_recipe(tmp_path, 96)
    whole = built_bytes(ingested_settings, recipe)
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "NEOCUBE_DECODE_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", STARVED, recipe, warm], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["failed"] == []
    assert "out of memory: " in report["notes"][0] and "went on in strips of 768 rows" in report["notes"][0]
    made = {p: d for p, d in digests(ingested_settings.store_url).items() if p.startswith("cells/wide_1536")}
    assert made == {p: d for p, d in whole.items() if p.startswith("cells/wide_1536")} != {}
    with open_index(ingested_settings) as index:
        rows = [index.dc.index.datasets.get(UUID(cell["id"])) for cell in report["cells"]]
    said = [note for row in rows for note in row.metadata_doc["properties"]["neocube:manifest"]["building"]]
    assert said == report["notes"]


def test_memory_that_gdal_lacks_is_not_held_against_the_file(chained: Callable[[str], UnreadBand]) -> None:
    assert is_out_of_memory(chained("CPLE_OutOfMemoryError"))
    assert not is_out_of_memory(chained("CPLE_FileIOError"))


@pytest.fixture
def chained() -> Callable[[str], UnreadBand]:
    """Makes an UnreadBand as rasterio's errors cause it: GDAL's error behind rasterio's."""

    def make(name: str) -> UnreadBand:
        import rasterio._err
        from rasterio.errors import RasterioIOError

        outer, middle = UnreadBand("cannot read"), RasterioIOError("Read failed")
        middle.__cause__ = getattr(rasterio._err, name)(1, 2, "Out of memory")
        outer.__cause__ = middle
        return outer

    return make
