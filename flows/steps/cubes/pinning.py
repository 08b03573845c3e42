"""Pinned snapshots: a cube under a tag, by hard link or server-side copy, that rebuilds, retiring and sweeping leave alone."""

import json
import re
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import xarray

from datacube_config.connection import Index
from flows.steps.cubes.credits import credit_lines, sources_of
from flows.steps.cubes.cube_stac import snapshot_item
from flows.steps.cubes.open_cube import stored_snapshot
from flows.steps.index.advisory_locks import writer_of
from flows.steps.storage import Storage, path_of
from products.errors import RequestError
from products.identity import NAMESPACE
from products.scene_recipe import canonical_digest

TAG: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
CONTENT: Final = ("neocube:product", "neocube:version", "neocube:area", "proj:code", "neocube:cells", "neocube:missing")


def pin_snapshot(index: Index, storage: Storage, url: str, tag: str, now: datetime) -> dict[str, Any]:
    """Pin a snapshot of the store under a tag; RequestError if the tag holds another one. The same one again changes nothing.

    It lies under `pinned/<product>/<tag>/`: cube.zarr, item.json, CREDITS.txt, and cube.complete, which comes last.
    """
    if not TAG.match(tag):
        raise RequestError(f"expected a tag of letters, digits, dots, dashes and underscores, at most 64, got {tag!r}")
    source = _snapshot_in(storage, url)
    with ExitStack() as locks:
        locks.enter_context(writer_of(index, uuid5(NAMESPACE, source)))  # the sweep of a snapshot takes this one
        if not storage.exists(_complete(source)):
            raise RequestError(f"expected a whole snapshot, {url} is not there or not whole: run `neocube build`")
        cube = stored_snapshot(source, storage.options)
        facts = {name: cube.attrs[name] for name in CONTENT}
        content = canonical_digest(facts)
        folder = storage.path("pinned", facts["neocube:product"], tag)
        locks.enter_context(writer_of(index, uuid5(NAMESPACE, folder)))
        pinned = storage.exists(_complete(f"{folder}/cube.zarr"))
        if pinned:
            _check_same(storage, folder, tag, content)
        else:
            _write(index, storage, source, folder, cube, facts | {"neocube:tag": tag, "neocube:content": content}, now)
    item: dict[str, Any] = json.loads(storage.read_bytes(f"{folder}/item.json"))
    names = {"snapshot": f"{folder}/cube.zarr", "item": f"{folder}/item.json", "credits_file": f"{folder}/CREDITS.txt"}
    said = {"tag": tag, "content": content, "credits": item["properties"]["neocube:credits"], "new": not pinned}
    return names | said


def _write(
    index: Index, storage: Storage, source: str, folder: str, cube: xarray.Dataset, facts: dict[str, Any], now: datetime
) -> None:
    product, version, tag = (facts[f"neocube:{name}"] for name in ("product", "version", "tag"))
    credit = credit_lines(sources_of(index, [UUID(cell) for cell in facts["neocube:cells"]]))
    title = f"{cube.attrs['title']} ({product} version {version}) over {facts['neocube:area']}, {facts['proj:code']}"
    citation = f"{title}, snapshot {tag}, pinned {now:%Y-%m-%d}, content {facts['neocube:content']}"
    properties = {name: value for name, value in facts.items() if name != "proj:code"} | {"sci:citation": citation}
    item = snapshot_item(cube, f"{product}_{tag}", properties, credit, now)
    storage.remove(folder)
    with storage.writing(folder, f"the snapshot {tag} of {product}"):
        storage.copy_folder(source, f"{folder}/cube.zarr")
        storage.flush(f"{folder}/cube.zarr")
        storage.write_bytes(f"{folder}/CREDITS.txt", "".join(f"{line}\n" for line in [citation, *credit]).encode())
        storage.write_bytes(f"{folder}/item.json", json.dumps(item, indent=2).encode())
        storage.write_bytes(_complete(f"{folder}/cube.zarr"), facts["neocube:content"].encode())


def _check_same(storage: Storage, folder: str, tag: str, content: str) -> None:
    held = storage.read_bytes(_complete(f"{folder}/cube.zarr")).decode()
    if held != content:
        raise RequestError(
            f"the tag {tag!r} is used for other content ({held[:12]}, asked for {content[:12]}): "
            f"a tag is used once, choose another; what it holds is in {folder}"
        )


def _snapshot_in(storage: Storage, url: str) -> str:
    """The path of a snapshot of this store, as its pointer and its lock name it."""
    path = path_of(url).rstrip("/")
    place = str(Path(path).absolute()) if storage.is_local and "://" not in path else path
    below = place.removeprefix(storage.path("cubes") + "/")
    if below == place or ".." in below.split("/") or not below.endswith(".zarr"):
        raise RequestError(f"expected a snapshot below {storage.path('cubes')}, got {url}")
    return place


def _complete(path: str) -> str:
    """The object that says that a snapshot is whole."""
    return path.removesuffix(".zarr") + ".complete"
