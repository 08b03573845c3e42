"""Files are opened with what their host wants: a token, a payer, no signature; and nothing signed is kept or shown."""

import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from datacube_config.archives import SigningRule
from flows.steps.archives.container_tokens import NoToken, container_token
from flows.steps.archives.signing import s3fs_options, signed_url, without_tokens
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import UnreadBand, read_band
from products.scene import BandFile
from tests.flows.loopback_server import Silent, answering

SIDE = 32


class Storage:
    """A storage service: it gives tokens at /token/ACCOUNT/CONTAINER and files to who has one, or pays."""

    def __init__(self, raster: bytes) -> None:
        self.raster, self.asked, self.payers = raster, [], []  # type: ignore[var-annotated]
        self.lasts_s, self.busy, self.url = 3600.0, 0, ""
        storage = self

        class Handler(Silent, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(*storage.answer(self.path, dict(self.headers)))

            do_HEAD = do_GET  # noqa: N815, the name that http.server calls

        self.handler = Handler

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        parts = urlsplit(path)
        if parts.path.startswith("/token/"):
            self.asked.append(parts.path)
            if self.busy:
                self.busy -= 1
                return 429, b"slow down", {"Retry-After": "0"}
            if "/closed" in parts.path:
                return 404, b"no such container", {}
            ends = datetime.now(UTC) + timedelta(seconds=self.lasts_s)
            token = f"sv=2020&sig=secret{len(self.asked)}"
            return 200, json.dumps({"msft:expiry": ends.isoformat(), "token": token}).encode(), {}
        if parts.path.startswith("/usgs-landsat/"):
            self.payers.append(headers.get("x-amz-request-payer"))
            allowed = headers.get("x-amz-request-payer") == "requester" and "Authorization" in headers
        elif parts.path.startswith("/open-bucket/"):
            self.payers.append(headers.get("Authorization"))
            allowed = True
        else:
            allowed = parse_qs(parts.query).get("sig", [""])[0].startswith("secret")
        return (200, self.raster, {}) if allowed else (403, b"denied", {})


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16", "crs": "EPSG:32647",
               "transform": from_origin(500000, 500000, 10, 10)}  # fmt: skip
    with rasterio.open(tmp_path / "B04.tif", "w", **profile) as file:
        file.write(np.full((SIDE, SIDE), 7, np.uint16), 1)
    served = Storage((tmp_path / "B04.tif").read_bytes())
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), served.handler)) as served.url:
        yield served


@pytest.fixture
def read(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, tuple[SigningRule, ...]], int]:
    """Reads a file whole, by some rules, and returns the value of its first pixel."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")

    def first_pixel(href: str, rules: tuple[SigningRule, ...]) -> int:
        out = np.zeros((SIDE, SIDE), np.uint16)
        geobox = GeoBox((SIDE, SIDE), from_origin(500000, 500000, 10, 10), "EPSG:32647")
        access = pickle.loads(pickle.dumps(RasterAccess({"GDAL_HTTP_MAX_RETRY": "0"}, {}, rules)))
        with access.env():
            read_band(BandFile(href, 1.0, 0.0, 0), geobox, "nearest", out)
        return int(out[0, 0])

    return first_pixel


def token_rule(storage: Storage) -> tuple[SigningRule, ...]:
    return (SigningRule(kind="planetary-computer", hosts=("127.0.0.1",), endpoint=f"{storage.url}/token"),)


def bucket_rule(storage: Storage, kind: Any, bucket: str) -> tuple[SigningRule, ...]:
    return (SigningRule(kind=kind, hosts=(bucket,), endpoint=storage.url, region="us-west-2"),)


def test_a_file_behind_tokens_is_read_with_one_and_asked_for_once(storage: Storage, read: Callable[..., int]) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        assert read(f"{storage.url}/container/{name}", token_rule(storage)) == 7
    assert storage.asked == ["/token/127/container"]
    assert read(f"{storage.url}/other/a.tif", token_rule(storage)) == 7
    assert storage.asked[1:] == ["/token/127/other"]


def test_without_a_rule_nothing_is_signed_and_the_error_names_the_file(
    storage: Storage, read: Callable[..., int]
) -> None:
    with pytest.raises(UnreadBand, match=r"cannot read http://127.0.0.1:\d+/container/d.tif: .*403"):
        read(f"{storage.url}/container/d.tif", ())
    assert storage.asked == []


def test_a_refused_token_is_the_providers_words_and_is_not_asked_for_each_file(
    storage: Storage, read: Callable[..., int]
) -> None:
    for name in ("a.tif", "b.tif"):
        with pytest.raises(
            UnreadBand, match=rf"/closed/{name}: no token from .*/token/127/closed: answered 404: no such"
        ):
            read(f"{storage.url}/closed/{name}", token_rule(storage))
    assert len(storage.asked) == 1


def test_a_busy_token_service_is_asked_again(storage: Storage) -> None:
    storage.busy = 2
    assert container_token(f"{storage.url}/token", "busy", "container") == "sv=2020&sig=secret3"


def test_a_token_is_renewed_before_it_ends(storage: Storage) -> None:
    storage.lasts_s = 0.4
    first = container_token(f"{storage.url}/token", "short", "container")
    assert container_token(f"{storage.url}/token", "short", "container") == first
    time.sleep(0.25)
    assert container_token(f"{storage.url}/token", "short", "container") != first


def test_many_threads_ask_for_one_token(storage: Storage) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(container_token(f"{storage.url}/token", "many", "container")))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12 and len(set(found)) == 1 and len(storage.asked) == 1


def test_a_name_that_is_no_container_is_not_asked_for(storage: Storage) -> None:
    with pytest.raises(NoToken, match="expected a storage account and a container, got 'a' and '..'"):
        container_token(f"{storage.url}/token", "a", "..")
    assert storage.asked == []


def test_an_https_client_is_given_the_signed_url(storage: Storage) -> None:
    href = f"{storage.url}/container/a.tif"
    assert signed_url(href, token_rule(storage)).startswith(f"{href}?sv=2020&sig=secret")
    assert signed_url(href, ()) == href
    assert signed_url("s3://bucket/a.tif", token_rule(storage)) == "s3://bucket/a.tif"


def test_a_bucket_whose_requester_pays_is_told_who_pays(storage: Storage, read: Callable[..., int]) -> None:
    assert read("s3://usgs-landsat/pays/a.tif", bucket_rule(storage, "requester-pays", "usgs-landsat")) == 7
    assert set(storage.payers) == {"requester"}


def test_an_open_bucket_is_read_without_signature(storage: Storage, read: Callable[..., int]) -> None:
    assert read("s3://open-bucket/free/a.tif", bucket_rule(storage, "anonymous", "open-bucket")) == 7
    assert storage.payers and set(storage.payers) == {None}


def test_a_bucket_with_keys_of_its_own_is_read_with_the_profile(
    storage: Storage, read: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[cdse]\naws_access_key_id = ESAKEY\naws_secret_access_key = hush\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    rule = SigningRule(kind="s3", hosts=("open-bucket",), endpoint=storage.url, region="default", profile="cdse")
    assert read("s3://open-bucket/keys/a.tif", (rule,)) == 7
    assert all("Credential=ESAKEY/" in str(each) for each in storage.payers) and storage.payers


def test_a_profile_that_this_machine_lacks_is_a_file_that_is_not_read(
    storage: Storage, read: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    rule = SigningRule(kind="s3", hosts=("open-bucket",), endpoint=storage.url, profile="lacking")
    with pytest.raises(
        UnreadBand, match=r"keys/a\.tif: the AWS profile lacking gives no keys on this machine: .*lacking"
    ):
        read("s3://open-bucket/keys/a.tif", (rule,))


def test_listing_a_bucket_follows_the_same_rules(storage: Storage) -> None:
    ours = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": "https://minio.example.org"}}
    pays = s3fs_options("s3://usgs-landsat/a", ours, bucket_rule(storage, "requester-pays", "usgs-landsat"))
    assert pays["requester_pays"] and pays["key"] == "k" and pays["client_kwargs"]["endpoint_url"] == storage.url
    free = s3fs_options("s3://open-bucket/a", ours, bucket_rule(storage, "anonymous", "open-bucket"))
    assert free == {"anon": True, "client_kwargs": {"endpoint_url": storage.url, "region_name": "us-west-2"}}
    assert s3fs_options("s3://my-bucket/a", ours, bucket_rule(storage, "anonymous", "open-bucket")) == ours


def test_a_message_does_not_repeat_a_signature() -> None:
    words = "HTTP error 403: https://a.blob.core.windows.net/c/b.tif?sv=1&sig=abc%3D; try later"
    assert without_tokens(words) == "HTTP error 403: https://a.blob.core.windows.net/c/b.tif try later"
    words = "cannot read /vsicurl/https://b.s3.amazonaws.com/k.tif?X-Amz-Credential=A&X-Amz-Signature=c: 'https://u:pw@x.org/a?b=1'"
    plain = "cannot read /vsicurl/https://b.s3.amazonaws.com/k.tif 'https://credentials-removed@x.org/a?b=1'"
    assert without_tokens(words) == plain
    assert without_tokens("not found: https://x.org/a?b=1: try later") == "not found: https://x.org/a?b=1: try later"
