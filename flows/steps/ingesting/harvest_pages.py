"""A STAC API listed page by page, from where the run before left off, until nothing is missing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.items import FoundItem, StacApi, Wanted, api_item
from flows.steps.archives.listed_pages import Pages
from flows.steps.archives.polite_requests import RequestRejected
from flows.steps.archives.stac_api import (
    PageRequest,
    Provider,
    Search,
    compares_by,
    first_request,
    is_by_position,
)
from flows.steps.ingesting.gone_items import Scope, mark_gone, unseen
from flows.steps.ingesting.harvest import Batch, HarvestCursor, Listing, goes_on_from, is_full_due, resumable
from products.period import Period

PASSES = 4


@dataclass(frozen=True, slots=True)
class ApiHarvest:
    """What to list: one collection (or, with the empty text, all) of an API, and what limits it."""

    api: StacApi
    collection: str
    wanted: Wanted
    period: Period | None
    files: ArchiveFiles
    provider: Provider

    def search(self) -> Search:
        """The search that finds everything."""
        paging = self.api.paging
        collections = (self.collection,) if self.collection else ()
        return Search(
            collections, self.wanted.bounds, self.wanted.interval, method=paging.method, page_items=paging.items
        )

    def scope(self, archive: str) -> Scope:
        """What the search should find of what is known."""
        start, end = (self.period.start, self.period.end) if self.period else (None, None)
        collections = (self.collection,) if self.collection else ()
        return Scope(archive, collections, self.wanted.bounds, start, end)


def api_batches(harvest: ApiHarvest, cursor: HarvestCursor, *, forced: bool) -> Iterator[Batch]:
    """The pages of a collection; each is done when the next is asked for. ApiUnavailable in the provider's words."""
    state, now = cursor.state(), datetime.now(UTC)
    marks, compare = _marks(harvest)
    is_full = is_full_due(state, now, forced=forced) or state.mark not in marks
    listing = resumable(state, now, is_full=is_full) if cursor.is_kept else None
    if listing is not None:
        try:
            yield from _listed(harvest, cursor, listing, marks, resumed=True)
        except RequestRejected:  # its page token is too old: from the beginning
            listing = None
    if listing is None:
        search = harvest.search() if is_full else _since(harvest, state.mark, state.high_water, compare)
        listing = cursor.begin(first_request(harvest.api.url, search), is_full=is_full)
        yield from _listed(harvest, cursor, listing, marks)
    if not listing.is_full and listing.n_items == 0:
        # The item at the mark itself should have come: it is gone, or the API does not compare as it says.
        listing = cursor.begin(first_request(harvest.api.url, harvest.search()), is_full=True)
        yield from _listed(harvest, cursor, listing, marks)
    if listing.is_full and cursor.is_kept and not listing.is_moving:
        yield from _missing(harvest, cursor, listing)
    cursor.complete(listing, marks)


def _listed(
    harvest: ApiHarvest, cursor: HarvestCursor, listing: Listing, marks: tuple[str, ...], *, resumed: bool = False
) -> Iterator[Batch]:
    """The pages of a listing; all of them again while items may have slipped past, because it moved under its page numbers."""
    n_before = listing.n_items if resumed else 0
    while True:
        pages = Pages(harvest.provider, n_before)
        matched, n_pages, is_by_number, has_moved = None, 0, False, listing.is_moving
        while listing.request is not None:
            is_by_number |= is_by_position(listing.request)
            page = pages.read(listing.request)
            batch = Batch([api_item(item, harvest.api, harvest.files) for item in page.features], 1, resumed)
            yield batch
            n_pages += 1
            has_moved |= batch.n_new > 0 if listing.n_passes > 1 else batch.n_repeated > 0 or page.matched is None
            has_moved |= n_pages > 1 and page.matched != matched
            matched, listing.request = page.matched, page.following
            listing.note(page.features, marks)
            cursor.keep_page(listing)
        listing.is_moving = has_moved and is_by_number
        if not listing.is_moving or listing.n_passes == PASSES:
            return
        listing.n_passes, listing.request, listing.is_moving, n_before = listing.n_passes + 1, listing.first, False, 0


def _missing(harvest: ApiHarvest, cursor: HarvestCursor, listing: Listing) -> Iterator[Batch]:
    """What the listing lacks of what is known: items that are still there by their ids, and tombstones for the others."""
    archive = cursor.key.archive
    for missing in unseen(cursor.engine, harvest.scope(archive), listing.started):
        still = _by_ids(harvest, [item_id for _, item_id, _ in missing])
        there = {found.id for found in still}
        gone = [(collection, item_id) for collection, item_id, _ in missing if item_id not in there]
        mark_gone(cursor.engine, archive, gone, listing.started)
        yield Batch(still, gone=tuple(item_id for _, item_id in gone))


def _by_ids(harvest: ApiHarvest, ids: list[str]) -> list[FoundItem]:
    """The items that the API finds by their ids; none where it does not search by ids."""
    search = Search(harvest.search().collections, ids=ids, page_items=len(ids), method=harvest.api.paging.method)
    request: PageRequest | None = first_request(harvest.api.url, search)
    pages, found = Pages(harvest.provider), []
    try:
        while request is not None:
            page = pages.read(request)
            found += [api_item(item, harvest.api, harvest.files) for item in page.features]
            if any(each.id not in ids for each in found):
                return []
            request = page.following
    except RequestRejected:
        return []
    return found


def _marks(harvest: ApiHarvest) -> tuple[tuple[str, ...], str]:
    """The properties that the API can go on from, preferred first, and how it compares them."""
    mark = harvest.api.mark
    if mark is not None:
        return (*((mark.field,) if mark.filter != "datetime" else ()), "datetime"), mark.filter
    compare = compares_by(harvest.provider, harvest.api.url)
    return (("updated", "created", "datetime"), compare) if compare else (("datetime",), "datetime")


def _since(harvest: ApiHarvest, mark: str, high_water: datetime, compare: str) -> Search:
    """The search for what came or changed since the listing before."""
    start = goes_on_from(mark, high_water)
    if mark != "datetime":
        return replace(harvest.search(), since=(mark, f"{start:%Y-%m-%dT%H:%M:%SZ}"), since_by=compare)
    period = harvest.period
    start = max(start, period.start) if period else start
    end = f"{period.end:%Y-%m-%dT%H:%M:%SZ}" if period else ".."
    return replace(harvest.search(), interval=f"{start:%Y-%m-%dT%H:%M:%SZ}/{end}")
