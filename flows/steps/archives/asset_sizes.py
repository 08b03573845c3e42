"""How many bytes files have: by looking at local ones, by listing or asking S3, by HEAD on sites; side by side."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from datacube_config.archives import archive_table
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.packed_files import is_packed_folder, packed_size
from flows.steps.archives.signing import signed_url

MISSING = -1
Size = int | None
"""Bytes, MISSING where there is no such file, None where that cannot be told."""

THREADS, TIMEOUT_S = 16, 10.0
GONE = (404, 410)


def local_sizes(paths: Iterable[str]) -> dict[str, Size]:
    """The size of each local file, also of one in a tar or zip file."""
    return {path: _of_local(path) for path in paths}


def _of_local(path: str) -> int:
    if is_packed_folder(path):
        size = packed_size(path)
        return MISSING if size is None else size
    return Path(path).stat().st_size if Path(path).is_file() else MISSING


def listed_sizes(urls: Iterable[str], files: ArchiveFiles) -> dict[str, Size]:
    """The size of each s3:// file, from the listing of its folder; asked one by one where nobody may list."""
    by_folder: dict[str, list[str]] = {}
    for url in urls:
        by_folder.setdefault(url.rpartition("/")[0], []).append(url)
    return _side_by_side(lambda folder: _of_folder(folder, by_folder[folder], files), by_folder)


def asked_sizes(urls: Iterable[str], files: ArchiveFiles) -> dict[str, Size]:
    """The size of each s3:// or http(s) file, by HEAD; those of sites in the turn of their host."""
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client:

        def of_file(url: str) -> dict[str, Size]:
            return {url: _of_object(url, files) if url.startswith("s3://") else _of_page(url, client, files)}

        return _side_by_side(of_file, urls)


def _side_by_side(look: Callable[[str], dict[str, Size]], places: Iterable[str]) -> dict[str, Size]:
    with ThreadPoolExecutor(THREADS) as pool:
        return {path: size for found in pool.map(look, places) for path, size in found.items()}


def _of_folder(folder: str, urls: Iterable[str], files: ArchiveFiles) -> dict[str, Size]:
    try:
        entries = files.filesystem(folder).ls(folder, detail=True)
    except FileNotFoundError:
        return dict.fromkeys(urls, MISSING)
    except (OSError, BotoCoreError, ClientError):
        return {url: _of_object(url, files) for url in urls}
    sizes = {f"s3://{entry['name']}": int(entry["size"]) for entry in entries}
    return {url: sizes.get(url, MISSING) for url in urls}


def _of_object(url: str, files: ArchiveFiles) -> Size:
    try:
        return int(files.filesystem(url).info(url)["size"])
    except FileNotFoundError:
        return MISSING
    except (OSError, BotoCoreError, ClientError):
        return None


def _of_page(url: str, client: httpx.Client, files: ArchiveFiles) -> Size:
    """The size that a site states; None for an answer that says neither that the file is there nor that it is not."""
    try:
        answer = files.sites.head(client, signed_url(url, archive_table().signing))
    except OSError:
        return None
    if answer is None:
        return None
    if answer.status_code in GONE:
        return MISSING
    length = answer.headers.get("content-length", "")
    is_whole = answer.status_code == 200 and "content-encoding" not in answer.headers
    return int(length) if is_whole and length.isdecimal() else None
