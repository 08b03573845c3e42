"""The archives we know and how they name their collections and assets, read from archives.yaml."""

from functools import cache
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict


class KnownArchive(BaseModel):
    """A named archive: its STAC API, its names for our collections, the hosts (or patterns) its hrefs may name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    collections: dict[str, tuple[str, ...]]
    hosts: tuple[str, ...] = ()
    signing: str | None = None
    requests_per_second: float = 5.0


class ArchiveTable(BaseModel):
    """The whole of archives.yaml: archives by name, asset names by sensor and band, rendition policy by collection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archives: dict[str, KnownArchive]
    assets: dict[str, dict[str, tuple[str, ...]]]
    renditions: dict[str, tuple[str, ...]]


@cache
def archive_table() -> ArchiveTable:
    """What archives.yaml says."""
    text = (files("datacube_config") / "archives.yaml").read_text(encoding="utf-8")
    return ArchiveTable.model_validate(yaml.safe_load(text))


def asset_names(sensor: str) -> dict[str, tuple[str, ...]]:
    """The asset names that may hold each band of a sensor, by band, preferred first."""
    return archive_table().assets[sensor]


def collection_aliases() -> dict[str, str]:
    """Our collection behind each name that an archive has for one."""
    return {
        alias: name
        for archive in archive_table().archives.values()
        for name, aliases in archive.collections.items()
        for alias in aliases
    }
