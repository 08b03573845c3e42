"""GDAL reads a site's file through the gate, and is led nowhere inside by a redirect."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from flows.steps.archives.public_gate import OK, REFUSED, UNREACHABLE, proxy_options
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import UnreadBand, read_band
from products.scene import BandFile
from tests.flows.loopback_server import Silent, answering

SIDE = 64
AFFINE = from_origin(0, 0, 10, 10)


@dataclass
class Site:
    """A site with one raster, where its other paths lead, and what it was asked for."""

    port: int
    leads: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, host: str, path: str) -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16", "crs": "EPSG:32647"}
    with rasterio.open(tmp_path / "red.tif", "w", **profile, transform=AFFINE) as file:
        file.write(np.full((SIDE, SIDE), 7, np.uint16), 1)
    content = (tmp_path / "red.tif").read_bytes()

    class Handler(Silent, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.asked.append((self.headers["Host"].partition(":")[0], self.path))
            target = found.leads.get(self.path)
            wanted = self.headers.get("Range")
            first, last = map(int, wanted[6:].split("-")) if wanted else (0, len(content) - 1)
            body = content[first : last + 1]
            if target:
                self.answer(302, headers={"Location": target})
            elif wanted:
                said = {"Content-Range": f"bytes {first}-{first + len(body) - 1}/{len(content)}"}
                self.answer(206, body, said)
            else:
                self.answer(200, body)

        def do_HEAD(self) -> None:
            self.do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Site(server.server_port)
    with answering(server):
        yield found


@pytest.fixture(autouse=True)
def resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names below example.org are this machine, and the environment names no proxy."""
    ask = socket.getaddrinfo

    def told(host: Any, *arguments: Any, **options: Any) -> Any:
        return ask("127.0.0.1" if str(host).endswith("example.org") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", told)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def read(url: str) -> Any:
    out = np.zeros((SIDE, SIDE), np.uint16)
    with RasterAccess({"GDAL_HTTP_MAX_RETRY": "0", "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/"}).env():
        read_band(BandFile(url, 1.0, 0.0, 0), GeoBox((SIDE, SIDE), AFFINE, "EPSG:32647"), "nearest", out)
    return out


@pytest.mark.parametrize("host", ["127.0.0.1", "files.example.org"])
def test_the_host_of_the_file_is_reached_whatever_it_stands_for(site: Site, host: str) -> None:
    assert (read(site.url(host, "/red.tif")) == 7).all()
    assert {name for name, _ in site.asked} == {host}


def test_a_redirect_at_the_same_host_is_followed(site: Site) -> None:
    site.leads["/old.tif"] = site.url("files.example.org", "/red.tif")
    assert (read(site.url("files.example.org", "/old.tif")) == 7).all()


@pytest.mark.parametrize("inside", ["127.0.0.1", "localhost", "inside.example.org", "127.1"])
def test_a_redirect_to_a_private_address_reaches_nobody(site: Site, inside: str) -> None:
    site.leads["/away.tif"] = site.url(inside, "/red.tif")
    with pytest.raises(UnreadBand, match=r"cannot read http://files\.example\.org:\d+/away\.tif"):
        read(site.url("files.example.org", "/away.tif"))
    assert {path for _, path in site.asked} == {"/away.tif"}


def test_without_the_gate_such_a_redirect_is_followed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.steps.archives.signing.proxy_options", lambda href: {})
    site.leads["/away.tif"] = site.url("localhost", "/red.tif")
    assert (read(site.url("127.0.0.1", "/away.tif")) == 7).all()


@pytest.mark.parametrize("name", ["https_proxy", "HTTP_PROXY", "ALL_PROXY", "GDAL_HTTP_PROXY"])
def test_a_proxy_of_the_environment_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert set(proxy_options("https://a.example.org/x.tif")) == {"GDAL_HTTP_PROXY", "GDAL_HTTP_PROXYUSERPWD"}
    monkeypatch.setenv(name, "http://proxy.example.org:3128")
    assert proxy_options("https://a.example.org/x.tif") == {}


def test_what_is_no_site_needs_no_gate() -> None:
    assert proxy_options("s3://bucket/x.tif") == proxy_options("/a/x.tif") == {}


def asked_gate(host: bytes, port: int, name: bytes = b"files.example.org") -> int:
    """The code that the gate answers a request to connect with."""
    gate = int(proxy_options("http://files.example.org/x.tif")["GDAL_HTTP_PROXY"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", gate), timeout=20) as client, client.makefile("rb") as said:
        client.sendall(b"\x05\x01\x02")
        assert said.read(2) == b"\x05\x02"
        client.sendall(bytes((1, len(name))) + name + b"\x04gate")
        assert said.read(2) == b"\x01\x00"
        client.sendall(host + port.to_bytes(2, "big"))
        return said.read(10)[1]


def test_an_address_is_judged_as_a_name_is(site: Site) -> None:
    assert asked_gate(b"\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1"), site.port) == REFUSED
    assert asked_gate(b"\x05\x01\x00\x04" + socket.inet_pton(socket.AF_INET6, "::1"), site.port) == REFUSED
    assert asked_gate(b"\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1"), site.port, b"127.0.0.1") == OK


def test_a_host_that_nobody_answers_for_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert asked_gate(b"\x05\x01\x00\x03\x11files.example.org", port) == UNREACHABLE
    assert asked_gate(b"\x05\x01\x00\x03\x0fnowhere.invalid", 80) == UNREACHABLE


def test_what_is_no_request_is_hung_up_on() -> None:
    gate = int(proxy_options("http://files.example.org/x.tif")["GDAL_HTTP_PROXY"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", gate), timeout=20) as client, client.makefile("rb") as said:
        client.sendall(b"\x05\x01\x02\x01\x01a\x01b\x05\x02\x00\x01" + bytes(6))
        assert said.read() == b"\x05\x02\x01\x00"
