"""What was written to a local folder is on its disk, not only in memory: a machine that loses power forgets what is not."""

import ctypes
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

THREADS = 8
"""The journal of a file system takes what several threads wait for in one go."""
NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What file systems say that have nothing to flush for a folder (NFS, FUSE)."""

SYNC_FILE_RANGE_WRITE = 2
"""Of sync_file_range(2): begin, do not wait."""
_SYNC_FILE_RANGE = getattr(ctypes.CDLL(None), "sync_file_range", None)  # of Linux


def flush_tree(folder: Path, root: Path) -> None:
    """Flush the files of a folder, its folders, and those between it and `root`; OSError if the disk does not take them.

    A file of several names was flushed under the first: of a hard link only the folder is new.
    """
    files, folders = list[str](), list[str]()
    for place, _, names in os.walk(folder):
        folders.append(place)
        files += [path for name in names if os.lstat(path := f"{place}/{name}").st_nlink == 1]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(flush_file, files):
            pass
        for _ in pool.map(_flush_folder, [*folders, *_above(folder, root)]):
            pass


def begin_flush(number: int) -> None:
    """Have the disk begin to take what an open file holds, without waiting for it: flushing the file is quick then. Where there is no such call, nothing."""
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(number, ctypes.c_int64(0), ctypes.c_int64(0), SYNC_FILE_RANGE_WRITE)


def flush_names(path: Path, root: Path) -> None:
    """Flush the folders between a file and `root`, that file's own first: its name is there after a loss of power."""
    for folder in _above(path, root):
        _flush_folder(folder)


def _above(path: Path, root: Path) -> Iterator[str]:
    """The folders above a path, up to `root`."""
    return map(str, takewhile(lambda folder: folder.is_relative_to(root), path.parents))


def _flush_folder(path: str) -> None:
    try:
        flush_file(path)
    except OSError as error:
        if error.errno not in NO_FOLDERS:
            raise


def flush_file(path: str) -> None:
    """Flush what a file holds, or the names in a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
