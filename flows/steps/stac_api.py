"""Items of a STAC API, page by page."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx

from products.errors import RequestError

PAGE_ITEMS = 200
RETRIES = 4
BUSY = (429, 500, 502, 503, 504)


class ApiUnavailable(RequestError):
    """The API did not answer as a STAC API does; the message says which address and what came."""


def search_items(
    url: str,
    collections: Sequence[str],
    bounds: tuple[float, float, float, float] | None = None,
    interval: str | None = None,
    requests_per_second: float = 5.0,
) -> Iterator[dict[str, Any]]:
    """Every item of some collections of a STAC API, within degrees and an RFC 3339 interval, page by page."""
    body: dict[str, Any] = {"limit": PAGE_ITEMS}
    if collections:
        body["collections"] = list(collections)
    if bounds:
        body["bbox"] = list(bounds)
    if interval:
        body["datetime"] = interval
    with httpx.Client(timeout=60.0, follow_redirects=True) as client:
        request = client.build_request("POST", url.rstrip("/") + "/search", json=body)
        while True:
            page = _answer(client, request)
            yield from page["features"]
            following = _next_request(client, page, body)
            if following is None or not page["features"]:
                return
            request = following
            time.sleep(1.0 / requests_per_second)


def collection_ids(url: str) -> list[str]:
    """The ids of the collections of a STAC API."""
    with httpx.Client(timeout=60.0, follow_redirects=True) as client:
        answer = _send(client, client.build_request("GET", url.rstrip("/") + "/collections"))
    listed = answer.get("collections", []) if isinstance(answer, dict) else []
    return [str(entry["id"]) for entry in listed if isinstance(entry, dict) and "id" in entry]


def _next_request(client: httpx.Client, page: dict[str, Any], body: dict[str, Any]) -> httpx.Request | None:
    link = next((link for link in page.get("links") or [] if link.get("rel") == "next"), None)
    if link is None:
        return None
    if str(link.get("method", "GET")).upper() == "POST":
        merged = {**body, **link.get("body", {})} if link.get("merge") else link.get("body", body)
        return client.build_request("POST", link["href"], json=merged, headers=link.get("headers") or {})
    return client.build_request("GET", link["href"])


def _answer(client: httpx.Client, request: httpx.Request) -> dict[str, Any]:
    page = _send(client, request)
    if not isinstance(page, dict) or not isinstance(page.get("features"), list):
        raise ApiUnavailable(f"{request.url}: expected a page of STAC items, got {str(page)[:120]!r}")
    return page


def _send(client: httpx.Client, request: httpx.Request, sleep: Callable[[float], None] = time.sleep) -> Any:  # noqa: ANN401
    """The JSON answer, asked again with growing pauses while the server is busy."""
    for attempt in range(RETRIES + 1):
        try:
            answer = client.send(request)
        except httpx.TransportError as error:
            if attempt == RETRIES:
                raise ApiUnavailable(f"{request.url}: {type(error).__name__}: {error}") from error
        else:
            if answer.status_code not in BUSY or attempt == RETRIES:
                break
        sleep(0.5 * 2**attempt)
    if answer.is_error:
        raise ApiUnavailable(f"{request.url}: answered {answer.status_code}: {answer.text[:200]}")
    try:
        return answer.json()
    except ValueError as error:
        raise ApiUnavailable(f"{request.url}: expected JSON, got {answer.text[:120]!r}") from error
