"""A label file, wherever it lies, as a file of this machine."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from botocore.exceptions import BotoCoreError

from products.errors import RequestError


@dataclass(frozen=True, slots=True)
class LabelFile:
    """What the request names, a path or s3:// URL, and where its content lies now."""

    place: str
    path: Path

    def __str__(self) -> str:
        return self.place

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.place.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """Its suffix in lower case, such as .geojson."""
        return self.path.suffix.lower()


@contextmanager
def label_file(place: str, s3_options: Mapping[str, Any]) -> Iterator[LabelFile]:
    """A label file for the block; what lies in S3 is fetched for it. RequestError if there is none."""
    if "://" not in place:
        yield LabelFile(place, Path(place))
        return
    if not place.startswith("s3://"):
        raise RequestError(f"cannot read labels from {place}: expected a path or an s3:// URL")
    with tempfile.TemporaryDirectory(prefix="neocube-labels-") as folder:
        file = LabelFile(place, Path(folder) / place.rpartition("/")[2])
        try:
            fsspec.filesystem("s3", **s3_options).get_file(place, str(file.path))
        except FileNotFoundError as error:
            raise RequestError(f"no label file at {place}: expected a GeoJSON, GeoPackage or GeoTIFF") from error
        except (OSError, BotoCoreError) as error:
            raise RequestError(f"cannot read the label file {place}: {error}: check NEOCUBE_S3_*") from error
        yield file
