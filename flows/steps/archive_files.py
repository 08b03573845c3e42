"""Files of an archive: a local folder, an s3:// prefix or an http(s) site, read with fsspec and httpx."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import httpx

HTTP_TIMEOUT_S = 60.0


class ArchiveFiles:
    """Reads and lists what lies in an archive. Each folder is listed once."""

    def __init__(self, s3_options: Mapping[str, Any] | None = None) -> None:
        self._s3_options = dict(s3_options or {})
        self._listed: dict[str, frozenset[str]] = {}

    def read_json(self, location: str) -> Any:  # noqa: ANN401, whatever the file holds
        """The document at a path or URL; OSError, httpx.HTTPError or ValueError if it cannot be read."""
        if location.startswith(("http://", "https://")):
            answer = httpx.get(location, timeout=HTTP_TIMEOUT_S, follow_redirects=True)
            return answer.raise_for_status().json()
        return json.loads(self.filesystem(location).cat_file(location))

    def is_folder(self, location: str) -> bool:
        """Whether a path or s3 prefix holds files."""
        return bool(self.filesystem(location).isdir(location))

    def exists(self, location: str) -> bool:
        """Whether there is anything at a path or s3 URL."""
        return bool(self.filesystem(location).exists(location))

    def files_in(self, folder: str) -> frozenset[str]:
        """The names of the files of one folder; none for a site that cannot be listed."""
        if folder.startswith(("http://", "https://")):
            return frozenset()
        if folder not in self._listed:
            self._listed[folder] = frozenset(self._names(folder))
        return self._listed[folder]

    def walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """Each folder below `root` with the sorted names of its files, in order of their paths."""
        found: dict[str, list[str]] = {}
        for path in self.filesystem(root).find(root):
            folder, _, name = self._full(str(path), root).rpartition("/")
            found.setdefault(folder, []).append(name)
        for folder in sorted(found):
            self._listed[folder] = frozenset(found[folder])
            yield folder, sorted(found[folder])

    def filesystem(self, location: str) -> Any:  # noqa: ANN401, an fsspec filesystem
        """The filesystem of a path or s3 URL."""
        return (
            fsspec.filesystem("s3", **self._s3_options) if location.startswith("s3://") else fsspec.filesystem("file")
        )

    def _names(self, folder: str) -> list[str]:
        filesystem = self.filesystem(folder)
        try:
            return [Path(entry["name"]).name for entry in filesystem.ls(folder, detail=True) if entry["type"] == "file"]
        except (FileNotFoundError, NotADirectoryError):
            return []

    @staticmethod
    def _full(path: str, root: str) -> str:
        return f"s3://{path}" if root.startswith("s3://") else path


def as_uri(location: str) -> str:
    """A local path as file:///…; a URL as it is."""
    return location if "://" in location else Path(location).as_uri()
