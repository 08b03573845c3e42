"""The files of an archive at a mirror: copied once, checked, resumed, and read in place of the source with the same result."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import s3fs
from affine import Affine
from moto.server import ThreadedMotoServer
from odc.geo.crs import CRS
from odc.geo.geom import Geometry, box
from sqlalchemy import select

from datacube_config.connection import Index, open_index
from datacube_config.schema import mirror_file
from datacube_config.settings import Settings
from flows.build_here import build
from flows.plan_cells import plan
from flows.steps.archives.packed_files import packed_folder
from flows.steps.archives.source_bytes import FileAccess
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes, published_cells
from flows.steps.loading.raster_access import RasterAccess, raster_access
from flows.steps.loading.tile_block import load_observations
from flows.steps.mirroring.mirror_jobs import MirrorOrder, mirror_order
from flows.steps.mirroring.mirroring import MirrorReport, mirror_scenes, scenes_to_mirror
from flows.steps.storage import s3_options
from products.period import parse_period
from products.registry import features_recipe
from products.scene import Scene
from tests.flows.command_line import neocube
from tests.flows.loopback_server import Silent, answering
from tests.flows.small_disks import mounted
from tests.waiting import wait_until

YEAR = parse_period("2020")


@pytest.fixture
def index(ingested_settings: Settings) -> Iterator[Index]:
    with open_index(ingested_settings) as opened:
        yield opened


def mirrored(index: Index, archive: Path, order: MirrorOrder, access: FileAccess | None = None) -> MirrorReport:
    scenes = scenes_to_mirror(index, str(archive), (), None, None)
    return mirror_scenes(index, scenes, order, access or FileAccess(), RasterAccess())


def rows(index: Index) -> list[Any]:
    with index.engine.connect() as connection:
        return list(connection.execute(select(mirror_file).order_by(mirror_file.c.dataset_id, mirror_file.c.band)))


def scenes_of(index: Index, *mirrors: str) -> list[Scene]:
    area = find_area("demo")
    return find_scenes(index, features_recipe("mangrove_features").sources, YEAR, area.geometry, mirrors)


def test_wanted_bands_and_masks_are_copied_once_with_their_checksums(
    index: Index, small_archive: Path, tmp_path: Path
) -> None:
    order = mirror_order(str(tmp_path / "mirror"), "red,nir")
    first = mirrored(index, small_archive, order)
    assert first.files == first.copied > 0
    assert (first.kept, first.damaged, first.failed) == (0, [], [])
    found = rows(index)
    assert {row.band for row in found} == {"red", "nir", "qa_pixel", "qa_radsat", "scl"}
    sources = {(scene.id, band): file.href for scene in scenes_of(index) for band, file in scene.bands.items()}
    for row in found:
        content = Path(row.href).read_bytes()
        assert (row.size_bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert content == Path(sources[row.dataset_id, row.band]).read_bytes()
        assert (row.mirror, row.clip, row.encoding) == (order.root, None, "source")
    before = {path: path.stat().st_mtime_ns for path in Path(order.root).rglob("*")}
    again = mirrored(index, small_archive, order)
    assert (again.kept, again.copied, again.copied_bytes) == (first.files, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in Path(order.root).rglob("*")} == before
    more = mirrored(index, small_archive, mirror_order(order.root, "red,nir,blue"))
    assert more.kept == first.files
    assert more.copied == len({row.dataset_id for row in found})


def test_only_scenes_of_the_archive_collection_area_and_period_are_mirrored(
    index: Index, small_archive: Path, tmp_path: Path
) -> None:
    def found(*query: Any) -> set[str]:
        return {scene.collection for scene in scenes_to_mirror(index, *query)}

    assert found(str(small_archive), (), None, None) == {"landsat-c2-l2", "sentinel-2-l2a"}
    assert found(str(small_archive), ("sentinel-2-l2a",), find_area("demo"), YEAR) == {"sentinel-2-l2a"}
    assert found(str(tmp_path), (), None, None) == set()
    assert found(str(small_archive), (), None, parse_period("2019")) == set()
    assert found(str(small_archive), (), find_area("10,10,11,11"), None) == set()


def test_what_an_archive_has_is_mirrored_also_where_it_was_taken_from_another(
    index: Index, small_archive: Path, tmp_path: Path
) -> None:
    first = {scene.item_id for scene in scenes_to_mirror(index, str(small_archive), (), None, None)}
    again = ["ingest", str(small_archive / "catalog.json"), "--mirror", str(tmp_path / "mirror"), "--bands", "red"]
    report = json.loads(neocube(*again, "--json").stdout)
    assert report["unchanged"] == report["found"] >= len(first) > 0
    assert report["mirror"]["copied"] == report["mirror"]["files"] > 0
    other = str(small_archive / "catalog.json")
    assert {scene.item_id for scene in scenes_to_mirror(index, other, (), None, None)} == first
    assert {scene.collection for scene in scenes_to_mirror(index, other, ("sentinel-2-l2a",), None, YEAR)} == {
        "sentinel-2-l2a"
    }


def test_what_is_damaged_or_gone_is_copied_anew(index: Index, small_archive: Path, tmp_path: Path) -> None:
    order = mirror_order(str(tmp_path / "mirror"), "red")
    files = mirrored(index, small_archive, order).files
    short, flipped, gone = (Path(row.href) for row in rows(index)[:3])
    right = {path: path.read_bytes() for path in (short, flipped, gone)}
    short.write_bytes(right[short][:-1])
    flipped.write_bytes(bytes([right[flipped][0] ^ 1]) + right[flipped][1:])
    gone.unlink()
    by_size = mirrored(index, small_archive, order)
    assert (by_size.copied, by_size.kept) == (2, files - 2)
    assert sorted(each["cause"].removeprefix(str(tmp_path)) for each in by_size.damaged) == sorted(
        [
            f"{gone} is gone".removeprefix(str(tmp_path)),
            f"{short} has {len(right[short]) - 1} bytes, {len(right[short])} were copied".removeprefix(str(tmp_path)),
        ]
    )
    by_checksum = mirrored(index, small_archive, replace(order, verify=True))
    assert by_checksum.damaged[0]["cause"] == f"{flipped} has another sha256 than was copied"
    assert (by_checksum.copied, by_checksum.kept) == (1, files - 1)
    assert {path: path.read_bytes() for path in right} == right


def test_a_source_that_is_gone_is_reported_and_the_others_are_copied(
    index: Index, small_archive: Path, tmp_path: Path
) -> None:
    scenes = list(scenes_to_mirror(index, str(small_archive), ("sentinel-2-l2a",), None, None))
    lost = replace(scenes[0].bands["red"], href=str(tmp_path / "lost.tif"))
    scenes[0] = replace(scenes[0], bands={**scenes[0].bands, "red": lost})
    order = mirror_order(str(tmp_path / "mirror"), "red")
    report = mirror_scenes(index, scenes, order, FileAccess(), RasterAccess())
    assert report.failed == [
        {
            "item_id": scenes[0].item_id,
            "band": "red",
            "cause": f"cannot copy {lost.href}: FileNotFoundError: [Errno 2] No such file or directory: '{lost.href}'",
        }
    ]
    assert report.files == report.copied + 1 == 2 * len(scenes)


def test_places_are_in_order_of_wish_then_nearness(index: Index, small_archive: Path, tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    for root in (one, two):
        mirrored(index, small_archive, mirror_order(root, "red"))

    def roots(*mirrors: str) -> list[str]:
        places = scenes_of(index, *mirrors)[0].bands["red"].places
        return [next((name for name in (one, two) if each.href.startswith(name)), "source") for each in places]

    assert roots() == [one, two, "source"]
    assert roots(two) == [two, one, "source"]
    assert scenes_of(index)[0].bands["green"].places == ()


@pytest.fixture
def s3_settings(embedded_settings: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty index with the credentials of the test server, and a bucket for the mirror."""
    values = {"ENDPOINT_URL": s3_endpoint, "ACCESS_KEY_ID": "who", "SECRET_ACCESS_KEY": "secret", "REGION": "eu-west-2"}
    for name, value in values.items():
        monkeypatch.setenv(f"NEOCUBE_S3_{name}", value)
    settings = Settings(home=embedded_settings.home)
    files = s3fs.S3FileSystem(**s3_options(settings), skip_instance_cache=True)
    if not files.exists("near"):
        files.mkdir("near")
    return settings


@pytest.mark.full
def test_a_cell_is_the_same_from_source_mirror_bucket_clip_and_without_the_mirror(
    s3_settings: Settings, small_archive: Path, small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, hidden = tmp_path / "archive", tmp_path / "hidden"
    shutil.copytree(small_archive, archive)
    assert neocube("ingest", str(archive)).exit_code == 0
    reports = {"source": built(s3_settings, small_recipe, tmp_path, "source", monkeypatch)}
    ways = {
        "folder": ["--mirror", str(tmp_path / "whole")],
        "bucket": ["--mirror", "s3://near/whole"],
        "staged": ["--mirror", str(tmp_path / "staged"), "--stage"],
        "clip": ["--mirror", "s3://near/clip", "--clip-for", str(small_recipe), "--area", "demo"],
    }
    for way, options in ways.items():
        done = neocube("ingest", str(archive), *options)
        assert done.exit_code == 0, done.output
        monkeypatch.setenv("NEOCUBE_MIRRORS", options[1])
        with open_index(s3_settings) as index:
            assert scenes_of(index, options[1])[0].bands["red"].places[0].href.startswith(options[1])
            for archived in published_cells(index, "mangrove_features", 1, [YEAR]).values():
                index.dc.index.datasets.archive([archived.id])
        archive.rename(hidden)
        reports[way] = built(s3_settings, small_recipe, tmp_path, way, monkeypatch)
        hidden.rename(archive)
    source = reports.pop("source")
    assert all(report == source for report in reports.values())


@pytest.mark.full
def test_a_mirror_in_a_bucket_that_does_not_answer_is_noted_and_the_source_is_read(
    ingested_settings: Settings,
    small_archive: Path,
    small_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = built(ingested_settings, small_recipe, tmp_path, "source", monkeypatch)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    values = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "who", "SECRET_ACCESS_KEY": "secret"}
    for name, value in (values | {"REGION": "eu-west-2"}).items():
        monkeypatch.setenv(f"NEOCUBE_S3_{name}", value)
    try:
        files = s3fs.S3FileSystem(**s3_options(Settings(home=ingested_settings.home)), skip_instance_cache=True)
        files.mkdir("stopping")
        assert neocube("ingest", str(small_archive), "--mirror", "s3://stopping/mirror").exit_code == 0
        monkeypatch.setenv("NEOCUBE_MIRRORS", "s3://stopping/mirror")
        with open_index(ingested_settings) as index:
            first = scenes_of(index, "s3://stopping/mirror")[0].bands["red"].places[0]
            assert first.href.startswith("s3://stopping/mirror/")
            ids = [cell.id for cell in published_cells(index, "mangrove_features", 1, [YEAR]).values()]
            index.dc.index.datasets.archive(ids)
    finally:
        server.stop()
    assert built(ingested_settings, small_recipe, tmp_path, "again", monkeypatch) == source
    cell = plan(str(small_recipe), "demo", "2020").cells[0]
    grid = plan(str(small_recipe), "demo", "2020").grid.geobox(cell.key.tile)
    access = raster_access(Settings(home=ingested_settings.home))
    manifest = load_observations(features_recipe(str(small_recipe)), cell.scenes, grid, 2, access).manifest.document()
    notes = [each["note"] for each in manifest["notes"]]
    assert len(notes) == manifest["read"] > 0
    archive = re.escape(str(small_archive))
    assert all(re.match(f"read from {archive}/.*: cannot read s3://stopping/mirror/", note) for note in notes)


def built(
    settings: Settings, recipe: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], dict[str, str]]:
    """The ids of the cells, and the digests of the files in a store of their own."""
    store = tmp_path / f"store-{way}"
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(store))
    report = build(str(recipe), "demo", "2020")
    assert (report["failed"], report["unread"]) == ([], [])
    assert report["built"] > 0
    with open_index(settings) as index:
        cells = published_cells(index, "mangrove_features", 1, [YEAR]).values()
    ids = sorted(str(cell.id) for cell in cells)
    files = [path for path in sorted((store / "cells").rglob("*")) if path.is_file()]
    return ids, {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.full
def test_a_mirror_that_is_gone_or_corrupt_is_noted_and_the_source_is_read(
    ingested_settings: Settings,
    small_archive: Path,
    small_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = built(ingested_settings, small_recipe, tmp_path, "source", monkeypatch)
    assert neocube("ingest", str(small_archive), "--mirror", str(tmp_path / "mirror")).exit_code == 0
    copies = [path for path in (tmp_path / "mirror").rglob("*") if path.is_file()]
    for number, path in enumerate(copies):
        content = path.read_bytes()
        path.unlink() if number % 2 else path.write_bytes(content[:200] + bytes(len(content) - 200))
    with open_index(ingested_settings) as index:
        ids = [cell.id for cell in published_cells(index, "mangrove_features", 1, [YEAR]).values()]
        index.dc.index.datasets.archive(ids)
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(tmp_path / "again"))
    report = build(str(small_recipe), "demo", "2020")
    assert (report["failed"], report["unread"], report["built"]) == ([], [], len(ids))
    with open_index(ingested_settings) as index:
        cells = list(published_cells(index, "mangrove_features", 1, [YEAR]).values())
    assert sorted(str(cell.id) for cell in cells) == source[0]
    files = [path for path in sorted((tmp_path / "again" / "cells").rglob("*")) if path.is_file()]
    digests = {
        str(path.relative_to(tmp_path / "again")): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    assert digests == source[1]
    cell = plan(str(small_recipe), "demo", "2020").cells[0]
    grid = plan(str(small_recipe), "demo", "2020").grid.geobox(cell.key.tile)
    loaded = load_observations(features_recipe(str(small_recipe)), cell.scenes, grid, 2, RasterAccess())
    notes = [each["note"] for each in loaded.manifest.document()["notes"]]
    assert len(notes) == loaded.manifest.document()["read"] > 0
    mirror, archive = re.escape(str(tmp_path / "mirror")), re.escape(str(small_archive))
    assert all(re.match(f"read from {archive}/.*: cannot read {mirror}/", note) for note in notes)
    assert any("No such file" in note for note in notes)


def test_a_clip_is_widened_for_another_area_and_a_whole_copy_serves_any(
    index: Index, small_archive: Path, tmp_path: Path
) -> None:
    scene = next(scenes_to_mirror(index, str(small_archive), ("landsat-c2-l2",), None, None))
    whole = np.random.default_rng(1).integers(1, 60_000, (300, 280)).astype("uint16")
    west, north, step, crs = 500_010.0, 300_000.0, 30.0, CRS("EPSG:32647")
    profile = {"driver": "GTiff", "height": 300, "width": 280, "count": 1, "dtype": "uint16", "crs": str(crs)}
    with rasterio.open(tmp_path / "red.tif", "w", **profile, transform=Affine(step, 0, west, 0, -step, north)) as file:
        file.write(whole, 1)
    scene = replace(scene, bands={"red": replace(scene.bands["red"], href=str(tmp_path / "red.tif"))})
    order = mirror_order(str(tmp_path / "mirror"), "red")
    small = replace(order, ground=box_of(west, north, 0, 10, step, crs))
    wide = replace(order, ground=box_of(west, north, 0, 40, step, crs))
    for wanted, side in ((small, 74), (wide, 104), (small, 104)):
        mirror_scenes(index, [scene], wanted, FileAccess(), RasterAccess())
        (row,) = [row for row in rows(index) if row.band == "red"]
        assert row.clip["window"] == [0, 0, side, side]
        assert row.encoding == "deflate"
        with rasterio.open(row.href) as copy:
            np.testing.assert_array_equal(copy.read(1), whole[:side, :side])
    assert len(list(Path(order.root).rglob("red*"))) == 1
    mirror_scenes(index, [scene], order, FileAccess(), RasterAccess())
    report = mirror_scenes(index, [scene], small, FileAccess(), RasterAccess())
    assert report.kept == report.files
    assert [(row.clip, row.encoding) for row in rows(index) if row.band == "red"] == [(None, "source")]
    assert [path.name for path in Path(order.root).rglob("red*")] == ["red.tif"]
    beside = replace(order, root=str(tmp_path / "other"), ground=box_of(west - 9e4, north, 0, 10, step, crs))
    report = mirror_scenes(index, [scene], beside, FileAccess(), RasterAccess())
    assert (report.outside, report.copied) == (report.files, 0)


def box_of(west: float, north: float, first: int, last: int, step: float, crs: CRS) -> Geometry:
    return box(west + first * step, north - last * step, west + last * step, north - first * step, crs)


def test_a_file_in_a_zip_is_written_anew_with_its_pixels(index: Index, small_archive: Path, tmp_path: Path) -> None:
    scene = next(scenes_to_mirror(index, str(small_archive), ("sentinel-2-l2a",), None, None))
    red = scene.bands["red"]
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as packed:
        packed.write(red.href, "IMG/red.tif")
    inside = replace(red, href=f"{packed_folder(str(tmp_path / 'scene.zip'))}/IMG/red.tif")
    order = mirror_order(str(tmp_path / "mirror"), "red")
    for counts in ((1, 0), (0, 1)):
        report = mirror_scenes(index, [replace(scene, bands={"red": inside})], order, FileAccess(), RasterAccess())
        assert (report.copied, report.kept, report.failed) == (*counts, [])
    (row,) = rows(index)
    assert (row.clip, row.encoding) == (None, "deflate")
    with rasterio.open(row.href) as copy, rasterio.open(red.href) as source:
        np.testing.assert_array_equal(copy.read(), source.read())


def test_staged_copies_have_the_same_pixels_and_serve_who_does_not_ask(
    index: Index, small_archive: Path, tmp_path: Path
) -> None:
    order = mirror_order(str(tmp_path / "mirror"), "red")
    plain = mirrored(index, small_archive, order)
    staged = mirrored(index, small_archive, replace(order, stage=True))
    assert staged.copied == plain.files
    sources = {(scene.id, band): file for scene in scenes_of(index) for band, file in scene.bands.items()}
    for row in rows(index):
        assert (row.clip, row.encoding) == (None, "staged")
        with rasterio.open(row.href) as copy, rasterio.open(sources[row.dataset_id, row.band].href) as source:
            np.testing.assert_array_equal(copy.read(), source.read())
            assert (copy.dtypes, copy.nodata, copy.transform) == (source.dtypes, source.nodata, source.transform)
    assert len([path for path in Path(order.root).rglob("*") if path.is_file()]) == plain.files
    for again in (replace(order, stage=True, verify=True), order):
        assert mirrored(index, small_archive, again).kept == plain.files


def test_what_a_full_disk_left_of_a_staged_copy_is_written_anew(
    index: Index, small_archive: Path, tmp_path: Path
) -> None:
    order = mirror_order(str(tmp_path / "mirror"), "red", stage=True)
    mirrored(index, small_archive, order)
    copy = Path(rows(index)[0].href)
    right = copy.read_bytes()
    copy.unlink()
    header_of_a_directory_beyond_the_end = b"II*\0" + (28672).to_bytes(4, "little") + bytes(1024)
    copy.with_name(f"{copy.name}.unfinished").write_bytes(header_of_a_directory_beyond_the_end)
    report = mirrored(index, small_archive, order)
    assert (report.copied, report.failed) == (1, [])
    assert copy.read_bytes() == right


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    with mounted(tmp_path / "disk", "size=300k") as folder:
        yield folder


@pytest.mark.parametrize("options", [[], ["--stage"]], ids=["as it is", "staged"])
def test_a_full_disk_ends_in_one_line_and_what_is_there_is_kept(
    ingested_settings: Settings, small_archive: Path, small_disk: Path, options: list[str]
) -> None:
    command = ["ingest", str(small_archive), "--mirror", str(small_disk / "mirror"), *options]
    result = neocube(*command)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.output.splitlines() if line]
    assert line.startswith("neocube: cannot write")
    assert "make room there and run it again" in line or "check the disk" in line
    with open_index(ingested_settings) as index:
        kept = rows(index)
        for row in kept:
            content = Path(row.href).read_bytes()
            assert row.sha256 == hashlib.sha256(content).hexdigest()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert neocube(*command, "--verify").exit_code == 0
    finished = {path.suffix for path in (small_disk / "mirror").rglob("*") if path.is_file()}
    assert finished == {".tif"}


class _Site(ThreadingHTTPServer):
    """A folder on the web whose files, once `holds` is set, stop in the middle until `goes_on`."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.holds, self.goes_on = threading.Event(), threading.Event()
        self.sent: list[str] = []
        site = self

        class Handler(Silent, SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def do_GET(self) -> None:
                body = Path(self.translate_path(self.path)).read_bytes()
                asked = self.headers.get("Range")
                first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
                part = body[int(first) : int(last) + 1 if last else None]
                site.sent.append(f"{asked} {self.path}")
                self.send_response(206 if asked else 200)
                self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}")
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                middle = len(part) // 2
                self.wfile.write(part[:middle])
                self.wfile.flush()
                if site.holds.is_set() and asked is None and self.path.lower().endswith(".tif"):
                    site.goes_on.wait(60)
                self.wfile.write(part[middle:])

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """Be silent where a killed client hung up."""


@pytest.mark.full
def test_a_killed_mirror_run_goes_on_where_it_was(
    embedded_settings: Settings, small_archive: Path, tmp_path: Path
) -> None:
    site, mirror = _Site(small_archive), tmp_path / "mirror"
    with answering(site) as root:
        url = f"{root}/catalog.json"
        assert neocube("ingest", url).exit_code == 0
        command = ["ingest", url, "--mirror", str(mirror), "--bands", "red"]
        site.holds.set()
        child = subprocess.Popen([sys.executable, "-m", "flows.cli", *command], env=dict(os.environ))
        try:
            parts = wait_for_parts(mirror)
        finally:
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
        site.holds.clear()
        site.goes_on.set()
        halves = {path: path.stat().st_size for path in parts}
        assert all(halves.values())
        site.sent.clear()
        result = neocube(*command)
        assert result.exit_code == 0, result.output
        rest = [sent for sent in site.sent if sent.startswith("bytes=") and sent.lower().endswith(".tif")]
        assert sorted(int(sent.split("-")[0].removeprefix("bytes=")) for sent in rest) == sorted(halves.values())
    assert {path.suffix for path in mirror.rglob("*") if path.is_file()} == {".tif"}
    with open_index(embedded_settings) as index:
        for row in rows(index):
            content = Path(row.href).read_bytes()
            assert (row.size_bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        found = {row.href for row in rows(index)}
    assert found == {str(path) for path in mirror.rglob("*.tif")}


def wait_for_parts(mirror: Path) -> list[Path]:
    """The part files, once as many have bytes as are copied at once."""

    def parts() -> list[Path]:
        return [path for path in mirror.rglob("*.part") if path.stat().st_size]

    wait_until(lambda: len(parts()) >= 8, "eight part files", 0.1, 180)
    return parts()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mirror", "ftp://host/x"], "expected a folder or s3://BUCKET/PREFIX to mirror to, got 'ftp://host/x'"),
        (
            ["--mirror", "m", "--bands", "red,purple"],
            "unknown band 'purple': expected some of blue, cloud_probability, coastal",
        ),
        (["--mirror", "m", "--clip"], "a clip needs an area: give one with --area"),
        (["--mirror", "m", "--area", "demo", "--clip-for", "mangrove"], "mangrove_features"),
        (["--stage"], "name the place with --mirror"),
    ],
)
def test_a_wrong_order_is_refused_before_anything_is_read(options: list[str], words: str) -> None:
    result = neocube("ingest", "/nowhere", *options)
    assert result.exit_code == 2
    assert words in result.output
