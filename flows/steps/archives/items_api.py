"""Items of a STAC API, known by name or given by its URL."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datacube_config.archives import KnownArchive, Mark, Paging, collection_aliases
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asked_collections import own_names, refuse_collection
from flows.steps.archives.found_items import FoundItem, Source, Wanted, links_of
from flows.steps.archives.host_buckets import REQUESTS_PER_SECOND
from flows.steps.archives.listed_pages import search_items
from flows.steps.archives.rate_limit import TokenBucket
from flows.steps.archives.stac_api import collection_ids, has_collection
from products.sensors import COLLECTIONS


@dataclass(frozen=True, slots=True)
class StacApi:
    """A STAC API to be listed page by page: the wanted collections by its own names, and how it is asked and believed."""

    url: str
    collections: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    requests_per_second: float = REQUESTS_PER_SECOND
    alternate: str | None = None
    paging: Paging = Paging()  # noqa: RUF009, frozen
    mark: Mark | None = None


def api_of(url: str, known: KnownArchive | None, wanted: Wanted, files: ArchiveFiles) -> StacApi:
    """The API at a URL, asked as archives.yaml says if it is known."""
    bucket = files.sites.buckets.of(url)
    collections = tuple(_collections(url, known, wanted, bucket))
    if known is None:
        return StacApi(url, collections, requests_per_second=bucket.requests_per_second)
    return StacApi(url, collections, known.hosts, known.requests_per_second, known.alternate, known.paging, known.mark)


def api_items(api: StacApi, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    """Every wanted item of an API."""
    for document in search_items(
        api.url, api.collections, wanted.bounds, wanted.interval, requests_per_second=api.requests_per_second
    ):
        yield api_item(document, api, files)


def api_item(document: Any, api: StacApi, files: ArchiveFiles) -> FoundItem:  # noqa: ANN401
    """An item of a page of a STAC API; its place is its own address there."""
    number = document.get("id") if isinstance(document, dict) else None
    own = next((str(link.get("href")) for link in links_of(document) if link.get("rel") == "self"), "")
    if not own.startswith(api.url + "/") or not own.isprintable():
        own = f"{api.url}/collections/{document.get('collection') if number else None}/items/{number}"
    return Source(api.url, files, api.hosts, api.alternate).found(document, own)


def offers_search(landing: Any) -> bool:  # noqa: ANN401
    """Whether the landing page is that of a STAC API."""
    return any(link.get("rel") == "search" for link in links_of(landing))


def _collections(url: str, known: KnownArchive | None, wanted: Wanted, bucket: TokenBucket) -> list[str]:
    """The API's own names of the wanted collections, of all that we know when none is asked for; RequestError for one that it does not have."""
    for name in own_names(wanted.collections):
        if not has_collection(url, name, bucket):
            raise refuse_collection(name, url)
    if known is None:
        ours = [name for name in wanted.collections if name in COLLECTIONS]
        if not ours:
            return list(wanted.collections)
        aliases = collection_aliases()
        return [name for name in collection_ids(url, bucket) if name in wanted.collections or aliases.get(name) in ours]
    asked = wanted.collections or tuple(known.collections)
    return [alias for name in asked for alias in known.collections.get(name, (name,))]
