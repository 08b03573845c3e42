"""The files of a declared source product: which belong together, and what their names say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from datacube_config.sources import Described, RasterSource
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.item_refused import ItemRefused
from products.errors import RequestError
from products.period import Period

# What does not change with time matches every query of it.
ALWAYS = Period(datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y_%m_%d", "%Y%j", "%Y%m%dT%H%M%S", "%Y-%m-%dT%H%M%S")


@dataclass(frozen=True, slots=True)
class RasterFacts:
    """What a name says. `moment` is the epoch or date as ISO, or `static`."""

    tile: str
    moment: str
    version: str
    platform: str
    period: Period

    @property
    def key(self) -> str:
        """What identifies the raster within its product, never where it lies."""
        return f"{self.tile}/{self.moment}/{self.version}/{self.platform}"


@dataclass(slots=True)
class RasterFiles:
    """The files of one dataset by the band group of their names, None where there is no such group."""

    facts: RasterFacts
    paths: dict[str | None, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The path that stands for all of them."""
        return min(self.paths.values())


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that cannot be taken, and why."""

    path: str
    cause: str


def find_rasters(source: RasterSource, location: str, files: ArchiveFiles) -> Iterator[RasterFiles | RefusedFile]:
    """The datasets in the files at or below a location that the globs name; RequestError where none does."""
    found: dict[str, RasterFiles] = {}
    refused: list[RefusedFile] = []
    for path in matching_files(source, location, files):
        try:
            facts, band = raster_facts(source, path)
        except ItemRefused as refusal:
            refused.append(RefusedFile(path, str(refusal)))
            continue
        group = found.setdefault(facts.key, RasterFiles(facts))
        if band in group.paths:
            cause = (
                f"two files of {facts.key}: {group.paths[band]} is taken, give this one another version or remove it"
            )
            refused.append(RefusedFile(path, cause))
        else:
            group.paths[band] = path
    yield from refused
    yield from found.values()


def matching_files(source: Described, location: str, files: ArchiveFiles) -> list[str]:
    """The paths at or below a location whose names match a glob of a source; RequestError where there is none."""
    if location.startswith(("http://", "https://")):
        raise RequestError(f"{location} cannot be listed: expected a path or an s3:// URL")
    if not files.exists(location):
        raise RequestError(f"nothing at {location}: expected a file or a folder of files {' or '.join(source.files)}")
    if files.is_folder(location):
        paths = [f"{folder}/{name}" for folder, names in files.walk(location.rstrip("/")) for name in names]
    else:
        paths = [location]
    wanted = [path for path in paths if any(fnmatchcase(path.rpartition("/")[2], glob) for glob in source.files)]
    if not wanted:
        raise RequestError(f"no file at {location} is named {' or '.join(source.files)}")
    return wanted


def raster_facts(source: RasterSource, path: str) -> tuple[RasterFacts, str | None]:
    """What the name of a file says, and its band group; ItemRefused where it says too little."""
    found = source.match(path)
    if found is None:
        raise ItemRefused(f"the name does not match {source.name}")
    said = {group: text for group, text in found.groupdict().items() if text is not None}
    moment, period = _moment(source, said)
    tile = said.get("tile") or _rest_of_name(found)
    return RasterFacts(tile, moment, said.get("version", ""), said.get("platform", ""), period), said.get("band")


def _moment(source: RasterSource, said: dict[str, str]) -> tuple[str, Period]:
    if source.time == "static":
        return "static", ALWAYS
    text = said.get(source.time, "")
    if source.time == "epoch":
        if not re.fullmatch(r"[12]\d{3}", text):
            raise ItemRefused(f"no epoch in the name: expected a year, got {text!r}")
        return text, Period(datetime(int(text), 1, 1, tzinfo=UTC), datetime(int(text) + 1, 1, 1, tzinfo=UTC))
    start = _instant(text)
    if start.time() == datetime.min.time():
        return f"{start:%Y-%m-%d}", Period(start, start + timedelta(days=1))
    return f"{start:%Y-%m-%dT%H:%M:%S}", Period(start, start + timedelta(seconds=1))


def _instant(text: str) -> datetime:
    """The date that is written so: strptime alone also takes months of one digit (2020131) and the 366th day of any year."""
    padded = re.sub(r"(?<=[-_])(\d)(?!\d)", r"0\1", text)
    for pattern in DATE_FORMATS:
        try:
            found = datetime.strptime(padded, pattern)
        except ValueError:
            continue
        if found.strftime(pattern) == padded:
            return found.replace(tzinfo=UTC)
    raise ItemRefused(f"no date in the name: expected one such as 2020-01-31, 20200131 or 2020031, got {text!r}")


def _rest_of_name(found: re.Match[str]) -> str:
    """The file name without its suffix and without what the groups say: what tells one tile from another."""
    start = found.string.rfind("/") + 1
    name = found.string[start:].rpartition(".")[0]
    spans = sorted((found.span(group) for group in found.groupdict() if found[group]), reverse=True)
    for first, last in spans:
        if first >= start:
            name = name[: first - start] + name[last - start :]
    return name.strip("_-. ") or found.string[start:]
