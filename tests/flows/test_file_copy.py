"""A file is copied whole or not at all, goes on where it stopped, and says what went wrong in one line."""

import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import s3fs

from datacube_config.archives import SigningRule
from datacube_config.errors import StorageUnavailable
from flows.steps.archives.source_bytes import CHUNK_BYTES, CopyFailed, FileAccess
from flows.steps.mirroring.file_copy import Copied, Stopped, copy_file, file_digest
from tests.flows.loopback_server import Silent, answering
from tests.flows.small_disks import mounted

CONTENT = os.urandom(2 * CHUNK_BYTES + 12345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LOCAL = FileAccess()


@dataclass
class Site:
    """What a site serves, how it misbehaves, and what it was asked for."""

    content: bytes = CONTENT
    etag: str = '"one"'
    serves_ranges: bool = True
    breaks_after: int | None = None
    status: int = 200
    redirect: str = ""
    retry_after: str = "7"
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[tuple[str, Site]]:
    """A site with one file, which serves ranges and can break off."""
    state = Site()

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.redirect:
                self.answer(302, headers={"Location": state.redirect})
                return
            if state.status != 200:
                self.answer(state.status, headers={"Retry-After": state.retry_after})
                return
            start = int(asked[6:-1]) if asked and state.serves_ranges else 0
            self.answer(206 if start else 200, state.content[start:], {"ETag": state.etag}, state.breaks_after)
            self.close_connection = True

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield f"{url}/red.tif", state


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.tif"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(scope="module")
def bucket(s3_endpoint: str) -> tuple[str, FileAccess]:
    """A bucket and how to reach it."""
    options = {"key": "who", "secret": "what", "client_kwargs": {"endpoint_url": s3_endpoint}}
    s3fs.S3FileSystem(**options, skip_instance_cache=True).mkdir("mirrored")
    return "s3://mirrored", FileAccess(options)


def copied(href: str, target: Path | str, access: FileAccess = LOCAL) -> Copied:
    return copy_file(href, str(target), access, threading.Event())


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_local_file_is_copied_with_its_checksum(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "mirror" / "red.tif"
    assert copied(str(source), target) == Copied(str(target), len(CONTENT), SHA256, len(CONTENT))
    assert copied(source.as_uri(), target).sha256 == SHA256
    assert target.read_bytes() == CONTENT
    assert leftovers(target.parent) == ["red.tif"]
    assert file_digest(str(target), LOCAL, threading.Event()) == (len(CONTENT), SHA256)


def test_a_stopped_copy_goes_on_where_it_stopped(source: Path, tmp_path: Path) -> None:
    target, stop = tmp_path / "mirror" / "red.tif", threading.Event()
    stop.set()
    with pytest.raises(Stopped, match="^$"):
        copy_file(str(source), str(target), LOCAL, stop)
    (part,) = leftovers(target.parent)
    assert part.endswith(".part")
    done = copied(str(source), target)
    assert (done.sha256, done.moved_bytes) == (SHA256, len(CONTENT) - CHUNK_BYTES)
    assert leftovers(target.parent) == ["red.tif"]


def test_a_source_that_changed_is_copied_from_its_start(source: Path, tmp_path: Path) -> None:
    target, stop = tmp_path / "mirror" / "red.tif", threading.Event()
    stop.set()
    with pytest.raises(Stopped, match="^$"):
        copy_file(str(source), str(target), LOCAL, stop)
    other = os.urandom(len(CONTENT))
    source.write_bytes(other)
    os.utime(source, (1, 1))
    assert copied(str(source), target).moved_bytes == len(CONTENT)
    assert target.read_bytes() == other
    assert leftovers(target.parent) == ["red.tif"]


def test_copies_of_one_file_at_once_are_one_whole_file(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "mirror" / "red.tif"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: copied(str(source), target), range(4)))
    assert {each.sha256 for each in done} == {SHA256}
    assert target.read_bytes() == CONTENT
    assert leftovers(target.parent) == ["red.tif"]


def test_a_broken_download_goes_on_where_it_broke(site: tuple[str, Site], tmp_path: Path) -> None:
    url, state = site
    target = tmp_path / "mirror" / "red.tif"
    state.breaks_after = CHUNK_BYTES + 5
    with pytest.raises(CopyFailed, match=r"cannot copy http://127.0.0.1.*peer closed connection") as failure:
        copied(url, target)
    assert not failure.value.is_final
    state.breaks_after = None
    done = copied(url, target)
    assert (done.sha256, done.size_bytes) == (SHA256, len(CONTENT))
    assert done.moved_bytes < len(CONTENT)
    assert state.asked == [None, None, f"bytes={len(CONTENT) - done.moved_bytes}-"]


def test_a_site_without_ranges_sends_the_file_again(site: tuple[str, Site], tmp_path: Path) -> None:
    url, state = site
    target = tmp_path / "mirror" / "red.tif"
    state.breaks_after, state.serves_ranges = CHUNK_BYTES + 5, False
    with pytest.raises(CopyFailed, match="peer closed connection"):
        copied(url, target)
    state.breaks_after = None
    assert copied(url, target).sha256 == SHA256


@pytest.mark.parametrize(("mark", "later"), [('"one"', '"two"'), ("", "")], ids=["changed", "without a mark"])
def test_a_download_that_changed_or_has_no_mark_starts_anew(
    site: tuple[str, Site], tmp_path: Path, mark: str, later: str
) -> None:
    url, state = site
    target = tmp_path / "mirror" / "red.tif"
    state.etag, state.breaks_after = mark, CHUNK_BYTES + 5
    with pytest.raises(CopyFailed, match="peer closed connection"):
        copied(url, target)
    state.etag, state.breaks_after, state.content = later, None, CONTENT[::-1]
    assert copied(url, target).moved_bytes == len(CONTENT)
    assert target.read_bytes() == CONTENT[::-1]
    assert leftovers(target.parent) == ["red.tif"]


def test_a_redirect_to_a_private_host_is_not_followed(site: tuple[str, Site], tmp_path: Path) -> None:
    url, state = site
    state.redirect = url.replace("127.0.0.1", "localhost")
    with pytest.raises(CopyFailed, match=r"it redirects to 'localhost', which is not a public host"):
        copied(url, tmp_path / "mirror" / "red.tif")


def test_a_redirect_to_a_public_name_of_this_machine_is_not_followed(
    site: tuple[str, Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, state = site
    state.redirect = url.replace("127.0.0.1", "files.example.org")
    ask = socket.getaddrinfo
    here = {"files.example.org": "127.0.0.1"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: ask(here.get(host, host), *a, **k))
    with pytest.raises(CopyFailed, match=r"it redirects to 'files\.example\.org', which is not a public host"):
        copied(url, tmp_path / "mirror" / "red.tif")
    assert len(state.asked) == 1


@pytest.mark.parametrize(("status", "is_final", "wait_s"), [(404, True, 7.0), (403, True, 7.0), (429, False, 7.0)])
def test_a_refusal_is_told_in_the_words_of_the_site(
    site: tuple[str, Site], tmp_path: Path, status: int, is_final: bool, wait_s: float
) -> None:
    url, state = site
    state.status = status
    with pytest.raises(CopyFailed, match=f"cannot copy {url}: {status} ") as failure:
        copied(url, tmp_path / "mirror" / "red.tif", FileAccess())
    assert (failure.value.is_final, failure.value.wait_s) == (is_final, wait_s)
    assert leftovers(tmp_path / "mirror") == []


def test_a_site_that_throttles_is_closed_for_every_copy_from_it(site: tuple[str, Site], tmp_path: Path) -> None:
    url, state = site
    access, state.status, state.retry_after = FileAccess(), 429, "1"
    with pytest.raises(CopyFailed, match="429 Too Many Requests"):
        copied(url, tmp_path / "red.tif", access)
    closed_s, words = access.buckets.of(url).try_take()
    assert 0.5 < closed_s <= 1 and words == "answered 429 Too Many Requests"
    state.status, started = 200, time.monotonic()
    assert copied(url, tmp_path / "red.tif", access).sha256 == SHA256
    assert time.monotonic() - started >= 0.5


def test_a_closed_site_is_told_in_its_own_words(
    site: tuple[str, Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.steps.archives.source_bytes.TURN_S", 5)
    access = FileAccess()
    access.buckets.of(site[0]).close(60, "answered 429: come back tomorrow")
    with pytest.raises(CopyFailed, match="is closed for another 60 s after it answered 429: come back tomorrow"):
        copied(site[0], tmp_path / "red.tif", access)
    assert site[1].asked == []


def test_a_missing_source_is_final(tmp_path: Path, bucket: tuple[str, FileAccess]) -> None:
    for href, access in ((str(tmp_path / "gone.tif"), LOCAL), (f"{bucket[0]}/gone.tif", bucket[1])):
        with pytest.raises(CopyFailed, match=r"cannot copy .*gone.tif: FileNotFoundError") as failure:
            copied(href, tmp_path / "mirror" / "red.tif", access)
        assert failure.value.is_final


def test_a_bucket_is_written_and_read(source: Path, tmp_path: Path, bucket: tuple[str, FileAccess]) -> None:
    root, access = bucket
    there = f"{root}/a/red.tif"
    assert copied(str(source), there, access) == Copied(there, len(CONTENT), SHA256, len(CONTENT))
    assert access.size_of(there) == len(CONTENT)
    assert file_digest(there, access, threading.Event()) == (len(CONTENT), SHA256)
    assert copied(there, tmp_path / "back.tif", access).sha256 == SHA256
    assert copied(there, f"{root}/b/red.tif", access).sha256 == SHA256
    access.remove(there)
    access.remove(there)
    with pytest.raises(FileNotFoundError, match=r"a/red\.tif"):
        access.size_of(there)


def test_a_bucket_gets_nothing_of_a_broken_copy(site: tuple[str, Site], bucket: tuple[str, FileAccess]) -> None:
    url, state = site
    root, access = bucket
    state.breaks_after = len(CONTENT) - 100
    with pytest.raises(CopyFailed, match="peer closed connection"):
        copied(url, f"{root}/broken/red.tif", access)
    assert not access.filesystem(root).exists(f"{root}/broken/red.tif")


def test_a_bucket_that_is_not_there_is_one_clear_line(source: Path, bucket: tuple[str, FileAccess]) -> None:
    with pytest.raises(StorageUnavailable, match=r"cannot write s3://nowhere/red.tif: .*bucket does not exist"):
        copied(str(source), "s3://nowhere/red.tif", bucket[1])


def test_a_bucket_with_a_rule_of_its_own_is_read_by_it(source: Path, tmp_path: Path, s3_endpoint: str) -> None:
    rule = SigningRule.model_validate({"kind": "anonymous", "hosts": ["public"], "endpoint": s3_endpoint})
    writer = s3fs.S3FileSystem(key="a", secret="b", client_kwargs={"endpoint_url": s3_endpoint})
    writer.mkdir("public", acl="public-read")
    writer.put_file(str(source), "public/red.tif", ACL="public-read")
    access = FileAccess({"key": "not", "secret": "used"}, (rule,))
    assert copied("s3://public/red.tif", tmp_path / "red.tif", access).sha256 == SHA256


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    with mounted(tmp_path / "disk", "size=6m") as folder:
        yield folder


def test_a_full_disk_is_one_clear_line_and_loses_nothing(source: Path, small_disk: Path) -> None:
    kept = small_disk / "kept.tif"
    kept.write_bytes(b"kept")
    with pytest.raises(StorageUnavailable, match=r"cannot write .*red.tif: No space left on device: make room there"):
        copied(str(source), small_disk / "red.tif")
    assert kept.read_bytes() == b"kept"
    assert not (small_disk / "red.tif").exists()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    done = copied(str(source), small_disk / "red.tif")
    assert (done.sha256, leftovers(small_disk)) == (SHA256, ["kept.tif", "red.tif"])
    assert done.moved_bytes < len(CONTENT)
