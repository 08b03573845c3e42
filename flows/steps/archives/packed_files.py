"""Tar and zip files as folders: their members by name, read in place through GDAL's virtual file systems.

Such paths are made here and nowhere else: an href that holds one is refused (asset_hrefs.py). Nothing is unpacked.
"""

import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from flows.steps.archives.item_refused import ItemRefused

SYSTEMS = {".tar": "/vsitar/", ".zip": "/vsizip/"}
MAX_MEMBERS = 20_000


def is_packed(path: str) -> bool:
    """Whether a path is of a local tar or zip file."""
    return "://" not in path and Path(path).suffix.lower() in SYSTEMS and Path(path).is_file()


def packed_folder(path: str) -> str:
    """The tar or zip file at an absolute path, as a folder of GDAL's; ItemRefused for a path that GDAL would misread."""
    if "{" in path or "}" in path:
        raise ItemRefused(f"{path}: expected a path without braces")
    return f"{SYSTEMS[Path(path).suffix.lower()]}{{{path}}}"


def is_packed_folder(folder: str) -> bool:
    """Whether a path is one that `packed_folder` made, or lies below one."""
    return folder.startswith(tuple(f"{system}{{" for system in SYSTEMS.values()))


def packed_members(path: str) -> Mapping[str, int]:
    """The relative names of the plain files in a tar or zip file, with their bytes; ItemRefused if it cannot be read."""
    stat = Path(path).stat()
    return _members(path, stat.st_mtime_ns, stat.st_size)


def packed_names(folder: str) -> Iterator[str]:
    """The names of the files in one folder of a tar or zip file."""
    path, inner = _parts(folder)
    prefix = f"{inner}/".lstrip("/")
    if Path(path).is_file():
        for member in packed_members(path):
            if member.startswith(prefix) and "/" not in member[len(prefix) :]:
                yield member[len(prefix) :]


def packed_size(path: str) -> int | None:
    """The bytes of a file in a tar or zip file, by a path below `packed_folder`; None where there is none."""
    outer, member = _parts(path)
    try:
        return packed_members(outer).get(member) if Path(outer).is_file() else None
    except ItemRefused:
        return None


def read_member(path: str, member: str, max_bytes: int) -> bytes:
    """The bytes of a member; ItemRefused for a longer one, or an unreadable file."""
    try:
        if Path(path).suffix.lower() == ".tar":
            with tarfile.open(path, "r:") as tar:
                names = {_plain(info.name): info for info in tar if info.isreg()}
                stream = tar.extractfile(names[member])
                raw = stream.read(max_bytes + 1) if stream else b""
        else:
            with zipfile.ZipFile(path) as zipped, zipped.open(member) as file:
                raw = file.read(max_bytes + 1)
    except (tarfile.TarError, zipfile.BadZipFile, OSError, KeyError, EOFError, RuntimeError) as error:
        raise ItemRefused(f"unreadable {member} in {path}: {error}") from error
    if len(raw) > max_bytes:
        raise ItemRefused(f"{member} in {path} has more than {max_bytes} bytes")
    return raw


def read_packed(path: str, max_bytes: int) -> bytes:
    """The bytes of a file in a tar or zip file, by a path below `packed_folder`; ItemRefused likewise."""
    outer, member = _parts(path)
    return read_member(outer, member, max_bytes)


@lru_cache(maxsize=64)
def _members(path: str, _modified_ns: int, _size: int) -> Mapping[str, int]:
    try:
        if Path(path).suffix.lower() == ".tar":
            with tarfile.open(path, "r:") as tar:
                names = [(info.name, info.size) for info in tar if info.isreg()]
        else:
            with zipfile.ZipFile(path) as zipped:
                names = [(info.filename, info.file_size) for info in zipped.infolist() if not info.is_dir()]
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise ItemRefused(f"unreadable {Path(path).suffix} file: {error}: deliver it again") from error
    if len(names) > MAX_MEMBERS:
        raise ItemRefused(f"expected at most {MAX_MEMBERS} files in {path}, it holds {len(names)}")
    plain = ((_plain(name), size) for name, size in names)
    return {name: size for name, size in plain if name is not None}


def _parts(path: str) -> tuple[str, str]:
    """The tar or zip file and the name in it, of a path below `packed_folder`."""
    outer, _, inner = path.partition("{")[2].partition("}")
    return outer, inner.strip("/")


def _plain(name: str) -> str | None:
    """A member's name without `./`; None for one that leads elsewhere."""
    name = name.removeprefix("./")
    parts = name.split("/")
    is_inside = not name.startswith("/") and not {"", ".", ".."} & set(parts) and "\\" not in name
    return name if is_inside and name.isprintable() and not set("{}") & set(name) else None
