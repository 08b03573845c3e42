"""Scenes as their providers deliver them: folders and tars of Landsat Level-2, SAFE folders and zips of Sentinel-2 L2A."""

import re
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from flows.steps.archives.archive_files import ArchiveFiles, as_uri
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.found_items import path_in
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.landsat_mtl import MAX_MTL_BYTES, MTL_SUFFIXES, mtl_item
from flows.steps.archives.links_out import leads_out
from flows.steps.archives.packed_files import is_packed, packed_folder, packed_members, read_member
from flows.steps.archives.safe_metadata import MAX_XML_BYTES, PRODUCT_METADATA, ReadFile, safe_item

Delivered = tuple[str, ItemPlace, dict[str, Any] | None, str | None]  # id, place, item, or the cause why there is none

PRODUCT_ID = re.compile(
    r"L[COTEM]0\d_L\w{3}_\d{6}_\d{8}_\d{8}_\d{2}_(?:T1|T2|RT)|S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\w{5}_\d{8}T\d{6}",
    re.ASCII,
)
TEMPERATURE = "landsat-c2l2-st"
LONGEST_TEXT = 2048
SCENE_NAME = re.compile(r"(L[COTEM]0\d|S2[A-D])_")


def has_delivery(names: Sequence[str]) -> bool:
    """Whether the MTL or SAFE metadata of a scene is among the files of a folder."""
    return PRODUCT_METADATA in names or any(name.endswith(MTL_SUFFIXES) for name in names)


def products_of(item: dict[str, Any]) -> set[str]:
    """The ids of the Landsat and Sentinel-2 products whose scene an item is, by its id, its texts and its hrefs."""
    if item.get("collection") == TEMPERATURE or str(item.get("id")).endswith("_ST"):
        return set()
    properties, assets = item.get("properties"), item.get("assets")
    texts = [item.get("id"), *(properties.values() if isinstance(properties, dict) else ())]
    texts += (
        [asset.get("href") for asset in assets.values() if isinstance(asset, dict)] if isinstance(assets, dict) else []
    )
    return {found for text in texts if isinstance(text, str) for found in PRODUCT_ID.findall(text[:LONGEST_TEXT])}


def delivered_in_folder(
    folder: str, names: Sequence[str], root: str, files: ArchiveFiles, described: Container[str] = ()
) -> list[Delivered]:
    """The scenes that the MTL or SAFE metadata among the files of a folder describe; `described`: products whose scene an item there is."""

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
        found = [_delivered(path_in(folder, root), place, partial(safe_item, read))]
    else:
        mtl_files = {stem: name for stem, name in _mtl_files(names).items() if stem not in described}
        found = [
            _delivered(path_in(f"{folder}/{stem}", root), place, partial(_of_mtl, name, read))
            for stem, name in mtl_files.items()
        ]
    return [each for each in found if each[0] not in described]


def delivered_in_file(path: str, root: str, files: ArchiveFiles) -> list[Delivered]:
    """The scenes in a tar or zip file, read in place; none for another file, a cause for a scene's that holds none."""
    if not is_packed(path):
        return []
    name, packed = path_in(path, root), path.rpartition("/")[2]
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
        read = partial(_of_member, path, prefix)
        if PRODUCT_METADATA in names:
            found.append(_delivered(f"{name}/{prefix}".rstrip("/"), place, partial(safe_item, read)))
        for stem, mtl in _mtl_files(names).items():
            found.append(_delivered(f"{name}/{prefix}{stem}", place, partial(_of_mtl, mtl, read)))
    if not found and SCENE_NAME.match(packed):
        cause = f"no scene in {packed}: expected a Landsat MTL file or a SAFE folder with {PRODUCT_METADATA}"
        return [(name, outside, None, cause)]
    return found


def _delivered(name: str, place: ItemPlace, read: Callable[[], dict[str, Any]]) -> Delivered:
    try:
        item = read()
    except (ItemRefused, ValueError) as refusal:
        return name, place, None, str(refusal)
    return str(item["id"]), place, item, None


def _of_mtl(name: str, read: ReadFile) -> dict[str, Any]:
    return mtl_item(name, read(name))


def _of_member(path: str, prefix: str, name: str) -> bytes:
    return read_member(path, prefix + name, MAX_MTL_BYTES if name.endswith(MTL_SUFFIXES) else MAX_XML_BYTES)


def _mtl_files(names: Sequence[str]) -> dict[str, str]:
    """One MTL file for each product, json before xml before txt."""
    found: dict[str, str] = {}
    for suffix in MTL_SUFFIXES:
        for name in names:
            if name.endswith(suffix):
                found.setdefault(name.removesuffix(suffix), name)
    return found
