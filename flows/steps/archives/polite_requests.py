"""One request to a provider: in its turn, asked again while the provider is busy, its own words in the error."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import IO

import httpx

from flows.steps.archives.asset_hrefs import leads_inside
from flows.steps.archives.json_documents import ITEM_BYTES
from flows.steps.archives.rate_limit import ProviderClosed, TokenBucket, retry_after_s, take_turn
from products.errors import RequestError

BUSY = (408, 425, 429, 500, 502, 503, 504)
WORDS = 300


class ApiUnavailable(RequestError):
    """The provider did not answer as it should; the message says which address and what came."""


class NoAnswer(ApiUnavailable):
    """No sound answer came within the patience that there is."""


class ToldToWait(NoAnswer):
    """The provider asks for a longer pause than there is patience for, before this request and all others."""


class RequestRejected(ApiUnavailable):
    """The provider understood the request and refuses it (a 4xx answer): asking again would not help."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is asked again: in all, without being told when, and how long its answer may take and be."""

    total_s: float = 900.0
    tries: int = 7
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
    timeout_s: float = 60.0
    body_s: float = 300.0
    body_bytes: int = ITEM_BYTES


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: the status, the headers by their lower-case names, the body (its beginning, where it was written to a file)."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def words(self) -> str:
        """`answered STATUS: ` and the beginning of what the provider says."""
        said = " ".join(self.body[: 4 * WORDS].decode("utf-8", "replace").split())[:WORDS]
        return f"answered {self.status}: {said}" if said else f"answered {self.status}"


def open_client(patience: Patience) -> httpx.Client:
    """A client that leaves repeating to `ask`, and never follows to another host."""
    return httpx.Client(timeout=patience.timeout_s, follow_redirects=False)


def ask(client: httpx.Client, request: httpx.Request, bucket: TokenBucket, patience: Patience) -> Answer:
    """The answer to a request, whatever its status but a busy one; ApiUnavailable when patience ends."""
    return _patiently(lambda: _exchange(client, request, patience), str(request.url), bucket, patience)


def download(
    client: httpx.Client, request: httpx.Request, bucket: TokenBucket, patience: Patience, target: IO[bytes]
) -> Answer:
    """The answer, its body in a file that can be rewound, also from a public host that the request is redirected to."""
    return _patiently(lambda: _exchange(client, request, patience, target), str(request.url), bucket, patience)


def _patiently(exchange: Callable[[], Answer], url: str, bucket: TokenBucket, patience: Patience) -> Answer:
    """What comes of an exchange that is repeated while the provider is busy or the connection breaks."""
    started = time.monotonic()
    for attempt in count(1):
        left_s = patience.total_s - (time.monotonic() - started)
        try:
            take_turn(bucket, left_s)
        except ProviderClosed as closed:
            raise ToldToWait(f"{url}: {closed}: try again later") from closed
        asked_s, closes = None, False
        try:
            answer = exchange()
        except httpx.RequestError as error:
            fault = f"{type(error).__name__}: {error}"
        else:
            if answer.status not in BUSY:
                return answer
            fault, asked_s = answer.words, retry_after_s(answer.headers)
            closes = answer.status == 429 or asked_s is not None
        pause_s = max(asked_s or 0.0, _pause_s(attempt, patience))
        waited_s = time.monotonic() - started
        if closes:
            bucket.close(pause_s, fault)
        if (not closes and attempt >= patience.tries) or waited_s + pause_s > patience.total_s:
            asks = f", asks to wait {asked_s:.0f} s" if asked_s is not None else ""
            kind = ToldToWait if closes else NoAnswer
            raise kind(f"{url}: {fault} ({attempt} tries in {waited_s:.0f} s{asks})")
        if not closes:
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _exchange(
    client: httpx.Client,
    request: httpx.Request,
    patience: Patience,
    target: IO[bytes] | None = None,
    redirects: int = 5,
) -> Answer:
    """One answer with its whole body; httpx.RequestError if it breaks off, drips or does not end."""
    started = time.monotonic()
    answer = client.send(request, stream=True)
    try:
        body = _body(answer, patience, started, target if answer.next_request is None else None)
    finally:
        answer.close()
    following = answer.next_request
    if following is not None and redirects and _may_follow(request, following, is_file=target is not None):
        return _exchange(client, following, patience, target, redirects - 1)
    if following is not None:
        raise ApiUnavailable(f"{request.url}: redirects to {following.url.host!r}, {_expected(target is not None)}")
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, bytes(body))


def _body(answer: httpx.Response, patience: Patience, started: float, target: IO[bytes] | None) -> bytearray:
    """The body; only its beginning where there is a file to write it to."""
    body, n_bytes = bytearray(), 0
    if target is not None:
        target.seek(0)
        target.truncate()
    for piece in answer.iter_bytes():
        n_bytes += len(piece)
        if n_bytes > patience.body_bytes:
            raise ApiUnavailable(f"{answer.url}: answered more than {patience.body_bytes} bytes: ask for less")
        if time.monotonic() - started > patience.body_s:
            raise httpx.ReadTimeout(f"no end of the answer within {patience.body_s:.0f} s")
        body += piece if target is None else piece[: max(0, 4 * WORDS - len(body))]
        if target is not None:
            target.write(piece)
    return body


def _may_follow(request: httpx.Request, following: httpx.Request, *, is_file: bool) -> bool:
    """Whether a redirect stays at its host, or leads a file to another public one."""
    host = following.url.host.lower()
    return host == request.url.host.lower() or (is_file and not leads_inside(host))


def _expected(is_file: bool) -> str:
    return "which is not a public host" if is_file else "expected an answer of its own"


def _pause_s(attempt: int, patience: Patience) -> float:
    """A pause that doubles, with jitter, so that those who failed together do not come back together."""
    longest = min(patience.longest_pause_s, patience.first_pause_s * 2 ** min(attempt - 1, 30))
    return longest * random.uniform(0.5, 1.0)
