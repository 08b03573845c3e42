"""A bucket that refuses, or cannot be reached, is told in one line that names it, and what was taken before is told too."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.items import FoundItem, reread
from flows.steps.service.prefect_processes import free_port
from tests.flows.loopback_server import Silent, answering

REFUSAL = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
ENTRY = "<Contents><Key>scenes/{name}/{name}.json</Key><Size>40</Size><LastModified>2024-01-01T00:00:00Z</LastModified></Contents>"
LISTED = (
    "<ListBucketResult><Name>bucket</Name><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>{more}</IsTruncated>"
    f"{{token}}{ENTRY.format(name='a')}{ENTRY.format(name='b')}</ListBucketResult>"
)
WORDS = "s3://bucket/scenes: The provided token has expired.: check the NEOCUBE_S3_ settings"


class Expiring(Silent, BaseHTTPRequestHandler):
    """A bucket of items, of whose listing a second page is refused: the token expired meanwhile."""

    def do_HEAD(self) -> None:
        """There are keys below a prefix only."""
        self._send(404, b"")

    def do_GET(self) -> None:
        """A page of keys, or an item."""
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path.endswith(".json"):
            self._send(200, b'{"type": "Feature", "id": "a", "bbox": []}')
        elif "continuation-token" in query:
            self._send(400, REFUSAL)
        else:
            more = "delimiter" not in query and query.get("max-keys") == ["1000"]
            token = "<NextContinuationToken>n</NextContinuationToken>" if more else ""
            self._send(200, LISTED.format(more=str(more).lower(), token=token).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def expiring(embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The settings lead to it."""
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Expiring)) as url:
        lead_to(url, monkeypatch)
        yield url


def lead_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "reader", "SECRET_ACCESS_KEY": "secret", "REGION": "eu-west-1"}
    for name, value in said.items():
        monkeypatch.setenv(f"NEOCUBE_S3_{name}", value)


def test_what_was_taken_before_a_listing_is_refused_is_told(expiring: str) -> None:
    done = CliRunner().invoke(main, ["ingest", "s3://bucket/scenes", "--json"])
    report = json.loads(done.stdout)
    assert (done.exit_code, report["found"]) == (1, 1), done.output
    assert WORDS in report["stopped"][0]["cause"]


@pytest.mark.parametrize(
    "command", ["ingest s3://bucket/scenes --as global_mangrove_watch", "reconcile s3://bucket/scenes"]
)
def test_a_listing_that_is_refused_is_one_line(expiring: str, command: str) -> None:
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 2 and WORDS in done.stderr, done.output


@pytest.mark.parametrize("as_source", [[], ["--as", "global_mangrove_watch"]])
def test_a_bucket_that_cannot_be_reached_is_one_line(
    embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch, as_source: list[str]
) -> None:
    lead_to(f"http://127.0.0.1:{free_port()}", monkeypatch)
    done = CliRunner().invoke(main, ["ingest", "s3://bucket/scenes", *as_source])
    assert done.exit_code == 2 and "s3://bucket/scenes: Could not connect to the endpoint" in done.stderr, done.output


def test_what_cannot_be_read_again_stays_as_it_is_where_its_bucket_does_not_answer() -> None:
    files = ArchiveFiles({"anon": True, "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{free_port()}"}})
    place = ItemPlace("s3://bucket/scenes/a.json", "s3://bucket/scenes", "s3://bucket/scenes", files.files_in)
    found = FoundItem("a", place, None, "unreadable")
    assert reread(found, files) == [found]
