"""Symbolic links in a local archive: one that leads out of its root is not followed."""

import os
from functools import lru_cache


def leads_out(path: str, root: str) -> bool:
    """Whether a local path below `root` really lies elsewhere; never for a URL."""
    if "://" in path:
        return False
    folder, _, _ = path.rpartition("/")
    if os.path.islink(path):  # noqa: PTH114, two million calls an hour
        return not is_below(os.path.realpath(path), _real(root))
    return not is_below(_real(folder), _real(root))


@lru_cache(4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def is_below(path: str, root: str) -> bool:
    """Whether a path or URL, in plain form, is a root or lies under it."""
    return path == root or path.startswith(root.rstrip("/") + "/")
