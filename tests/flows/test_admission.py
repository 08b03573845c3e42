"""Which scenes are admitted: their files are there and hold something, their grids are those of their sensor."""

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from datacube_config.archives import use_archives
from datacube_config.connection import Index
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.archives.items import Wanted, read_items
from flows.steps.ingesting.admission import SAMPLED_FILES, admission_policy, admit, sampled_host
from flows.steps.ingesting.ingest_archive import ingest_archive, retry_quarantine
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise
from flows.steps.scenes.stated_sizes import stated_sizes
from tests.flows.loopback_server import Silent, answering

FILES = ArchiveFiles()


def scenes_of(folder: Path) -> list[SceneDocument]:
    scenes = []
    for found in read_items(str(folder), Wanted(), FILES):
        with suppress(NotAScene, ItemRefused):
            scenes.append(normalise(found.document or {}, found.place, "here", read_file_grid))
    return scenes


@pytest.fixture(scope="module")
def simulated(small_archive: Path) -> list[SceneDocument]:
    return scenes_of(small_archive)


def moved(scene: SceneDocument, root: str) -> SceneDocument:
    """The scene with its files under another root."""
    document = copy.deepcopy(scene.document)
    for band, measurement in document["measurements"].items():
        measurement["path"] = f"{root}/{band}{Path(measurement['path']).suffix}"
    return replace(scene, document=document)


def with_grid(scene: SceneDocument, **grid: Any) -> SceneDocument:
    document = copy.deepcopy(scene.document)
    document["grids"]["default"] |= grid
    return replace(scene, document=document)


def landsat(scenes: list[SceneDocument]) -> SceneDocument:
    return next(scene for scene in scenes if scene.product.startswith("landsat"))


def test_a_whole_archive_is_admitted(simulated: list[SceneDocument]) -> None:
    assert admit(simulated, FILES) == {}


@pytest.mark.parametrize("folder", ["landsat_c2_l2", "sentinel2_l2a", "stac"])
def test_real_items_and_decimated_files_are_admitted(shared_data: Path, folder: str) -> None:
    found = [scene for each in sorted((shared_data / folder).iterdir()) for scene in scenes_of(each)]
    assert found
    assert admit(found, FILES) == {}


def test_missing_and_empty_files_are_named(simulated: list[SceneDocument], tmp_path: Path) -> None:
    whole = moved(landsat(simulated), str(tmp_path))
    for measurement in whole.document["measurements"].values():
        Path(measurement["path"]).write_bytes(b"x" * 1000)
    assert admit([whole], FILES) == {}
    Path(whole.document["measurements"]["red"]["path"]).write_bytes(b"")
    Path(whole.document["measurements"]["nir"]["path"]).write_bytes(b"<Error>AccessDenied</Error>")
    assert admit([whole], FILES) == {
        whole.id: "incomplete asset: red has 0 bytes, nir has 27 bytes, fewer than the header of an image"
    }
    for band in ("green", "swir1"):
        Path(whole.document["measurements"][band]["path"]).unlink()
    path = whole.document["measurements"]["green"]["path"]
    assert admit([whole], FILES) == {whole.id: f"missing asset green, swir1: {path} does not exist"}


def stating(scene: SceneDocument, size: int, band: str = "red") -> SceneDocument:
    return replace(scene, sizes={band: size})


def test_a_local_file_shorter_than_its_item_states_makes_a_scene_partial(
    simulated: list[SceneDocument], tmp_path: Path
) -> None:
    whole = moved(landsat(simulated), str(tmp_path))
    for measurement in whole.document["measurements"].values():
        Path(measurement["path"]).write_bytes(b"x" * 1000)
    assert admit([stating(whole, 1000)], FILES) == admit([stating(whole, 900)], FILES) == {}
    cause = "incomplete asset: red has 1000 of 1001 bytes, which its item states as file:size"
    assert admit([stating(whole, 1001)], FILES) == {whole.id: cause}
    Path(whole.document["measurements"]["red"]["path"]).write_bytes(b"x" * 100)
    assert admit([stating(whole, 50)], FILES)[whole.id].endswith("fewer than the header of an image")


def test_an_item_of_a_truncated_file_is_quarantined_until_the_file_is_whole(
    index: Index, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    item = items[0]
    for name, asset in item["assets"].items():
        (tmp_path / f"{name}.tif").write_bytes(b"x" * 2000)
        asset |= {"href": f"./{name}.tif", "file:size": 2000}
    (tmp_path / "item.json").write_text(json.dumps(item | {"links": []}))
    (tmp_path / "red.tif").write_bytes(b"x" * 1900)
    partial = ingest_archive(index, str(tmp_path), radiometric_check="off")
    cause = "incomplete asset: red has 1900 of 2000 bytes, which its item states as file:size"
    assert (partial.added, partial.quarantined) == (0, [{"id": item["id"], "cause": cause}])
    (tmp_path / "red.tif").write_bytes(b"x" * 2000)
    assert retry_quarantine(index, radiometric_check="off").added == 1


@pytest.mark.parametrize("size", [None, True, 0, -5, 12.5, "2000", 2**60, [], {}])
def test_a_size_that_is_none_is_not_believed(size: object) -> None:
    assert stated_sizes({"red": {"href": "red.tif", "file:size": size}}, {"red": "/a/red.tif"}) == {}


def test_a_stated_size_is_that_of_the_file_that_the_item_names() -> None:
    def sizes(href: str, path: str) -> dict[str, int]:
        return stated_sizes({"red": {"href": href, "file:size": 9}}, {"red": path})

    there = "https://a.org/red.tif"
    assert sizes("./red.tif", "/a/red.tif") == sizes(there, there) == sizes(f"{there}?sig=x", there) == {"red": 9}
    assert sizes(there, "/beside/red.tif") == sizes("s3://b/red.tif", "/beside/red.tif") == {}


@pytest.mark.parametrize("policy", ["listed", "head"])
def test_files_in_a_bucket_are_looked_for_by_listing_or_asking(
    simulated: list[SceneDocument], s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, policy: Any
) -> None:
    options = {"key": "reader", "secret": "secret", "client_kwargs": {"endpoint_url": s3_endpoint}}
    files = ArchiveFiles(options)
    bucket = f"admission-{policy}"
    filesystem = files.filesystem(f"s3://{bucket}")
    filesystem.mkdir(bucket)
    whole, partial, absent = (moved(scene, f"s3://{bucket}/{n}") for n, scene in enumerate(simulated[:3]))
    for scene in (whole, partial):
        for measurement in scene.document["measurements"].values():
            filesystem.pipe(measurement["path"], b"x" * 1000)
    gone = partial.document["measurements"]["swir2"]["path"]
    filesystem.rm(gone)
    refused = admit([whole, partial, absent], files, policy)
    assert set(refused) == {partial.id, absent.id}
    assert refused[partial.id] == f"missing asset swir2: {gone} does not exist"
    assert admit([whole, partial, absent], files, "off") == {}
    filesystem.pipe(gone, b"x" * 1000)
    assert set(admit([whole, partial, absent], files, policy)) == {absent.id}
    cause = "incomplete asset: red has 1000 of 4000 bytes, which its item states as file:size"
    assert admit([stating(whole, 1000), stating(partial, 4000)], files, policy) == {partial.id: cause}


@pytest.fixture
def asked() -> list[str]:
    """The paths that the site was asked for."""
    return []


@pytest.fixture
def site(asked: list[str]) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """A site and what it answers to HEAD: (status, bytes) by path, (200, 1000) for others."""
    answers: dict[str, tuple[int, int]] = {}

    class Site(Silent, BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            status, size = answers.get(self.path, (200, 1000))
            self.answer(status, headers={"Content-Length": str(size)})

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Site)) as url:
        yield url, answers


def test_files_of_a_site_are_asked_for_only_where_that_is_wanted(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]]
) -> None:
    url, answers = site
    scene = moved(landsat(simulated), url)
    red, nir = (scene.document["measurements"][band]["path"].removeprefix(url) for band in ("red", "nir"))
    assert admit([scene], FILES, "head") == {}
    answers[red] = (404, 0)
    assert admit([scene], FILES, "head") == {scene.id: f"missing asset red: {url}{red} does not exist"}
    assert admit([scene], FILES, "listed") == {}
    answers[red], answers[nir] = (503, 0), (302, 0)
    assert admit([scene], FILES, "head") == {}
    answers[red] = (200, 0)
    assert admit([scene], FILES, "head")[scene.id].startswith("incomplete asset: red has 0 bytes")


def test_a_site_that_does_not_answer_refuses_nothing(simulated: list[SceneDocument]) -> None:
    assert admit([moved(landsat(simulated), "http://127.0.0.1:9")], FILES, "head") == {}


@pytest.mark.parametrize(
    ("grid", "cause"),
    [
        ({"shape": [0, 40]}, "expected rows and columns, got 0 x 40"),
        ({"transform": [30, 0, 0, 0, 30, 0, 0, 0, 1]}, "expected a north-up grid, got the transform"),
        ({"transform": [30, 5, 0, 5, -30, 0, 0, 0, 1]}, "expected a north-up grid, got the transform"),
        ({"transform": [30, 0, 0, 0, -20, 0, 0, 0, 1]}, "expected square pixels, got 30 x 20 m"),
        ({"transform": [10, 0, 0, 0, -10, 0, 0, 0, 1]}, "expected pixels of 30 m or an overview of them, got 10 m"),
        (
            {"transform": [9e4, 0, 0, 0, -9e4, 0, 0, 0, 1]},
            "expected pixels of 30 m or an overview of them, got 90000 m",
        ),
        ({"shape": [20000, 20000]}, "expected a scene of at most 400 km, got 600 km"),
        ({"transform": [30, 0, 0, 0, -30, 0, 0, 0, 1]}, "it holds 0% of the footprint's box, expected the scene"),
    ],
)
def test_a_grid_that_the_sensor_cannot_have_is_refused(
    simulated: list[SceneDocument], grid: dict[str, Any], cause: str
) -> None:
    scene = with_grid(landsat(simulated), **grid)
    refused = admit([scene], FILES)
    assert refused[scene.id].startswith(f"grid default: {cause}")


@pytest.mark.parametrize(
    ("archive", "policy"),
    [
        ("earth-search", "sample"),
        ("own-catalogue", "off"),
        ("own-bucket", "listed"),
        ("own-head", "head"),
        ("https://stac.example.org/v1", "sample"),
        ("s3://bucket/prefix", "listed"),
        ("/archive/of/ours", "off"),
    ],
)
def test_buckets_are_listed_apis_and_sites_sampled_and_others_taken_at_their_word(
    tmp_path: Path, archive: str, policy: str
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "archives:\n"
        "  own-catalogue: {kind: catalogue, url: 'https://a.example.org/catalog.json', hosts: [a.example.org]}\n"
        "  own-bucket: {kind: prefix, url: 's3://bucket/scenes', hosts: [bucket]}\n"
        "  own-head: {url: 'https://b.example.org/stac', hosts: [b.example.org], admission: head}\n"
    )
    use_archives(own)
    try:
        assert admission_policy(archive) == policy
    finally:
        use_archives(None)


@pytest.fixture
def large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of more than ten files are large ones."""
    monkeypatch.setattr("flows.steps.ingesting.admission.FEW_FILES", 10)


def batch_at(scenes: list[SceneDocument], url: str) -> list[SceneDocument]:
    """Every scene with its files in a folder of its own on a site."""
    return [moved(scene, f"{url}/{number}") for number, scene in enumerate(scenes)]


def path_in(scene: SceneDocument, band: str, url: str) -> str:
    return str(scene.document["measurements"][band]["path"]).removeprefix(url)


def test_every_file_of_a_small_batch_is_asked_for(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]], asked: list[str]
) -> None:
    url, answers = site
    scenes = batch_at(simulated, url)
    assert admit(scenes, ArchiveFiles(), "sample") == {}
    assert len(asked) == len(set(asked)) == sum(len(scene.document["measurements"]) for scene in scenes)
    for scene in scenes:
        answers.clear()
        answers[path_in(scene, "red", url)] = (404, 0)
        assert set(admit([scene], ArchiveFiles(), "sample")) == {scene.id}


def test_of_a_site_without_an_entry_its_own_files_are_asked_for(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]], asked: list[str]
) -> None:
    assert sampled_host("https://stac.example.org:8080/v1") == "stac.example.org"
    assert sampled_host("earth-search") is sampled_host("/archive/of/ours") is sampled_host("s3://bucket/l2a") is None
    scenes = batch_at(simulated, site[0])
    assert admit(scenes, ArchiveFiles(), "sample", "stac.example.org") == {}
    assert asked == []
    admit(scenes, ArchiveFiles(), "sample", "127.0.0.1")
    assert asked


@pytest.mark.usefixtures("large_batches")
def test_a_large_batch_costs_a_few_requests_the_same_each_time(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]], asked: list[str]
) -> None:
    scenes = batch_at(simulated, site[0])
    assert admit(scenes, ArchiveFiles(), "sample") == {}
    first = sorted(asked)
    assert len(first) == SAMPLED_FILES < len(scenes)
    assert len({path.split("/")[1] for path in first}) == SAMPLED_FILES
    asked.clear()
    assert admit(scenes[::-1], ArchiveFiles(), "sample") == {}
    assert sorted(asked) == first


@pytest.mark.full
@pytest.mark.usefixtures("large_batches")
def test_a_sampled_file_that_is_missing_has_the_whole_batch_looked_at(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]], asked: list[str]
) -> None:
    url, answers = site
    scenes = batch_at(simulated, url)
    admit(scenes, ArchiveFiles(), "sample")
    sampled = asked[0]
    hit = scenes[int(sampled.split("/")[1])]
    other = next(
        scene for scene in scenes if not any(path_in(scene, "red", url).rpartition("/")[0] in a for a in asked)
    )
    answers[path_in(other, "red", url)] = (410, 0)
    assert admit(scenes, ArchiveFiles(), "sample") == {}
    for status, size in ((404, 0), (200, 27)):
        answers[sampled] = (status, size)
        refused = admit(scenes, ArchiveFiles(), "sample")
        assert set(refused) == {hit.id, other.id}
        assert refused[other.id].startswith("missing asset red: ")


@pytest.mark.usefixtures("large_batches")
def test_a_sampled_file_that_is_cut_has_the_whole_batch_looked_at(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]], asked: list[str]
) -> None:
    scenes = batch_at(simulated, site[0])
    admit(scenes, ArchiveFiles(), "sample")
    hit = int(asked[0].split("/")[1])
    cut = dict.fromkeys(scenes[hit].document["measurements"], 5000)
    scenes = [replace(scene, sizes=cut if number == hit else {}) for number, scene in enumerate(scenes)]
    asked.clear()
    assert set(admit(scenes, ArchiveFiles(), "sample")) == {scenes[hit].id}
    assert len(set(asked)) == sum(len(scene.document["measurements"]) for scene in scenes)


@pytest.mark.usefixtures("large_batches")
@pytest.mark.parametrize("status", [301, 401, 403, 405, 500, 503])
def test_an_answer_that_does_not_say_no_refuses_nothing_and_is_not_followed_up(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]], asked: list[str], status: int
) -> None:
    url, answers = site
    scenes = batch_at(simulated, url)
    for scene in scenes:
        for band in scene.document["measurements"]:
            answers[path_in(scene, band, url)] = (status, 0)
    assert admit(scenes, ArchiveFiles(), "sample") == {}
    assert len(asked) == SAMPLED_FILES


def test_hosts_that_want_keys_or_pay_and_buckets_are_not_sampled(
    simulated: list[SceneDocument], site: tuple[str, dict[str, tuple[int, int]]], asked: list[str], tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "archives:\n  own:\n    url: https://b.example.org/stac\n    hosts: ['127.0.0.1']\n"
        f"    signing: [{{kind: planetary-computer, hosts: ['127.0.0.1'], endpoint: '{site[0]}/token'}}]\n"
    )
    use_archives(own)
    try:
        assert admit(batch_at(simulated, site[0]), ArchiveFiles(), "sample") == {}
        assert admit(batch_at(simulated, "s3://usgs-landsat/collection02"), ArchiveFiles(), "sample") == {}
    finally:
        use_archives(None)
    assert asked == []


def test_a_sampled_site_that_does_not_answer_is_not_asked_for_long(simulated: list[SceneDocument]) -> None:
    files = ArchiveFiles()
    for _ in range(3):
        assert admit(batch_at(simulated, "http://127.0.0.1:9"), files, "sample") == {}
