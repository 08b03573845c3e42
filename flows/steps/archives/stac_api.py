"""Items of a STAC API, page by page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

import httpx

from flows.steps.archives.json_documents import TooLarge, parse_document
from flows.steps.archives.polite_requests import ApiUnavailable, Patience, RequestRejected, ask, open_client
from flows.steps.archives.rate_limit import TokenBucket

PAGE_ITEMS = 200
NOT_FOUND = 404
POSITIONS = ("page", "offset", "skip", "startIndex", "_o")


@dataclass(frozen=True, slots=True)
class Provider:
    """How an API is asked: one client, in the turn of its bucket, with patience."""

    client: httpx.Client
    bucket: TokenBucket
    patience: Patience


@dataclass(frozen=True, slots=True)
class Search:
    """What to ask for: collections by the API's names, degrees, an RFC 3339 interval, ids, a property from an instant."""

    collections: Sequence[str] = ()
    bounds: tuple[float, float, float, float] | None = None
    interval: str | None = None
    ids: Sequence[str] = ()
    since: tuple[str, str] | None = None
    since_by: str = "query"
    method: str = "POST"
    page_items: int | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The request for one page, as it can be stored."""

    method: str
    url: str
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The request as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its items as they came, the request for the next one, how many items the API says there are in all."""

    features: list[Any]
    following: PageRequest | None
    matched: int | None


def first_request(url: str, search: Search) -> PageRequest:
    """The request for the first page of a search."""
    body: dict[str, Any] = {"limit": search.page_items or PAGE_ITEMS}
    if search.collections:
        body["collections"] = list(search.collections)
    if search.bounds:
        body["bbox"] = list(search.bounds)
    if search.interval:
        body["datetime"] = search.interval
    if search.ids:
        body["ids"] = list(search.ids)
    if search.since:
        name, instant = search.since
        if search.since_by == "cql2-json":
            body |= {"filter-lang": "cql2-json", "filter": {"op": ">=", "args": [{"property": name}, instant]}}
        else:
            body["query"] = {name: {"gte": instant}}
    address = url.rstrip("/") + "/search"
    if search.method == "GET":
        return PageRequest("GET", f"{address}?{urlencode({name: _plain(value) for name, value in body.items()})}")
    return PageRequest("POST", address, body)


def read_page(provider: Provider, request: PageRequest) -> Page:
    """One page; ApiUnavailable if none comes, or something else."""
    page = _json(provider, request)
    if not isinstance(page, dict) or not isinstance(page.get("features"), list):
        raise ApiUnavailable(f"{request.url}: expected a page of STAC items, got {str(page)[:120]!r}")
    context = page.get("context")
    matched = page.get("numberMatched", context.get("matched") if isinstance(context, dict) else None)
    count = matched if isinstance(matched, int) and not isinstance(matched, bool) else None
    return Page(page["features"], _following(page, request), count)


def collection_ids(url: str, bucket: TokenBucket) -> list[str]:
    """The ids of the collections of a STAC API."""
    patience = Patience()
    with open_client(patience) as client:
        provider = Provider(client, bucket, patience)
        answer = _json(provider, PageRequest("GET", url.rstrip("/") + "/collections"))
    listed = answer.get("collections", []) if isinstance(answer, dict) else []
    return [str(entry["id"]) for entry in listed if isinstance(entry, dict) and "id" in entry]


def has_collection(url: str, name: str, bucket: TokenBucket) -> bool:
    """Whether a STAC API knows a collection, whose listing may have pages: it is asked for the one."""
    patience = Patience()
    with open_client(patience) as client:
        asked = client.build_request("GET", f"{url.rstrip('/')}/collections/{quote(name, safe='')}")
        return ask(client, asked, bucket, patience).status != NOT_FOUND


def compares_by(provider: Provider, url: str) -> str | None:
    """How the API finds items by a property: `cql2-json`, `query`, or None if it promises neither."""
    landing = _json(provider, PageRequest("GET", url))
    classes = landing.get("conformsTo") if isinstance(landing, dict) else None
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    if any("item-search#filter" in name for name in names) and any("cql2-json" in name for name in names):
        return "cql2-json"
    return "query" if any("item-search#query" in name for name in names) else None


def _plain(value: Any) -> str:  # noqa: ANN401, of a request body
    """A value of a request body as a parameter of a GET request."""
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def is_by_position(request: PageRequest) -> bool:
    """Whether a page is asked for by its number or offset, so that items slip past when others come or go before them."""
    return any(name in POSITIONS for name in (*dict(parse_qsl(urlsplit(request.url).query)), *(request.body or {})))


def _following(page: Mapping[str, Any], request: PageRequest) -> PageRequest | None:
    """The request of the link `next`; ApiUnavailable if it leads to another host, or is none."""
    links = page.get("links")
    links = links if isinstance(links, list) else []
    link = next((link for link in links if isinstance(link, dict) and link.get("rel") == "next"), None)
    if link is None:
        return None
    try:
        url = urljoin(request.url, str(link.get("href") or ""))
        here, there = urlsplit(request.url), urlsplit(url)
    except ValueError as error:
        raise ApiUnavailable(f"{request.url}: its next page is at {str(link['href'])[:200]!r}: {error}") from error
    if there.hostname != here.hostname or there.scheme not in ("http", "https"):
        raise ApiUnavailable(f"{request.url}: its next page is at {url[:200]!r}: expected the same host")
    if here.scheme == "https":
        url = there._replace(scheme="https").geturl()
    if str(link.get("method", "GET")).upper() != "POST":
        return PageRequest("GET", url)
    body, headers = link.get("body") or {}, link.get("headers") or {}
    if not isinstance(body, dict) or not isinstance(headers, dict):
        raise ApiUnavailable(
            f"{request.url}: expected body and headers of its next page to be mappings, got {str(link)[:200]!r}"
        )
    body = {**(request.body or {}), **body} if link.get("merge") else body or request.body
    kept = {str(name): str(value) for name, value in headers.items() if str(name).lower() != "content-length"}
    return PageRequest("POST", url, body, kept)


def _built(provider: Provider, request: PageRequest) -> httpx.Request:
    """The request as it is sent; ApiUnavailable for one that HTTP cannot express, as the API may have asked for."""
    try:
        return provider.client.build_request(
            request.method, request.url, json=request.body, headers=request.headers or None
        )
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        raise ApiUnavailable(f"{request.url[:300]!r}: no request can be made of its next link: {error}") from error


def _json(provider: Provider, request: PageRequest) -> Any:  # noqa: ANN401
    """The JSON of an answer; ApiUnavailable with the API's own words for anything else."""
    for _ in range(provider.patience.tries):
        answer = ask(provider.client, _built(provider, request), provider.bucket, provider.patience)
        if answer.status >= 400:
            raise RequestRejected(f"{request.url}: {answer.words}")
        try:
            return parse_document(answer.body)
        except TooLarge as error:
            raise ApiUnavailable(f"{request.url}: {error}") from error
        except ValueError:
            continue  # a cut or garbled body; asked again, in its turn
    said = " ".join(answer.body[:400].decode("utf-8", "replace").split())[:120]
    raise ApiUnavailable(f"{request.url}: expected JSON, got {said!r}")
