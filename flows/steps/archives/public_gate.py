"""The way to sites for GDAL, which follows any redirect: a SOCKS proxy on loopback that connects to the host asked for and to public ones only.

RFC 1928 and, for the name of the host asked for, RFC 1929.
"""

import asyncio
import os
import socket
import threading
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies

from flows.steps.archives.asset_hrefs import is_private

VERSION, BY_PASSWORD, CONNECT, NAMED = 5, 2, 1, 3
OK, REFUSED, UNREACHABLE = 0, 2, 4
ADDRESS_BYTES = {1: 4, 4: 16}
PIECE_BYTES = 1 << 18


class NotPublic(Exception):
    """A host that may not be reached from there."""


def proxy_options(href: str) -> dict[str, str]:
    """What has GDAL read an http(s) href through the gate; nothing for other hrefs, and where the environment names a proxy of its own."""
    if not href.startswith(("https://", "http://")) or "GDAL_HTTP_PROXY" in os.environ or _has_proxy():
        return {}
    host = (urlsplit(href).hostname or "").lower()
    return {"GDAL_HTTP_PROXY": f"socks5h://127.0.0.1:{_gate_of(os.getpid())}", "GDAL_HTTP_PROXYUSERPWD": f"{host}:gate"}


def _has_proxy() -> bool:
    return any(kind in getproxies() for kind in ("http", "https", "all"))


@lru_cache(maxsize=1)
def _gate_of(process: int) -> int:
    """The port of the gate of this process, which ends with it."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=_serve, args=(listening,), name=f"gate of {process}", daemon=True).start()
    return int(listening.getsockname()[1])


def _serve(listening: socket.socket) -> None:
    async def forever() -> None:
        server = await asyncio.start_server(_answer, sock=listening)
        await server.serve_forever()

    asyncio.run(forever())


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: who asks, where to, and then what both sides say until one ends."""
    with suppress(OSError, asyncio.IncompleteReadError):
        asked_for = await _greeted(reader, writer)
        host, port = await _wanted(reader)
        try:
            there = await _connected(host, port, asked_for)
        except (NotPublic, OSError, UnicodeError) as error:
            await _reply(writer, REFUSED if isinstance(error, NotPublic) else UNREACHABLE)
        else:
            await _reply(writer, OK)
            await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
    writer.close()


async def _greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """The name that the client gives: the host of the file that it reads."""
    _, n_methods = await reader.readexactly(2)
    await reader.readexactly(n_methods)
    writer.write(bytes((VERSION, BY_PASSWORD)))
    _, n_name = await reader.readexactly(2)
    name = (await reader.readexactly(n_name)).decode("ascii", "replace")
    await reader.readexactly((await reader.readexactly(1))[0])
    writer.write(bytes((1, OK)))
    return name.lower()


async def _wanted(reader: asyncio.StreamReader) -> tuple[str, int]:
    _, command, _, kind = await reader.readexactly(4)
    if command != CONNECT or kind not in (*ADDRESS_BYTES, NAMED):
        raise ConnectionError(f"expected a request to connect by name or address, got {command}, {kind}")
    if kind == NAMED:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode("ascii", "replace")
    else:
        family = socket.AF_INET if kind == 1 else socket.AF_INET6
        host = socket.inet_ntop(family, await reader.readexactly(ADDRESS_BYTES[kind]))
    return host.lower(), int.from_bytes(await reader.readexactly(2), "big")


async def _connected(host: str, port: int, asked_for: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to one of the addresses that were looked at; NotPublic if one of a host that was not asked for is private."""
    places = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in places))
    if host != asked_for and any(is_private(address.partition("%")[0]) for address in addresses):
        raise NotPublic(host)
    failure: OSError | None = None
    for address in addresses:
        try:
            return await asyncio.open_connection(address, port)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


async def _reply(writer: asyncio.StreamWriter, code: int) -> None:
    writer.write(bytes((VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0)))
    await writer.drain()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What one side says to the other, to its end."""
    with suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()
