"""All pages of one search of a STAC API, one after another, and the end of those that never come to one."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from flows.steps.archives.polite_requests import ApiUnavailable, Patience, open_client
from flows.steps.archives.rate_limit import bucket_of
from flows.steps.archives.stac_api import Page, PageRequest, Provider, Search, first_request, is_by_position, read_page

SAME_REQUESTS, SAME_PAGES = 2, 4
EMPTY_PAGES = 2


class Pages:
    """The pages of one listing, of which `n_before` items came already: some repeated or empty pages are borne.

    Many empty ones are the end where everything that the API counts has come, or where pages without count are asked for by number.
    """

    def __init__(self, provider: Provider, n_before: int = 0) -> None:
        self._provider = provider
        self._requests, self._contents = LoopWatch(SAME_REQUESTS), LoopWatch(SAME_PAGES)
        self._empty, self._n_items = 0, n_before
        self._matched: int | None = None

    def read(self, request: PageRequest) -> Page:
        """One page; ApiUnavailable if none comes, if they lead in a circle, or stay empty before everything has come."""
        page = read_page(self._provider, request)
        asked = json.dumps(request.document(), sort_keys=True)
        ids = [item.get("id") if isinstance(item, dict) else None for item in page.features]
        if page.following and self._requests.goes_round(asked):
            raise ApiUnavailable(f"{request.url}: its next links lead in a circle, back to {asked[:300]}")
        if page.following and ids and self._contents.goes_round(json.dumps(ids, default=str)):
            raise ApiUnavailable(f"{request.url}: its pages repeat: {len(ids)} items from {ids[0]!r} on came before")
        self._empty = 0 if ids else self._empty + 1
        self._n_items += len(ids)
        self._matched = page.matched if ids or self._matched is None else self._matched
        if self._empty <= EMPTY_PAGES or page.following is None:
            return page
        if not is_by_position(request) if self._matched is None else self._n_items < self._matched:
            of = "" if self._matched is None else f" of {self._matched}"
            raise ApiUnavailable(
                f"{request.url}: {self._empty} empty pages in a row after {self._n_items}{of} items, and its next link goes on"
            )
        return Page(page.features, None, page.matched)


def search_items(
    url: str,
    collections: Sequence[str],
    bounds: tuple[float, float, float, float] | None = None,
    interval: str | None = None,
    *,
    requests_per_second: float = 5.0,
) -> Iterator[dict[str, Any]]:
    """Every item of some collections of a STAC API, within degrees and an RFC 3339 interval, page by page."""
    patience = Patience()
    with open_client(patience) as client:
        provider = Provider(client, bucket_of(url, requests_per_second), patience)
        request: PageRequest | None = first_request(url, Search(collections, bounds, interval))
        pages = Pages(provider)
        while request is not None:
            page = pages.read(request)
            yield from page.features
            request = page.following


class LoopWatch:
    """Notices what comes round again, in constant memory (Brent's cycle detection)."""

    def __init__(self, patience: int) -> None:
        self._kept, self._steps, self._power, self._left = "", 0, 1, patience

    def goes_round(self, this: str) -> bool:
        """Whether what is noted now has come before, more often than there is patience for."""
        if this == self._kept:
            self._left -= 1
            return self._left < 0
        self._steps += 1
        if self._steps == self._power:
            self._kept, self._steps, self._power = this, 0, self._power * 2
        return False
