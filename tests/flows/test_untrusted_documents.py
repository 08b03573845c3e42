"""What comes from an archive is not trusted: its size, its depth, its links, its hrefs and the secrets in them."""

import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from flows.steps.archives import json_documents
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_hrefs import ItemPlace, leads_inside, resolve_href
from flows.steps.archives.found_items import Source, preferring
from flows.steps.archives.href_secrets import document_without_secrets, without_secrets
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.items import Wanted, archive_location, read_items
from flows.steps.archives.items_api import StacApi, api_item
from flows.steps.archives.json_documents import TooLarge, parse_document, stream_features
from flows.steps.archives.raw_items import raw_features
from flows.steps.loading.reading import UnreadBand, read_band
from flows.steps.scenes.footprint import read_file_grid
from products.errors import RequestError
from products.scene import BandFile
from tests.flows.loopback_server import Silent, answering

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FEATURE = {"type": "Feature", "id": "one", "properties": {}, "assets": {}, "links": []}


def found_in(path: Path) -> list[tuple[str, str]]:
    return [(item.id, item.cause or "") for item in read_items(str(path), Wanted(), ArchiveFiles())]


def place(folder: str, root: str, hosts: tuple[str, ...] = ()) -> ItemPlace:
    return ItemPlace(f"{folder}/item.json", folder, root, ArchiveFiles().files_in, hosts)


def test_a_document_too_large_or_too_deep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for n_levels in (65, 900, 100_000):
        with pytest.raises(TooLarge, match="nested deeper than 64 levels"):
            parse_document(b"[" * n_levels + b"]" * n_levels)
    assert parse_document(b"[" * 64 + b"]" * 64)
    monkeypatch.setattr(json_documents, "ITEM_BYTES", 1 << 20)
    with pytest.raises(TooLarge, match="at most 1 MiB"):
        parse_document(b" " * (1 << 20) + b"{}")


def test_an_item_too_deep_is_an_unreadable_item_and_its_neighbours_are_found(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(json.dumps(FEATURE)[:-1] + ', "x": ' + "[" * 70 + "]" * 70 + "}")
    (tmp_path / "good.json").write_text(json.dumps(FEATURE))
    assert found_in(tmp_path) == [
        ("deep.json", "unreadable item: TooLarge: the document is nested deeper than 64 levels"),
        ("one", ""),
    ]


@pytest.mark.parametrize("is_list", [False, True])
def test_a_collection_larger_than_a_document_is_read_feature_by_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_list: bool
) -> None:
    for module in ("json_documents", "archive_files", "items_static"):
        monkeypatch.setattr(f"flows.steps.archives.{module}.ITEM_BYTES", 4000)
    monkeypatch.setattr(json_documents, "CHUNK_BYTES", 701)
    features = [FEATURE | {"id": f"n{number}", "text": 'ünïcode \\" ] } , ' * 5} for number in range(60)]
    whole = features if is_list else {"note": 12, "features": features, "type": "FeatureCollection", "end": {"a": [1]}}
    path = tmp_path / "collection.json"
    path.write_text(json.dumps(whole, ensure_ascii=False))
    assert path.stat().st_size > 4000
    assert found_in(path) == [(f"n{number}", "") for number in range(60)]
    path.write_text(path.read_text()[:-400])
    cut = found_in(path)
    assert cut[:50] == [(f"n{number}", "") for number in range(50)]
    assert cut[-1][0] == "collection.json" and cut[-1][1].startswith("unreadable item: ")


@given(DOCUMENTS, st.integers(1, 40))
def test_a_stream_gives_what_a_parser_gives_wherever_it_is_cut(value: Any, chunk: int) -> None:
    raw = json.dumps({"before": value, "features": [value, {"a": value}], "after": value}).encode()

    class Trickle(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            return super().read(chunk)

    assert list(stream_features(Trickle(raw))) == [value, {"a": value}]


BROKEN = [b"", b"{", b'{"a":1}', b"[1,", b'{"features":[{"a":', b"[{}}", b'{"features":[]', b"nope", b"\xff\xfe", b"[1 2]",
          b'{"a" 1}', b'{1:2}']  # fmt: skip


@pytest.mark.parametrize("raw", BROKEN)
def test_a_broken_stream_ends_with_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected|Expecting|decode|delimiter"):
        list(stream_features(io.BytesIO(raw)))


def test_symbolic_links_do_not_leave_the_archive(tmp_path: Path) -> None:
    root, outside = tmp_path / "archive", tmp_path / "outside"
    (root / "scene").mkdir(parents=True)
    outside.mkdir()
    (outside / "item.json").write_text(json.dumps(FEATURE | {"id": "stolen"}))
    (outside / "B04.tif").touch()
    (root / "scene/inside.json").write_text(json.dumps(FEATURE))
    (root / "scene/linked.json").symlink_to(outside / "item.json")
    (root / "scene/B04.tif").symlink_to(outside / "B04.tif")
    (root / "scene/B03.tif").touch()
    (root / "scene/B02.tif").symlink_to(root / "scene/B03.tif")
    (root / "folder").symlink_to(outside, target_is_directory=True)
    causes = dict(found_in(root))
    assert set(causes) == {"one", "scene/linked.json", "folder"}
    assert "a symbolic link out of the archive" in str(causes["scene/linked.json"])
    assert "unreadable folder: a symbolic link out of the archive is not followed" in str(causes["folder"])
    here = place(str(root / "scene"), str(root))
    assert resolve_href("./B02.tif", here) == str(root / "scene/B02.tif")
    for href in ("./B04.tif", "https://example.org/B04.tif", "../folder/B04.tif"):
        with pytest.raises(ItemRefused, match="is a symbolic link out of the archive"):
            resolve_href(href, here)


def test_a_catalogue_does_not_follow_links_out_of_the_archive(tmp_path: Path) -> None:
    root, outside = tmp_path / "archive", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "item.json").write_text(json.dumps(FEATURE | {"id": "stolen"}))
    (root / "linked.json").symlink_to(outside / "item.json")
    (root / "good.json").write_text(json.dumps(FEATURE))
    names = [
        "linked.json",
        "good.json",
        "../outside/item.json",
        (outside / "item.json").as_uri(),
        "%2e%2e/outside/item.json",
    ]
    links = [{"rel": "item", "href": name} for name in names]
    (root / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": links}))
    found = found_in(root)
    assert [name for name, cause in found if not cause] == ["one"]
    assert len([cause for _, cause in found if "outside the archive" in cause]) == 1
    assert len([cause for _, cause in found if "symbolic link" in cause]) == 1
    assert len([cause for _, cause in found if "FileNotFoundError" in cause]) == 1


SITE = "https://stac.example.org/c/items"
REFUSED = [
    ("https://user:secret@x.org/a.tif", (), "without credentials"),
    ("https://x.org\\@127.0.0.1/a.tif", (), "without credentials"),
    ("http://[::1]/a.tif", (), "not a public one"),
    ("http://[bad/a.tif", (), "is no URL"),
    ("https://x.org/%2fvsicurl/a.tif", (), "GDAL virtual path"),
    ("https://x.org/%76si%73/a.tif\n", (), "printable"),
    ("//evil.org/a.tif", (), "local path in a remote catalogue"),
    ("http://known.org/a.tif", ("known.org",), "not encrypted: expected https or s3"),
    ("s3://other-bucket/a.tif", ("my-bucket",), "not one of this archive's"),
    ("gs://bucket/a.tif", (), "scheme of"),
    ("javascript:alert(1)", (), "scheme of"),
    ("data:image/tiff;base64,AAAA", (), "scheme of"),
]


PRIVATE = [
    "127.1", "127.0.0.1.", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "0x7f000001", "169.254.169.254", "10.0.0.1", "192.168.1", "LOCALHOST",
    "localhost.", "host.localhost.", "metadata.google.internal.", "db", "db.", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]", "[fe80::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_host_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(ItemRefused, match="is not a public one"):
        resolve_href(f"https://{host}/a.tif", place(SITE, SITE))
    with pytest.raises(ItemRefused, match="is not a public one"):
        resolve_href(f"http://{host}:8080/v1/%61.tif", place(SITE, SITE))


@pytest.mark.parametrize("host", ["x.org", "1.x.org", "0x7f.org", "8.8.8.8", "[2606:4700::1]", "10.0.0.1.x.org"])
def test_a_public_host_is_not(host: str) -> None:
    assert resolve_href(f"https://{host}/a.tif", place(SITE, SITE)) == f"https://{host}/a.tif"


@pytest.mark.parametrize(("href", "hosts", "cause"), REFUSED)
def test_a_hostile_href_is_refused_and_secrets_are_not_repeated(href: str, hosts: tuple[str, ...], cause: str) -> None:
    with pytest.raises(ItemRefused, match=cause) as refusal:
        resolve_href(href, place(SITE, SITE, hosts))
    assert "secret" not in str(refusal.value)


@given(st.text(max_size=60))
def test_no_href_leaves_a_local_archive(href: str) -> None:
    try:
        target = resolve_href(href, place("/nowhere/archive/scene", "/nowhere/archive"))
    except ItemRefused:
        return
    assert (
        target.startswith(("/nowhere/archive/", "http://", "https://", "s3://", "HTTP", "S3")) and "/../" not in target
    )


SECRETS = [
    ("https://a.blob.core.windows.net/c/b.tif?st=1&se=2&sp=rl&sv=3&sr=c&sig=abc%3D", "https://a.blob.core.windows.net/c/b.tif"),
    ("https://b.s3.amazonaws.com/k.tif?X-Amz-Algorithm=A&X-Amz-Credential=B&X-Amz-Signature=c&versionId=7",
     "https://b.s3.amazonaws.com/k.tif?versionId=7"),
    ("https://b.s3.amazonaws.com/k.tif?AWSAccessKeyId=A&Signature=B&Expires=9", "https://b.s3.amazonaws.com/k.tif"),
    ("https://storage.googleapis.com/b/k.tif?X-Goog-Signature=a&generation=1", "https://storage.googleapis.com/b/k.tif?generation=1"),
    ("https://x.org/a.tif?token=abc&band=1", "https://x.org/a.tif?band=1"),
    ("https://x.org/a.tif?access_token=abc", "https://x.org/a.tif"),
    ("https://x.org/a.tif?st=2020&band=sr", "https://x.org/a.tif?st=2020&band=sr"),
    ("https://x.org/a.tif", "https://x.org/a.tif"),
]  # fmt: skip


@pytest.mark.parametrize(("href", "clean"), SECRETS)
def test_secrets_are_taken_out_of_hrefs_and_nothing_else(href: str, clean: str) -> None:
    assert without_secrets(href) == clean
    assert resolve_href(href, place(SITE, SITE)) == clean


def test_a_stored_document_holds_no_secret_and_a_clean_one_is_left_as_it_is() -> None:
    signed = "https://a.blob.core.windows.net/c/b.tif?sv=1&sig=abc"
    document = FEATURE | {
        "assets": {"red": {"href": signed, "alternate": {"s3": {"href": signed}}}, "x": 3, "blue": {"href": "./b.tif"}},
        "links": [{"rel": "self", "href": "https://user:password@x.org/i"}, "odd"],
    }
    clean = document_without_secrets(document)
    text = json.dumps(clean)
    assert "sig=" not in text and "password" not in text
    assert clean["assets"]["blue"] == {"href": "./b.tif"} and clean["assets"]["x"] == 3
    assert document_without_secrets(clean) is clean
    assert "sig=abc" in document["assets"]["red"]["href"]  # type: ignore[index]


SIGNATURE = "X-Amz-Credential=A/2026/eu&X-Amz-Signature=0c0ffee"


def test_the_place_of_an_item_holds_no_secret_wherever_its_address_came_from() -> None:
    signed = f"{SITE}/one.json?{SIGNATURE}&version=2"
    known = StacApi("https://stac.example.org", ("c",))
    feature = FEATURE | {"links": [{"rel": "self", "href": signed}]}
    found = api_item(feature, known, ArchiveFiles())
    assert found.place.location == f"{SITE}/one.json?version=2"
    source = Source("https://stac.example.org", ArchiveFiles())
    every = [
        found,
        source.unreadable(signed, OSError(f"{signed}: answered 403")),
        *source.items_of(FEATURE, signed),
        *source.items_of([FEATURE], signed),
        *source.unread(raw_features(json.dumps({"type": "FeatureCollection", "features": [FEATURE]}).encode()) or [], signed),
    ]  # fmt: skip
    assert {each.place.folder for each in every} == {SITE}
    assert len(every) == 5 and "0c0ffee" not in "".join(map(repr, every))
    assert source.place("/data/a@b/x?token=1.json").location == "file:///data/a%40b/x%3Ftoken%3D1.json"


def test_a_catalogue_with_signed_links_is_read_by_them_and_stores_none() -> None:
    links = [{"rel": "item", "href": f"one.json?{SIGNATURE}"}, {"rel": "item", "href": f"gone.json?{SIGNATURE}"},
             {"rel": "item", "href": f"https://elsewhere.org/two.json?{SIGNATURE}"}]  # fmt: skip
    documents = {"/catalog.json": {"type": "Catalog", "id": "c", "links": links}, f"/one.json?{SIGNATURE}": FEATURE}
    with serving(documents) as url:
        found = {item.id: item for item in read_items(f"{url}/catalog.json", Wanted(), ArchiveFiles())}
    assert {name: bool(item.cause) for name, item in found.items()} == {
        "one": False,
        "gone.json": True,
        "https://elsewhere.org/two.json": True,
    }
    assert found["one"].place.location == f"{url}/one.json"
    assert "answered 404" in (found["gone.json"].cause or "") and "outside the archive" in (
        found["https://elsewhere.org/two.json"].cause or ""
    )
    assert "0c0ffee" not in "".join(map(repr, found.values()))


@contextmanager
def serving(documents: dict[str, Any]) -> Iterator[str]:
    """A site that has these documents at these paths, queries included."""

    class Site(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200 if self.path in documents else 404, json.dumps(documents.get(self.path, {})).encode())

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Site)) as url:
        yield url


@pytest.mark.parametrize(
    "address", ["https://me:secret@x.org/stac", "https://x.org/items.parquet?sig=secret", "s3://key:secret@bucket/l2a"]
)
def test_an_address_of_an_archive_that_would_be_stored_with_its_secret_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="without user, password, signature or token") as refusal:
        archive_location(address)
    assert "secret" not in str(refusal.value)


def test_the_preferred_kind_of_href_is_taken_where_there_is_one() -> None:
    assets = {
        "red": {"href": "https://a/r.tif", "alternate": {"s3": {"href": "s3://b/r.tif"}}},
        "blue": {"href": "https://a/b.tif"},
    }
    chosen = preferring({"assets": assets}, "s3")["assets"]
    assert (chosen["red"]["href"], chosen["blue"]["href"]) == ("s3://b/r.tif", "https://a/b.tif")
    assert preferring({"assets": None}, "s3") == {"assets": None}


@pytest.fixture
def redirecting() -> Iterator[str]:
    """A site whose /inside leads to itself and whose /private and /named lead to other names of this machine."""

    class Site(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = {
                "/inside": "/item.json",
                "/private": f"http://localhost:{port}/item.json",
                "/named": f"http://files.example.org:{port}/item.json",
            }.get(self.path)
            if address:
                self.answer(302, headers={"Location": address})
            else:
                self.answer(200, json.dumps(FEATURE).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    port = server.server_address[1]
    with answering(server) as url:
        yield url


def test_a_redirect_to_a_private_host_is_not_followed(redirecting: str) -> None:
    assert [item.id for item in read_items(f"{redirecting}/inside", Wanted(), ArchiveFiles())] == ["one"]
    with pytest.raises(RequestError, match="redirects to 'localhost', which is not a public host"):
        list(read_items(f"{redirecting}/private", Wanted(), ArchiveFiles()))


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Addresses by host name, as a resolver would tell them."""
    known: dict[str, str] = {}
    ask = socket.getaddrinfo

    def told(host: Any, *arguments: Any, **options: Any) -> Any:
        return ask(known.get(host, host), *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", told)
    return known


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_a_redirect_to_a_public_name_of_a_private_address_is_not_followed(
    redirecting: str, resolving: dict[str, str], address: str
) -> None:
    resolving["files.example.org"] = address
    with pytest.raises(RequestError, match=r"redirects to 'files\.example\.org', which is not a public host"):
        list(read_items(f"{redirecting}/named", Wanted(), ArchiveFiles()))


def test_a_host_is_inside_by_its_name_or_by_what_it_stands_for(resolving: dict[str, str]) -> None:
    resolving |= {"a.example.org": "93.184.216.34", "b.example.org": "192.168.1.1"}
    assert [leads_inside(host) for host in ("a.example.org", "93.184.216.34", "nowhere.invalid")] == [False] * 3
    assert [leads_inside(host) for host in ("b.example.org", "10.1.2.3", "store.internal", "127.1")] == [True] * 4


@pytest.mark.parametrize(
    ("name", "cause"), [("B04.tif", "not recognized as being in a supported"), ("B04", "VRT is not read")]
)
def test_a_file_that_is_a_recipe_for_other_files_is_no_raster(tmp_path: Path, name: str, cause: str) -> None:
    with rasterio.open(tmp_path / "secret.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8",
                       crs="EPSG:32647", transform=from_origin(0, 0, 10, 10)) as file:  # fmt: skip
        file.write(np.ones((4, 4), np.uint8), 1)
    (tmp_path / name).write_text(f"""<VRTDataset rasterXSize="4" rasterYSize="4"><SRS>EPSG:32647</SRS>
      <GeoTransform>0,10,0,0,0,-10</GeoTransform><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
      <SourceFilename>{tmp_path / "secret.tif"}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>""")
    geobox = GeoBox((4, 4), from_origin(0, 0, 10, 10), "EPSG:32647")
    out = np.zeros((4, 4), np.uint8)
    assert read_file_grid(str(tmp_path / name)) is None
    with pytest.raises(UnreadBand, match=rf"cannot read .*{name}: .*{cause}"):
        read_band(BandFile(str(tmp_path / name), 1.0, 0.0, 0), geobox, "nearest", out)
    assert not out.any()
