"""One request to a provider: in its turn, asked again while the provider is busy, its own words in the error."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import httpx

from flows.steps.json_documents import ITEM_BYTES
from flows.steps.rate_limit import ProviderClosed, TokenBucket, retry_after_s, take_turn
from products.errors import RequestError

BUSY = (408, 425, 429, 500, 502, 503, 504)
WORDS = 300


class ApiUnavailable(RequestError):
    """The provider did not answer as it should; the message says which address and what came."""


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
    """What came: the status, the headers by their lower-case names, the whole body."""

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
    started = time.monotonic()
    for attempt in count(1):
        left_s = patience.total_s - (time.monotonic() - started)
        try:
            take_turn(bucket, left_s)
        except ProviderClosed as closed:
            raise ApiUnavailable(f"{request.url}: {closed}: try again later") from closed
        asked_s, closes = None, False
        try:
            answer = _exchange(client, request, patience)
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
            raise ApiUnavailable(f"{request.url}: {fault} ({attempt} tries in {waited_s:.0f} s{asks})")
        if not closes:
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _exchange(client: httpx.Client, request: httpx.Request, patience: Patience, redirects: int = 5) -> Answer:
    """One answer with its whole body; httpx.RequestError if it breaks off, drips or does not end."""
    started = time.monotonic()
    answer = client.send(request, stream=True)
    try:
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > patience.body_bytes:
                raise ApiUnavailable(f"{request.url}: answered more than {patience.body_bytes} bytes: ask for less")
            if time.monotonic() - started > patience.body_s:
                raise httpx.ReadTimeout(f"no end of the answer within {patience.body_s:.0f} s")
    finally:
        answer.close()
    following = answer.next_request
    if following is not None and redirects and following.url.host == request.url.host:
        return _exchange(client, following, patience, redirects - 1)
    if following is not None:
        raise ApiUnavailable(f"{request.url}: redirects to {following.url.host}: expected an answer of its own")
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, bytes(body))


def _pause_s(attempt: int, patience: Patience) -> float:
    """A pause that doubles, with jitter, so that those who failed together do not come back together."""
    longest = min(patience.longest_pause_s, patience.first_pause_s * 2 ** min(attempt - 1, 30))
    return longest * random.uniform(0.5, 1.0)
