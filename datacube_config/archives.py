"""The archives we know and how they name their collections and assets: archives.yaml, and a file of one's own."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from datacube_config.closed import Closed
from datacube_config.errors import SettingsError
from datacube_config.lined_yaml import LinedDocument, merged, read_lined, with_lines

Kind = Literal["api", "catalogue", "prefix", "inventory", "queue", "parquet", "folder"]
RenditionKey = Literal["collection", "tier", "processed", "baseline", "generated", "provider"]
SCHEMES: dict[str, tuple[str, ...]] = {
    "api": ("https://", "http://"),
    "prefix": ("s3://",),
    "inventory": ("s3://",),
    "queue": ("sqs://",),
}


class SigningRule(Closed):
    """How files on some hosts or buckets (or patterns of them) are opened; keys of `s3` come from an AWS profile.

    `endpoint` is the S3 endpoint, or the address that gives the tokens of a container: ENDPOINT/ACCOUNT/CONTAINER.
    """

    kind: Literal["anonymous", "requester-pays", "s3", "planetary-computer"]
    hosts: tuple[str, ...] = Field(min_length=1)
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^@?#\s]+$")
    region: str | None = None
    profile: str | None = None

    @model_validator(mode="after")
    def _has_endpoint(self) -> "SigningRule":
        if self.kind == "planetary-computer" and self.endpoint is None:
            raise ValueError("expected an endpoint that gives tokens")
        return self


class Paging(Closed):
    """Items a page, and how the search of an API is asked."""

    items: int = Field(default=200, ge=1, le=10_000)
    method: Literal["POST", "GET"] = "POST"


class Mark(Closed):
    """The property of items that a harvest goes on from, and the way in which the API compares it."""

    field: str = "datetime"
    filter: Literal["datetime", "query", "cql2-json"] = "datetime"


class KnownArchive(Closed):
    """A named archive: where it is, its names for our collections, the hosts and buckets its hrefs may name.

    `requests_per_second` are those to the host of its url, `files_per_second` those to each other site of `hosts`.
    """

    kind: Kind = "api"
    url: str
    collections: dict[str, tuple[str, ...]] = Field(default={})
    assets: dict[str, dict[str, tuple[str, ...]]] = Field(default={})
    hosts: tuple[str, ...] = ()
    alternate: str | None = None
    signing: tuple[SigningRule, ...] = ()
    requests_per_second: float = Field(default=5.0, gt=0)
    files_per_second: float = Field(default=20.0, gt=0)
    paging: Paging = Paging()
    mark: Mark = Mark()
    items: str = "*.json"
    admission: Literal["listed", "head", "sample", "off"] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> "KnownArchive":
        schemes = SCHEMES.get(self.kind)
        if schemes and not self.url.startswith(schemes):
            raise ValueError(f"expected the url of a {self.kind} to start with {' or '.join(schemes)}, got {self.url}")
        if "@" in urlsplit(self.url.removeprefix("sqs://")).netloc:
            raise ValueError("expected a url without user and password: it is stored with every scene")
        if self.url.startswith(("http://", "https://")) and not self.hosts:
            raise ValueError("expected hosts: the hosts and buckets that its hrefs may name")
        return self


class ArchiveTable(Closed):
    """Archives by name and in order of preference, asset names by sensor and band, rendition policy by collection."""

    order: tuple[str, ...] = ()
    archives: dict[str, KnownArchive]
    assets: dict[str, dict[str, tuple[str, ...]]]
    renditions: dict[str, tuple[RenditionKey, ...]]

    @model_validator(mode="after")
    def _ordered(self) -> "ArchiveTable":
        """`order` goes on with the archives that it does not name."""
        if unknown := [name for name in self.order if name not in self.archives]:
            raise ValueError(f"order: {', '.join(unknown)} is no archive of this file")
        rest = tuple(name for name in self.archives if name not in self.order)
        object.__setattr__(self, "order", self.order + rest)
        return self

    @property
    def signing(self) -> tuple[SigningRule, ...]:
        """The rules of all archives."""
        return tuple(dict.fromkeys(rule for archive in self.archives.values() for rule in archive.signing))


_own: list[Path | None] = [None]


def use_archives(own: Path | None) -> None:
    """Let the file of one's own (None: no such file) be in force in this process; SettingsError if it is wrong."""
    load_archives(own)
    _own[0] = own


def own_archives() -> Path | None:
    """The file of one's own that is in force."""
    return _own[0]


def archive_table() -> ArchiveTable:
    """The archives in force."""
    return load_archives(_own[0])


@cache
def load_archives(own: Path | None = None) -> ArchiveTable:
    """archives.yaml, and over it a file of one's own; SettingsError names the file and the line."""
    built_in = read_lined((files("datacube_config") / "archives.yaml").read_text(encoding="utf-8"), "archives.yaml")
    documents = [built_in] if own is None else [built_in, _read(own)]
    table: Any = documents[0].content
    for document in documents[1:]:
        table = merged(table, document.content)
    try:
        return ArchiveTable.model_validate(table)
    except ValidationError as error:
        raise with_lines(error, documents) from None


def asset_names(sensor: str, archive: str | None = None) -> dict[str, tuple[str, ...]]:
    """The asset names that may hold each band of a sensor in an archive, by band, preferred first."""
    table = archive_table()
    known = table.archives.get(archive or "")
    return {**table.assets[sensor], **(known.assets.get(sensor, {}) if known else {})}


def collection_aliases() -> dict[str, str]:
    """Our collection behind each name that an archive has for one."""
    return {
        alias: name
        for archive in archive_table().archives.values()
        for name, aliases in archive.collections.items()
        for alias in aliases
    }


def _read(own: Path) -> LinedDocument:
    try:
        text = own.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"NEOCUBE_ARCHIVES: {own} cannot be read: {error}") from error
    return read_lined(text, str(own))
