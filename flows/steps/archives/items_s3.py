"""Items in a bucket: the keys of an S3 inventory, or of a paged listing of a prefix."""

import csv
import gzip
import io
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote_plus

import pyarrow.parquet

from flows.steps.archives.archive_files import reaching
from flows.steps.archives.found_items import FoundItem, Source
from flows.steps.archives.items_static import items_at
from products.errors import RequestError

ROWS_AT_ONCE = 10_000


def is_inventory(document: Any) -> bool:  # noqa: ANN401
    """Whether a document is the manifest of an S3 inventory."""
    return isinstance(document, dict) and {"sourceBucket", "fileFormat", "files"} <= document.keys()


def inventory_items(location: str, source: Source, pattern: str) -> Iterator[FoundItem]:
    """The items whose keys match a pattern in the inventory that a manifest.json describes; RequestError for another file."""
    try:
        manifest = source.files.read_json(location)
    except (OSError, ValueError) as error:
        raise RequestError(f"{location}: expected the manifest of an S3 inventory: {error}") from error
    if not is_inventory(manifest) or not isinstance(manifest["files"], list):
        raise RequestError(f"{location}: expected the manifest of an S3 inventory (sourceBucket, fileFormat, files)")
    read = {"CSV": _csv_rows, "PARQUET": _parquet_rows}.get(str(manifest["fileFormat"]).upper())
    if read is None:
        raise RequestError(f"{location}: expected an inventory in CSV or Parquet, got {manifest['fileFormat']!r}")
    held = str(manifest.get("destinationBucket") or location.removeprefix("s3://").partition("/")[0]).rpartition(":")[2]
    inside = Source(f"s3://{manifest['sourceBucket']}", source.files, source.hosts, source.alternate)

    def keys() -> Iterator[str]:
        for entry in manifest["files"]:
            for row in read(f"s3://{held}/{entry['key']}", manifest, source):
                if fnmatchcase(row, pattern):
                    yield f"{inside.root}/{row}"

    return items_at(keys(), inside, quiet=True)


def prefix_items(root: str, source: Source, pattern: str) -> Iterator[FoundItem]:
    """The items whose keys match a pattern below an s3:// prefix, in the order of the keys, a page of keys at a time."""
    keys = (f"{folder}/{name}" for folder, names in source.files.walk(root) for name in names)
    return items_at((key for key in keys if fnmatchcase(key, pattern)), source, quiet=True)


def _csv_rows(location: str, manifest: dict[str, Any], source: Source) -> Iterator[str]:
    """The keys of a CSV list, in which they are written as in a URL."""
    names = [name.strip() for name in str(manifest.get("fileSchema") or "Bucket, Key").split(",")]
    if "Key" not in names:
        raise RequestError(f"{location}: expected Key in the fileSchema of the inventory, got {names}")
    with reaching(location), source.files.opened(location) as stream:
        plain: Any = gzip.GzipFile(fileobj=stream) if location.endswith(".gz") else stream
        with io.TextIOWrapper(plain, encoding="utf-8", newline="") as text:
            for row in csv.reader(text):
                if len(row) >= len(names) and _is_current(dict(zip(names, row, strict=False))):
                    yield unquote_plus(row[names.index("Key")])


def _parquet_rows(location: str, _manifest: dict[str, Any], source: Source) -> Iterator[str]:
    with reaching(location), source.files.opened(location) as stream, pyarrow.parquet.ParquetFile(stream) as table:
        names = [name for name in ("key", "is_latest", "is_delete_marker") if name in table.schema_arrow.names]
        for batch in table.iter_batches(ROWS_AT_ONCE, columns=names):
            for row in batch.to_pylist():
                if row.get("is_latest", True) and not row.get("is_delete_marker", False):
                    yield str(row["key"])


def _is_current(row: dict[str, str]) -> bool:
    return row.get("IsLatest", "true").lower() != "false" and row.get("IsDeleteMarker", "false").lower() != "true"
