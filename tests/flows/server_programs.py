"""Programs of this environment that serve what tests ask for."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

RUSTAC = Path(sys.executable).with_name("rustac")
MOTO = Path(sys.executable).with_name("moto_server")


@contextmanager
def serving(url: str, program: Path, *arguments: str) -> Iterator[None]:
    """A server process for the block, once it answers."""
    with subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                try:
                    httpx.get(url)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield
        finally:
            server.terminate()
