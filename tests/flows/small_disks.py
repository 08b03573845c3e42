"""File systems of the tests' own: small ones, and such as cannot be written on."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A new folder with a tmpfs of these options, such as size=1m, for the block; the test is skipped where nobody may mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
