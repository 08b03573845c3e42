"""Machines for a test: each with a network namespace of its own, joined to this host by a cable, where root may make those; and with a folder as home.

Where it may not, a machine is a folder only, and its network that of this host.
"""

import asyncio
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Where processes run: the words before their command, their folder, their address."""

    enter: tuple[str, ...]
    folder: Path
    address: str


@dataclass(frozen=True)
class MachineGroup:
    """Machines, and the address at which they reach this host."""

    address: str
    machines: tuple[Machine, ...]

    @property
    def has_networks(self) -> bool:
        """Whether each machine has a network of its own."""
        return all(machine.enter for machine in self.machines)


@contextmanager
def machines(folder: Path, n: int = 2) -> Iterator[MachineGroup]:
    """Some machines for the block, with folders in `folder`."""
    folders = [folder / f"machine-{i}" for i in range(n)]
    for each in folders:
        each.mkdir()
    with ExitStack() as stack:
        token, third = secrets.token_hex(3), secrets.randbelow(256)
        found = []
        for i, each in enumerate(folders):
            here, there = (f"10.213.{third}.{4 * i + part}" for part in (1, 2))
            if not stack.enter_context(_network(f"nc{token}{i}", here, there)):
                yield MachineGroup("127.0.0.1", tuple(Machine((), each, "127.0.0.1") for each in folders))
                return
            found.append(Machine(("ip", "netns", "exec", f"nc{token}{i}"), each, there))
        yield MachineGroup(f"10.213.{third}.1", tuple(found))


@contextmanager
def _network(name: str, here: str, there: str) -> Iterator[bool]:
    """A network namespace with one cable to this host, for the block; False where it cannot be made."""
    cable, inside = f"{name}h", ["-n", name]
    steps: Sequence[list[str]] = [
        ["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name],
        ["addr", "add", f"{here}/30", "dev", cable],
        ["link", "set", cable, "up"],
        [*inside, "addr", "add", f"{there}/30", "dev", "eth0"],
        [*inside, "link", "set", "eth0", "up"],
        [*inside, "link", "set", "lo", "up"],
        [*inside, "route", "add", "default", "via", here],
    ]
    if shutil.which("ip") is None or not _ip("netns", "add", name):
        yield False
        return
    try:
        yield all(_ip(*step) for step in steps)
    finally:
        _ip("link", "del", cable)
        _ip("netns", "del", name)


def _ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@contextmanager
def relay(host: str, to: tuple[str, int]) -> Iterator[int]:
    """The port of an address of this host from which TCP goes on to another one, for the block."""
    loop = asyncio.new_event_loop()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*to)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    server = loop.run_until_complete(asyncio.start_server(pass_on, host, 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:  # a killed worker
        pass
    finally:
        writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
