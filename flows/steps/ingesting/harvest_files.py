"""Archives that are listed whole each time: catalogues, folders, collections of items."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from datacube_config.archives import archive_table, collection_aliases
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.file_signature import local_signature
from flows.steps.archives.found_items import FoundItem, UnreadItem
from flows.steps.archives.items import Wanted, read_pages
from flows.steps.ingesting.gone_items import Scope, has_gone, mark_gone, unseen
from flows.steps.ingesting.harvest import FULL_LISTING_EVERY, Batch, HarvestCursor
from flows.steps.ingesting.pages_ahead import read_ahead
from flows.steps.ingesting.quarantine import has_kept
from products.period import Period

Begin = Callable[[Iterator[Batch]], Iterator[Batch]]


def unchanged_items(cursor: HarvestCursor) -> int | None:
    """How many items a local archive has, if its files are those that were all taken before; None if it is to be read."""
    state, archive, engine = cursor.state(), cursor.key.archive, cursor.engine
    if state is None or state.signature is None or datetime.now(UTC) - state.listed_at >= FULL_LISTING_EVERY:
        return None
    if has_kept(engine, archive) or has_gone(engine, archive) or local_signature(archive) != state.signature:
        return None
    return int(state.n_items)


def file_batches(
    archive: str,
    wanted: Wanted,
    period: Period | None,
    files: ArchiveFiles,
    cursor: HarvestCursor,
    begin: Begin = iter,
) -> Iterator[Batch]:
    """The items of an archive; each batch is done when the next is asked for. What was not among them is gone.

    `begin`: hands batches on, and may have some read ahead, but for an archive that is told what was taken.
    """
    listing, is_whole, all_scenes = cursor.begin(None, is_full=True), _lists_all(archive), True
    signature = local_signature(cursor.key.archive)
    pages, lists_all = read_pages(archive, wanted, files), _lists_all(archive)
    pages = read_ahead(pages) if signature else pages
    batches = (Batch(items, since=listing.started if lists_all else None) for items in pages)
    for batch in begin(batches) if lists_all else batches:
        is_whole &= not any(map(_may_be_any, batch.items))
        yield batch
        listing.n_items += batch.n_new
        all_scenes &= batch.n_scenes == batch.n_new
    if not cursor.is_kept or not is_whole:
        return
    scope = Scope(
        cursor.key.archive,
        _names(wanted.collections),
        wanted.bounds,
        period.start if period else None,
        period.end if period else None,
    )
    for missing in unseen(cursor.engine, scope, listing.started):
        mark_gone(cursor.engine, scope.archive, [key[:2] for key in missing], listing.started)
        yield Batch([], gone=tuple(key[1] for key in missing))
    cursor.complete(listing, signature=signature if all_scenes else None)


def _lists_all(archive: str) -> bool:
    """Whether an archive tells all that it has, as a queue of notifications does not."""
    known = archive_table().archives.get(archive)
    return known.kind != "queue" if known else not archive.startswith("sqs://")


def _may_be_any(found: FoundItem) -> bool:
    """Whether an item cannot be read, not even its name, and so may be any of the known ones."""
    if isinstance(found, UnreadItem) or found.document is not None:
        return False
    return found.cause is None or found.cause.startswith("unreadable")


def _names(collections: tuple[str, ...]) -> tuple[str, ...]:
    """Collections as items may name them: as asked for, and by the names that archives have for ours."""
    aliases = [name for name, ours in collection_aliases().items() if ours in collections]
    return (*collections, *aliases, "") if collections else ()
