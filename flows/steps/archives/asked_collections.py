"""The collections that are asked for: one that neither we nor the archive know is a wrong request, not an empty answer."""

from collections.abc import Iterable, Iterator, Sequence

from datacube_config.archives import collection_aliases
from flows.steps.archives.found_items import FoundItem
from products.errors import RequestError
from products.formula import near
from products.sensors import COLLECTIONS


def own_names(collections: Sequence[str]) -> tuple[str, ...]:
    """Those that are no collection of ours and no name that a known archive has for one."""
    return tuple(name for name in collections if name not in COLLECTIONS and name not in collection_aliases())


def refuse_collection(name: str, archive: str, listed: Iterable[str] = ()) -> RequestError:
    """The error for a name that an archive does not have."""
    known = [*COLLECTIONS, *(each for each in listed if each.isprintable())]
    return RequestError(f"no collection {name!r} in {archive}{near(name, known)}")


def with_asked(pages: Iterator[list[FoundItem]], collections: Sequence[str], archive: str) -> Iterator[list[FoundItem]]:
    """The pages of an archive that is listed whole; RequestError at their end for a name that none of its items has."""
    unseen, listed = set(own_names(collections)), set[str]()
    for page in pages:
        if unseen:
            listed |= {found.collection for found in page if isinstance(found.collection, str)}
            unseen -= listed
        yield page
    for name in sorted(unseen):
        raise refuse_collection(name, archive, sorted(listed))
