"""Whether a scene may enter the index: its files are there and hold something, its grids are those of its sensor."""

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from datacube_config.archives import archive_table
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_sizes import MISSING, Size, asked_sizes, listed_sizes, local_sizes
from flows.steps.archives.signing import rule_of
from flows.steps.scenes.grid_check import grid_fault
from flows.steps.scenes.normalise import SceneDocument

Policy = Literal["listed", "head", "sample", "off"]
SITES = ("http://", "https://")
SAMPLED_FILES, FEW_FILES = 4, 400
LEAST_BYTES = 256
"""The header of a TIFF with one tile, or of a JPEG 2000 file, is longer."""


def admission_policy(archive: str) -> Policy:
    """How remote files of an archive are looked for: as archives.yaml says; else a bucket is listed, of an API there and of a site a sample is asked for."""
    known = archive_table().archives.get(archive)
    if known is not None and known.admission is not None:
        return known.admission
    if (archive if known is None else known.url).startswith("s3://"):
        return "listed"
    return "sample" if (archive.startswith(SITES) if known is None else known.kind == "api") else "off"


def sampled_host(archive: str) -> str | None:
    """The only host that is asked for a sample of files: the archive's own, where no entry of archives.yaml says which others are its."""
    return urlsplit(archive).hostname if archive not in archive_table().archives and archive.startswith(SITES) else None


def admit(
    scenes: Sequence[SceneDocument], files: ArchiveFiles, policy: Policy = "off", host: str | None = None
) -> dict[UUID, str]:
    """Why scenes are refused, by id.

    Local files are always looked at; those in S3 by `listed` or `head`; those of sites by `head`, or by `sample`: of `host`, if it
    is named, and all of a small batch, a few of a large one.
    """
    paths = {scene.id: _paths(scene, policy) for scene in scenes}
    least = {
        path: max(LEAST_BYTES, scene.sizes.get(band, 0)) for scene in scenes for band, path in paths[scene.id].items()
    }
    sizes = _sizes(set(least), files, policy)
    if policy == "sample":
        sizes |= _sampled(paths, least, files, host)
    shared = _shared_files(scenes)
    faults = {
        scene.id: shared.get(scene.id) or _file_fault(paths[scene.id], sizes, least) or _grid_fault(scene)
        for scene in scenes
    }
    return {number: fault for number, fault in faults.items() if fault}


def _shared_files(scenes: Sequence[SceneDocument]) -> dict[UUID, str]:
    """Why scenes are refused whose local files are those of another acquisition too: nobody knows whose they are."""
    owners: dict[str, dict[str, SceneDocument]] = {}
    for scene in scenes:
        for measurement in scene.document["measurements"].values():
            if "://" not in (path := str(measurement["path"])):
                owners.setdefault(path, {})[scene.acquisition] = scene
    found: dict[UUID, str] = {}
    for path, some in owners.items():
        if len(some) > 1:
            for scene in some.values():
                other = next(each for each in some.values() if each is not scene).document["label"]
                cause = f"{path} is a file of {other} too: give each scene a folder of its own, or remove the item that it is not of"
                found.setdefault(scene.id, cause)
    return found


def _grid_fault(scene: SceneDocument) -> str:
    return grid_fault(scene.document) if scene.grid_fault is None else scene.grid_fault


def _paths(scene: SceneDocument, policy: Policy) -> dict[str, str]:
    """The files of the bands that the policy looks at."""
    paths = ((band, str(measurement["path"])) for band, measurement in scene.document["measurements"].items())
    far: tuple[str, ...] = {"off": (), "listed": ("s3://",), "head": ("",), "sample": ("",)}[policy]
    return {band: path for band, path in paths if "://" not in path or path.startswith(far)}


def _sizes(paths: set[str], files: ArchiveFiles, policy: Policy) -> dict[str, Size]:
    """The size of each file that the policy looks at."""
    sizes = local_sizes(path for path in paths if "://" not in path)
    objects = [path for path in paths if path.startswith("s3://")]
    if policy == "listed" and objects:
        sizes |= listed_sizes(objects, files)
    asked = [*objects, *(path for path in paths if path.startswith(SITES))]
    if policy == "head" and asked:
        sizes |= asked_sizes(asked, files)
    return sizes


def _sampled(
    paths: Mapping[UUID, Mapping[str, str]], least: Mapping[str, int], files: ArchiveFiles, host: str | None
) -> dict[str, Size]:
    """The sizes of all files of a small batch; of a large one those of one file of each of a few scenes, chosen by their ids, and
    of all files where one of these is missing or not whole."""
    rules = archive_table().signing

    def is_open(path: str) -> bool:
        return path.startswith(SITES) and rule_of(path, rules) is None and host in (None, urlsplit(path).hostname)

    open_files = {
        number: [path for path in sorted(bands.values()) if is_open(path)] for number, bands in sorted(paths.items())
    }
    everything = {path for found in open_files.values() for path in found}
    if len(everything) <= FEW_FILES:
        return asked_sizes(everything, files)
    chosen = [found[number.int % len(found)] for number, found in open_files.items() if found][:SAMPLED_FILES]
    sizes = asked_sizes(chosen, files)
    if all(size is None or size >= least[path] for path, size in sizes.items()):
        return sizes
    return sizes | asked_sizes(everything, files)


def _file_fault(paths: Mapping[str, str], sizes: Mapping[str, Size], least: Mapping[str, int]) -> str:
    """What is wrong with the files of a scene, empty if nothing is."""
    missing = [band for band, path in paths.items() if sizes.get(path) == MISSING]
    if missing:
        return f"missing asset {', '.join(missing)}: {paths[missing[0]]} does not exist"
    known = {band: size for band, path in paths.items() if (size := sizes.get(path)) is not None}
    small = [f"{band} has {size} bytes" for band, size in known.items() if size < LEAST_BYTES]
    if small:
        return f"incomplete asset: {', '.join(small)}, fewer than the header of an image"
    short = [f"{band} has {size} of {least[paths[band]]}" for band, size in known.items() if size < least[paths[band]]]
    return f"incomplete asset: {', '.join(short)} bytes, which its item states as file:size" if short else ""
