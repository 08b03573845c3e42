"""Where an asset's pixels are: hrefs of a catalogue are untrusted and resolved here, once."""

import ipaddress
import os.path
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from flows.steps.archives.href_secrets import without_secrets
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.links_out import leads_out

REMOTE = ("http://", "https://", "s3://")
# A scheme, a host without port or user, and a folder without query, fragment or escapes: looked at once for all its files.
PLAIN_FOLDER = re.compile(r"((?:https?|s3)://[a-z0-9.-]+)(?:/[\w./~+=,:-]*)?", re.ASCII)
PLAIN_NAME = re.compile(r"[\w.~+=,:-]*", re.ASCII)
LONGEST_FOLDER = 500
DATED = re.compile(r"\d{8}", re.ASCII)
SITES = ("http://", "https://")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that a gateway makes IPv4 ones of (RFC 6052)."""


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """Where an item was found: `location` is its URI, relative hrefs start in `folder` and stay in `root`.

    `files_in(folder)` names the files of a folder; `hosts` are those that hrefs may name, any public one if empty.
    """

    location: str
    folder: str
    root: str
    files_in: Callable[[str], frozenset[str]]
    hosts: tuple[str, ...] = ()

    @property
    def is_member(self) -> bool:
        """Whether the item is one of several in a file of its folder, as its location after the folder says."""
        in_folder = self.location.removeprefix("file://").split("/", self.folder.count("/") + 1)[-1]
        return "#" in in_folder or "%23" in in_folder


def resolve_href(href: object, place: ItemPlace) -> str:
    """The path or URL an href stands for, a file of its name beside the item first, without secrets; or ItemRefused.

    Of an item in a file with others, only a name with a date in it is taken for that of the same file: every scene may have a B04.tif.
    """
    if not isinstance(href, str) or not href.strip():
        raise ItemRefused("the asset has no href")
    folder, slash, name = href.rpartition("/")
    is_plain = slash and PLAIN_NAME.fullmatch(name) and name[:3].lower() != "vsi" and len(folder) <= LONGEST_FOLDER
    if is_plain and _is_plain(folder, place.root, place.hosts):
        return _followed(f"{place.folder}/{name}", place) if _is_beside(name, place) else href
    if not href.isprintable():
        raise ItemRefused(f"expected a printable href, got {href!r}")
    if "/vsi" in unquote(href).lower():
        raise ItemRefused(f"{href!r} is a GDAL virtual path: expected a file of the archive, http, https or s3")
    path = _local_path(href)
    beside = _beside(path if path is not None else _split(href).path, place)
    if path is None:
        if beside is not None:
            return beside
        _require_host(href, place)
        return without_secrets(href)
    return _inside(path, place, beside)


def exists(target: str, place: ItemPlace) -> bool:
    """Whether a resolved href is there; one outside the archive is found or missed when it is read."""
    if target.startswith(SITES) or not _within(target, place.root):
        return True
    folder, _, name = target.rpartition("/")
    return name in place.files_in(folder)


@lru_cache(maxsize=4096)
def is_private(host: str) -> bool:
    """Whether a host name or address, however it is written, is one of this machine or of a private network."""
    name = host.lower().rstrip(".")
    address = _address(name)
    if address is not None:
        return not address.is_global
    return name == "localhost" or name.endswith((".localhost", ".local", ".internal")) or "." not in name


def leads_inside(host: str) -> bool:
    """Whether a host is private by its name, or stands for an address of this machine or of a private network at this moment."""
    if is_private(host):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # nobody can be asked there
    return any(is_private(str(place[0]).partition("%")[0]) for *_, place in found)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is for a resolver: 127.1 and 0x7f.0.0.1 too; the IPv4 one in an IPv6 that carries one."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            return None
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _local_path(href: str) -> str | None:
    """The path that an href without a remote scheme names, or None for a remote one."""
    if href.lower().startswith(REMOTE):
        return None
    if href.startswith("file:"):
        return unquote(_split(href).path)
    if ":" in href.split("/", 1)[0]:
        raise ItemRefused(f"the scheme of {href!r} is not read: expected http, https, s3 or a path in the archive")
    return href


def _beside(path: str, place: ItemPlace) -> str | None:
    name = unquote(path).rsplit("/", 1)[-1]
    return _followed(f"{place.folder}/{name}", place) if _is_beside(name, place) else None


def _is_beside(name: str, place: ItemPlace) -> bool:
    if place.folder.startswith(SITES) or name not in place.files_in(place.folder):
        return False
    return DATED.search(name) is not None or not place.is_member


def _inside(path: str, place: ItemPlace, beside: str | None) -> str:
    """A relative or local path as an absolute one in the archive, or the file of its name beside the item."""
    if place.folder.startswith(SITES):
        if path.startswith("/"):
            raise ItemRefused(f"{path!r} is a local path in a remote catalogue: expected http, https or s3")
        target = urljoin(place.folder + "/", path)
        _require_host(target, place)
        return without_secrets(target)
    target = _join(place.folder, path)
    if _within(target, place.root) and (beside is None or exists(target, place)):
        return _followed(target, place)
    if beside is not None:
        return beside
    raise ItemRefused(f"{path!r} lies outside the archive {place.root}")


def _followed(target: str, place: ItemPlace) -> str:
    """A path in the archive, unless a symbolic link leads from it out of the archive."""
    if leads_out(target, place.root):
        raise ItemRefused(
            f"{target} is a symbolic link out of the archive {place.root}: expected files inside it, or ingest the "
            "folder that it leads to"
        )
    return target


def _join(folder: str, path: str) -> str:
    """`path` from `folder`, without `.` and `..`; `folder` is a local path or an s3 URL."""
    if folder.startswith("s3://"):
        bucket, _, key = folder.removeprefix("s3://").partition("/")
        return f"s3://{bucket}/{os.path.normpath(f'/{key}/{path}').lstrip('/')}"
    return os.path.normpath(os.path.join(folder, path))  # noqa: PTH118, a path of the catalogue, not yet one of ours


def _within(target: str, root: str) -> bool:
    return target.startswith(root.rstrip("/") + "/")


def _require_host(href: str, place: ItemPlace) -> None:
    """ItemRefused for a host the archive does not use, or one of this machine or network that the archive is not on."""
    parts = _split(href)
    host = (parts.hostname or "").lower()
    if parts.username or parts.password or not host or "\\" in href:
        raise ItemRefused(f"expected a URL with a host and without credentials, got one of host {host!r}")
    own = (_split(place.root).hostname or "").lower()
    if place.hosts and host != own:
        if not any(fnmatch(host, pattern) for pattern in place.hosts):
            raise ItemRefused(f"host {host!r} is not one of this archive's: {', '.join(place.hosts)}")
        if parts.scheme.lower() == "http":
            raise ItemRefused(f"the href on host {host!r} is not encrypted: expected https or s3")
    if parts.scheme != "s3" and host != own and is_private(host) and host not in place.hosts:
        raise ItemRefused(f"host {host!r} is not a public one")


@lru_cache(maxsize=1024)
def _is_plain(folder: str, root: str, hosts: tuple[str, ...]) -> bool:
    """Whether an archive may name the files of a folder of a site or bucket, by its scheme and host; False is no answer."""
    plain = PLAIN_FOLDER.fullmatch(folder)
    if plain is None or "/vsi" in folder.lower():
        return False
    try:
        _require_host(plain[1], ItemPlace("", "", root, lambda folder: frozenset(), hosts))
    except ItemRefused:
        return False
    return True


def _split(href: str) -> SplitResult:
    try:
        return urlsplit(href)
    except ValueError as error:
        raise ItemRefused(f"{href!r} is no URL: {error}") from error
