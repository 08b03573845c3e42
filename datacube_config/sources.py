"""Source products that are not scenes of a known archive, read from sources.yaml and a file of one's own."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from datacube_config.closed import Closed
from datacube_config.errors import SettingsError
from datacube_config.lined_yaml import read_lined, with_lines

OWN_SOURCES = "sources.yaml"  # in the home
PRODUCT_NAME = r"^[a-z][a-z0-9_]{1,62}$"
GROUPS = ("tile", "epoch", "date", "version", "platform", "band")
DType = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


class RasterBand(Closed):
    """A band in layer `layer` of the file that the group `band` of the name calls `file`; value = DN * scale + offset."""

    dtype: DType
    nodata: float
    units: str = "1"
    scale: float = 1.0
    offset: float = 0.0
    file: str | None = None
    layer: int = Field(ge=1, default=1)
    classes: dict[int, str] = Field(default={})


class Described(Closed):
    """What people must know of a source, and which file names (globs) belong to it."""

    title: str
    kind: str = Field(pattern=r"^[a-z][a-z_]*$")
    license: str = Field(pattern=r"^[\w\-.+]+$")
    credit: str
    files: tuple[str, ...] = Field(min_length=1)


class RasterSource(Described):
    """Rasters whose path ends in a match of `name`; `time` says where the period comes from."""

    name: str
    time: Literal["static", "epoch", "date"]
    bands: dict[str, RasterBand] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _readable(cls, pattern: str) -> str:
        try:
            found = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from error
        if unknown := found - set(GROUPS):
            raise ValueError(f"unknown group {sorted(unknown)[0]!r} in name: expected some of {', '.join(GROUPS)}")
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> "RasterSource":
        groups = set(re.compile(self.name).groupindex)
        if self.time != "static" and self.time not in groups:
            raise ValueError(f"time: {self.time} needs a group (?P<{self.time}>…) in name")
        for band, spec in self.bands.items():
            if ("band" in groups) != (spec.file is not None):
                raise ValueError(f"band {band}: a group (?P<band>…) in name and `file:` in each band go together")
        return self

    def match(self, path: str) -> re.Match[str] | None:
        """The facts in the end of a path."""
        return re.search(rf"(?:^|/)(?:{self.name})$", path)


class FolderSource(Described):
    """A folder that is registered as it is."""


class SourceTable(Closed):
    """The whole of sources.yaml, by product name."""

    rasters: dict[str, RasterSource] = Field(default={})
    folders: dict[str, FolderSource] = Field(default={})

    @model_validator(mode="after")
    def _named(self) -> "SourceTable":
        for name in (*self.rasters, *self.folders):
            if not re.match(PRODUCT_NAME, name):
                raise ValueError(f"expected a product name of lower-case letters, digits and underscores, got {name!r}")
        if both := set(self.rasters) & set(self.folders):
            raise ValueError(f"the name {sorted(both)[0]!r} stands in rasters and in folders")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What `--as` takes."""
        return (*self.rasters, *self.folders)


@cache
def source_table(home: Path | None = None) -> SourceTable:
    """What sources.yaml says, with the entries of <home>/sources.yaml; SettingsError for a wrong one."""
    known = read_lined((files("datacube_config") / "sources.yaml").read_text(encoding="utf-8"), "sources.yaml")
    own = home / OWN_SOURCES if home else None
    if own is None or not own.is_file():
        return SourceTable.model_validate(known.content)
    try:
        added = read_lined(own.read_text(encoding="utf-8"), str(own))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{own} cannot be read: {error}") from error
    try:
        return SourceTable.model_validate(_merged(known.content, added.content))
    except ValidationError as error:
        raise with_lines(error, [known, added]) from None


def _merged(known: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Entries of one's own beside those we know, or in place of one of the same name."""
    own = {key: entries or {} for key, entries in added.items()}
    return known | {
        key: {**known.get(key, {}), **entries} if isinstance(entries, dict) else entries for key, entries in own.items()
    }
