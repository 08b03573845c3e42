"""The bytes of a folder, to be compared."""

import hashlib
from pathlib import Path


def digests(root: str | Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by its path there."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }
