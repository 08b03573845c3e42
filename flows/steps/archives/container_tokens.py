"""Tokens of storage containers, as the Planetary Computer gives them: asked for once, kept until they end."""

import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

RENEW_BEFORE_S = 300.0
REFUSED_FOR_S = 15.0
ATTEMPTS = 4
LONGEST_PAUSE_S = 20.0
TIMEOUT_S = 30.0
NAME = re.compile(r"[a-z0-9$][a-z0-9-]{0,62}")
BUSY = (429, 500, 502, 503, 504)


class NoToken(OSError):
    """No token was given: the message says by whom, for what, and in whose words."""


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str
    until: float
    cause: str = ""


Key = tuple[str, str, str]
_kept: dict[Key, _Kept] = {}
_locks: dict[Key, threading.Lock] = defaultdict(threading.Lock)


def container_token(endpoint: str, account: str, container: str) -> str:
    """The query string that opens a container, from ENDPOINT/ACCOUNT/CONTAINER or kept in this process; or NoToken."""
    if not (NAME.fullmatch(account) and NAME.fullmatch(container)):
        raise NoToken(f"no token: expected a storage account and a container, got {account!r} and {container!r}")
    key = (endpoint.rstrip("/"), account, container)
    with _locks[key]:
        kept = _kept.get(key)
        if kept is None or time.time() > kept.until:
            kept = _kept[key] = _asked(key)
    if kept.cause:
        raise NoToken(kept.cause)
    return kept.token


def _asked(key: Key) -> _Kept:
    url = "/".join(key)
    try:
        answer = _answer(url)
        if answer.is_error:
            raise ValueError(f"answered {answer.status_code}: {' '.join(answer.text[:200].split())}")
        document = answer.json()
        ends = datetime.fromisoformat(str(document["msft:expiry"]))
        token = str(document["token"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return _Kept("", time.time() + REFUSED_FOR_S, f"no token from {url}: {words}")
    ends = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
    lasts = ends.timestamp() - time.time()
    return _Kept(token, ends.timestamp() - min(RENEW_BEFORE_S, lasts / 2))


def _answer(url: str) -> httpx.Response:
    """The answer, asked again while the server is busy, after the pause it names."""
    for attempt in range(ATTEMPTS):
        answer = httpx.get(url, timeout=TIMEOUT_S)
        if answer.status_code not in BUSY or attempt == ATTEMPTS - 1:
            break
        named = answer.headers.get("Retry-After", "")
        time.sleep(min(float(named) if named.isdigit() else 0.5 * 2**attempt, LONGEST_PAUSE_S))
    return answer
