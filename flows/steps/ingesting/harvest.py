"""The cursor of a harvest, kept in `neocube.harvest`: how far a listing has come, and from where the next one goes on."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import shapely
from sqlalchemy import Engine, func, select
from sqlalchemy.dialects.postgresql import insert

from datacube_config.schema import harvest
from flows.steps.archives.items import FoundItem
from flows.steps.archives.stac_api import PageRequest
from flows.steps.index.advisory_locks import alone_if_free
from products.area import Area
from products.period import Period, as_utc

if TYPE_CHECKING:
    from flows.steps.ingesting.take_items import Prepared

FULL_LISTING_EVERY = timedelta(days=7)
RESUME_WITHIN = timedelta(days=2)
# Processing follows sensing by days or weeks (Landsat's tier 1 by up to 26 days), a catalogue's own stamps by minutes.
OVERLAP = {"datetime": timedelta(days=60)}
OVERLAP_OF_STAMPS = timedelta(days=2)
MISSING = ""


@dataclass(frozen=True, slots=True)
class HarvestKey:
    """What a harvest is of; the empty text where it is not limited."""

    archive: str
    collection: str
    area: str
    period: str


@dataclass(slots=True)
class Batch:
    """Items to be taken together, and what the listing found out beside them.

    Who takes them says how many were new to this run, how many of these became or were scenes, and how many it had before.
    `inside`, `prepared`: the items that are asked for, once these are being read. `since`: when the listing began, if it comes to
    everything once, so that another item of an id is no change of the first.
    """

    items: list[FoundItem]
    n_pages: int = 0
    is_resumed: bool = False
    gone: tuple[str, ...] = ()
    n_unread: int = 0
    n_new: int = 0
    n_scenes: int = 0
    n_repeated: int = 0
    inside: list[FoundItem] = field(default_factory=list)
    prepared: "Prepared | None" = None
    since: datetime | None = None


@dataclass(slots=True)
class Listing:
    """One listing under way: what it asks next, and the highest instant of each mark that all its items have had."""

    is_full: bool
    started: datetime
    first: PageRequest | None = None
    request: PageRequest | None = None
    n_items: int = 0
    n_passes: int = 1
    is_moving: bool = False
    marks: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The listing as it is stored, to be gone on with after a crash."""
        return {
            "full": self.is_full,
            "started": self.started.isoformat(),
            "first": self.first.document() if self.first else None,
            "request": self.request.document() if self.request else None,
            "items": self.n_items,
            "passes": self.n_passes,
            "marks": self.marks,
        }

    @classmethod
    def resumed(cls, stored: Mapping[str, Any]) -> "Listing":
        """A stored listing; what moved since its last page is not known."""
        return cls(
            stored["full"],
            datetime.fromisoformat(stored["started"]),
            PageRequest(**stored["first"]),
            PageRequest(**stored["request"]),
            stored["items"],
            stored["passes"],
            is_moving=True,
            marks=dict(stored["marks"]),
        )

    def note(self, documents: list[Any], names: tuple[str, ...]) -> None:
        """Raise the marks to what the items of a page say; a mark that one of them lacks is of no use."""
        self.n_items += len(documents)
        for name in names:
            for document in documents:
                properties = document.get("properties") if isinstance(document, dict) else None
                instant = _instant(properties.get(name) if isinstance(properties, dict) else None)
                highest = self.marks.get(name)
                if instant is None:
                    self.marks[name] = MISSING
                elif highest is None or (highest != MISSING and instant > datetime.fromisoformat(highest)):
                    self.marks[name] = instant.isoformat()

    def high_water(self, names: tuple[str, ...]) -> tuple[str | None, datetime | None]:
        """(mark, instant) from which the next listing may go on; never after the beginning of this one."""
        for name in names:
            if highest := self.marks.get(name):
                return name, min(datetime.fromisoformat(highest), self.started)
        return None, None


@dataclass(slots=True)
class HarvestCursor:
    """The row of a harvest; without `is_kept` (a trial, or another process holds it) it is read and never written."""

    engine: Engine
    key: HarvestKey
    is_kept: bool

    def state(self) -> Any:  # noqa: ANN401, a row
        """The row, or None."""
        with self.engine.connect() as connection:
            return connection.execute(select(harvest).where(*self._here())).first()

    def keep_page(self, listing: Listing) -> None:
        """Store what the listing asks next; the caller has committed all that it has had."""
        self._write({"next_page": listing.document() if listing.request else None})

    def complete(self, listing: Listing, names: tuple[str, ...] = (), signature: str | None = None) -> None:
        """Note that a listing has come to its end; `signature`: of the files it read, where all their items are taken."""
        mark, instant = listing.high_water(names)
        done: dict[str, Any] = {"next_page": None, "signature": signature, "n_items": listing.n_items}
        if mark is not None:
            done |= {"mark": mark, "high_water": instant}
        if listing.is_full:
            done["listed_at"] = listing.started
        self._write(done)

    def touch(self) -> None:
        """Note that the harvest was asked for, and found nothing to read."""
        self._write({})

    def begin(self, first: PageRequest | None, *, is_full: bool) -> Listing:
        """A new listing; it begins now, by the clock of the database."""
        with self.engine.connect() as connection:
            return Listing(is_full, connection.execute(select(func.now())).scalar_one(), first, first)

    def _write(self, values: dict[str, Any]) -> None:
        if not self.is_kept:
            return
        add = insert(harvest).values(**self._names(), **values)
        names = ["archive", "collection", "area", "period"]
        anew = add.on_conflict_do_update(index_elements=names, set_={**values, "updated": func.now()})
        with self.engine.begin() as connection:
            connection.execute(anew)

    def _names(self) -> dict[str, str]:
        key = self.key
        return {"archive": key.archive, "collection": key.collection, "area": key.area, "period": key.period}

    def _here(self) -> list[Any]:
        return [getattr(harvest.c, name) == value for name, value in self._names().items()]


@contextmanager
def locked_cursor(engine: Engine, key: HarvestKey, *, dry_run: bool) -> Iterator[HarvestCursor]:
    """The cursor of a harvest; kept by one process at a time, others that harvest the same leave it alone."""
    if dry_run:
        yield HarvestCursor(engine, key, False)
        return
    with alone_if_free(engine, f"neocube harvest {key}") as is_kept:
        yield HarvestCursor(engine, key, is_kept)


def is_full_due(state: Any, now: datetime, *, forced: bool) -> bool:  # noqa: ANN401, a row or None
    """Whether everything is to be listed: on request, at first, and now and then."""
    if forced or state is None or state.listed_at is None or state.high_water is None:
        return True
    return bool(now - state.listed_at >= FULL_LISTING_EVERY)


def resumable(state: Any, now: datetime, *, is_full: bool) -> Listing | None:  # noqa: ANN401, a row or None
    """The listing that a run before left, if it is recent and of the kind that is due."""
    if state is None or state.next_page is None:
        return None
    listing = Listing.resumed(state.next_page)
    return listing if now - listing.started < RESUME_WITHIN and listing.is_full >= is_full else None


def goes_on_from(mark: str, high_water: datetime) -> datetime:
    """The instant from which to ask, so far before the high-water mark that nothing slips through."""
    return high_water - OVERLAP.get(mark, OVERLAP_OF_STAMPS)


def area_key(area: Area | None) -> str:
    """The name of an area and a digest of its polygon; areas of one name may differ."""
    if area is None:
        return ""
    digest = hashlib.sha256(shapely.to_wkb(area.geometry.geom)).hexdigest()
    return f"{area.name} {digest[:12]}"


def period_key(period: Period | None) -> str:
    """How a period is written."""
    return period.label if period else ""


def _instant(value: object) -> datetime | None:
    try:
        return as_utc(value) if isinstance(value, str) else None
    except ValueError:
        return None
