"""A STAC API that behaves as providers do on a bad day: a real HTTP server in a thread, with a list of faults to commit."""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.flows.loopback_server import Silent, answering

Item = dict[str, Any]
Comparing = Literal["query", "cql2-json", "nothing"]
SEARCH = "https://api.stacspec.org/v1.0.0/item-search"
CONFORMS = {
    "query": [f"{SEARCH}#query"],
    "cql2-json": [f"{SEARCH}#filter", "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json"],
    "nothing": [],
}


@dataclass
class Fault:
    """What is done instead of answering: status and words, a hang, a connection cut in the body, other text."""

    kind: Literal["status", "hang", "cut", "garbled", "same page", "loop"]
    status: int = 503
    words: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class HostileStac:
    """Its items, how it pages and compares, and what it does wrong: `faults` by the number of the search request, from 1.

    `methods`: those it answers to, with a 405 for others; `between` is called after the page of that number has been sent.

    `paging`: `token` (after an item) or `page` (by number).
    """

    items: list[Item]
    page_items: int = 5
    paging: Literal["token", "page"] = "token"
    compares: Comparing = "query"
    methods: tuple[str, ...] = ("POST", "GET")
    counts: bool = False
    faults: dict[int, Fault] = field(default_factory=dict)
    always: Fault | None = None
    between: dict[int, Callable[["HostileStac"], None]] = field(default_factory=dict)
    newest_first: bool = False
    url: str = ""
    searches: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def change(self, number: int, **properties: Any) -> None:
        """Give an item other properties, and an `updated` of its own."""
        with self.lock:
            item = copy.deepcopy(self.items[number])
            item["properties"] |= properties
            self.items[number] = item

    def delete(self, number: int) -> Item:
        """Forget an item."""
        with self.lock:
            return self.items.pop(number)

    def landing(self) -> dict[str, Any]:
        """The landing page."""
        links = [{"rel": "search", "href": f"{self.url}/search", "method": "POST"}]
        conforms = ["https://api.stacspec.org/v1.0.0/core", *CONFORMS[self.compares]]
        return {"type": "Catalog", "id": "hostile", "links": links, "conformsTo": conforms}

    def refusal(self, asked: dict[str, Any]) -> str:
        """Why a search is not one that this API answers, empty if it is."""
        if "query" in asked and self.compares != "query":
            return "unknown member query"
        if "filter" in asked and (self.compares != "cql2-json" or asked.get("filter-lang") != "cql2-json"):
            return "expected a filter in cql2-json"
        return ""

    def page(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The page of a search."""
        with self.lock:
            found = [item for item in self.items if self._matches(item, asked)]
        if self.newest_first:
            found.sort(key=lambda item: (item["properties"]["updated"], item["id"]), reverse=True)
        limit = min(self.page_items, asked.get("limit", 10))
        if self.paging == "page":
            start = (int(asked.get("page", 1)) - 1) * limit
        else:
            found.sort(key=lambda item: item["id"])
            start = sum(item["id"] <= asked.get("token", "") for item in found)
        features = found[start : start + limit]
        links = []
        if start + limit < len(found):
            step = {"page": int(asked.get("page", 1)) + 1} if self.paging == "page" else {"token": features[-1]["id"]}
            links = [self._link({**asked, **step})]
        matched = {"numberMatched": len(found)} if self.counts else {}
        return {"type": "FeatureCollection", "features": features, "links": links, **matched}

    def _link(self, body: dict[str, Any]) -> dict[str, Any]:
        if "POST" not in self.methods:
            return {"rel": "next", "href": f"{self.url}/search?{urlencode({k: written(v) for k, v in body.items()})}"}
        return {"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": body}

    def answer(self, asked: dict[str, Any]) -> tuple[dict[str, Any], Fault | None, Callable[[], None]]:
        """The page, what goes wrong with it, and what is done once it is sent."""
        with self.lock:
            self.searches.append((time.monotonic(), asked))
            number = len(self.searches)
            fault = self.faults.get(number, self.always)
            after = self.between.get(number)
        page = self.page(asked)
        if fault is not None and fault.kind == "same page":
            page = self.page(self.searches[number - 2][1])
        if fault is not None and fault.kind == "loop":
            page["links"] = [self._link({**asked, "token": "", "page": 1})]
        return page, fault, lambda: after(self) if after else None

    def _matches(self, item: Item, asked: dict[str, Any]) -> bool:
        properties = item["properties"]
        if asked.get("collections") and item["collection"] not in asked["collections"]:
            return False
        if "ids" in asked and item["id"] not in asked["ids"]:
            return False
        if any(not properties.get(name, "") >= each["gte"] for name, each in asked.get("query", {}).items()):
            return False
        if "filter" in asked:
            compared, least = asked["filter"]["args"]
            if asked["filter"]["op"] != ">=" or not properties.get(compared["property"], "") >= least:
                return False
        start, _, end = asked.get("datetime", "../..").partition("/")
        return (start == ".." or properties["datetime"] >= start) and (end == ".." or properties["datetime"] < end)


class _Handler(Silent, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stac: HostileStac

    def do_GET(self) -> None:
        if self.path == "/collections":
            names = sorted({item["collection"] for item in self.stac.items})
            self._send(200, json.dumps({"collections": [{"id": name} for name in names]}))
        elif self.path.startswith("/collections/"):
            name = self.path.rpartition("/")[2]
            self._send(
                200 if name in {item["collection"] for item in self.stac.items} else 404, json.dumps({"id": name})
            )
        elif urlsplit(self.path).path == "/search":
            self._search({name: read(name, value) for name, value in parse_qsl(urlsplit(self.path).query)})
        else:
            self._send(200, json.dumps(self.stac.landing()))

    def do_POST(self) -> None:
        self._search(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _search(self, asked: dict[str, Any]) -> None:
        refusal = self.stac.refusal(asked)
        if self.command not in self.stac.methods or refusal:
            self._send(400 if refusal else 405, refusal or f"no {self.command} here")
            return
        page, fault, after = self.stac.answer(asked)
        text = json.dumps(page)
        kind = fault.kind if fault else ""
        if fault is not None and kind == "status":
            self._send(fault.status, fault.words, fault.headers)
        elif fault is not None and kind == "hang":
            time.sleep(fault.seconds)
            self.close_connection = True
        elif kind == "cut":
            self._send(200, text, keep=len(text) // 2)
            self.close_connection = True
        else:
            self._send(200, text[: len(text) // 2] if kind == "garbled" else text)
        after()

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None, keep: int | None = None) -> None:
        self.answer(status, text.encode(), headers or {}, keep)


def written(value: Any) -> str:
    """A value of a search as a parameter."""
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def read(name: str, value: str) -> Any:
    """The value of a parameter of a search."""
    if name in ("collections", "ids"):
        return value.split(",")
    if name == "bbox":
        return [float(each) for each in value.split(",")]
    if name in ("query", "filter"):
        return json.loads(value)
    return int(value) if name in ("limit", "page") else value


@contextmanager
def hostile_stac(
    items: Sequence[Item], kind: type[HostileStac] = HostileStac, **behaviour: Any
) -> Iterator[HostileStac]:
    """The API on loopback for the block."""
    stac = kind(copy.deepcopy(list(items)), **behaviour)
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stac": stac}))) as url:
        stac.url = url
        yield stac
