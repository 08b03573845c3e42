"""Scenes as their providers deliver them: folders and tars of Landsat Level-2, SAFE folders and zips of Sentinel-2 L2A."""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from flows.steps.archives.archive_files import ArchiveFiles, as_uri
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.landsat_mtl import MAX_MTL_BYTES, MTL_SUFFIXES, mtl_item
from flows.steps.archives.links_out import leads_out
from flows.steps.archives.packed_files import is_packed, packed_folder, packed_members, read_member
from flows.steps.archives.safe_metadata import MAX_XML_BYTES, PRODUCT_METADATA, safe_item

Delivered = tuple[str, ItemPlace, dict[str, Any] | None, str | None]  # id, place, item, or the cause why there is none

SCENE_NAME = re.compile(r"(L[COTEM]0\d|S2[A-D])_")


def delivered_in_folder(folder: str, names: Sequence[str], root: str, files: ArchiveFiles) -> list[Delivered]:
    """The scene that the MTL or SAFE metadata among the files of a folder describes; none without such a file."""

    def read(path: str) -> bytes:
        location = f"{folder}/{path}"
        try:
            if files.filesystem(location).size(location) > MAX_XML_BYTES:
                raise ItemRefused(f"{location} has more than {MAX_XML_BYTES} bytes")
            return bytes(files.filesystem(location).cat_file(location))
        except OSError as error:
            raise ItemRefused(f"unreadable {path}: {error}") from error

    place = ItemPlace(as_uri(folder), folder, root, files.files_in)
    if PRODUCT_METADATA in names:
        return [_delivered(folder.rpartition("/")[2], place, lambda: safe_item(read))]
    return [_delivered(stem, place, lambda n=name: mtl_item(n, read(n))) for stem, name in _mtl_files(names).items()]  # type: ignore[misc]


def delivered_in_file(path: str, root: str, files: ArchiveFiles) -> list[Delivered]:
    """The scenes in a tar or zip file, read in place; none for another file, a cause for a scene's that holds none."""
    if not is_packed(path):
        return []
    name = path.rpartition("/")[2]
    outside = ItemPlace(as_uri(path), path.rpartition("/")[0], root, files.files_in)
    try:
        if leads_out(path, root):
            raise ItemRefused(f"{path} is a symbolic link out of the archive {root}")
        virtual, members = packed_folder(path), packed_members(path)
    except ItemRefused as refusal:
        return [(name, outside, None, str(refusal))]
    found: list[Delivered] = []
    for inner in sorted({str(PurePosixPath(member).parent) for member in members}):
        prefix = "" if inner == "." else f"{inner}/"
        folder = virtual if inner == "." else f"{virtual}/{inner}"
        names = [member[len(prefix) :] for member in members if str(PurePosixPath(member).parent) == inner]
        place = ItemPlace(as_uri(path), folder, virtual, files.files_in)
        if PRODUCT_METADATA in names:
            found.append(_delivered(name, place, lambda p=prefix: safe_item(lambda n: read_member(path, p + n, MAX_XML_BYTES))))  # type: ignore[misc]  # fmt: skip
        for stem, mtl in _mtl_files(names).items():
            found.append(_delivered(stem, place, lambda p=prefix, n=mtl: mtl_item(n, read_member(path, p + n, MAX_MTL_BYTES))))  # type: ignore[misc]  # fmt: skip
    if not found and SCENE_NAME.match(name):
        cause = f"no scene in {name}: expected a Landsat MTL file or a SAFE folder with {PRODUCT_METADATA}"
        return [(name, outside, None, cause)]
    return found


def _delivered(name: str, place: ItemPlace, read: Callable[[], dict[str, Any]]) -> Delivered:
    try:
        item = read()
    except (ItemRefused, ValueError) as refusal:
        return name, place, None, str(refusal)
    return str(item["id"]), place, item, None


def _mtl_files(names: Sequence[str]) -> dict[str, str]:
    """One MTL file for each product, json before xml before txt."""
    found: dict[str, str] = {}
    for suffix in MTL_SUFFIXES:
        for name in names:
            if name.endswith(suffix):
                found.setdefault(name.removesuffix(suffix), name)
    return found
