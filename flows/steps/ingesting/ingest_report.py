"""What an ingest did, and how it tells."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self, TypeVar

MOST_ROWS = 10_000
NAMED = ("skipped", "quarantined", "gone")

T = TypeVar("T")


class FirstRows(list[T]):
    """A list of which the first 10,000 are kept; `total` counts what was added with `+=`."""

    total = 0

    def __iadd__(self, more: Iterable[T]) -> Self:  # type: ignore[override, misc]
        """Count all, keep what fits."""
        for each in more:
            self.total += 1
            if len(self) < MOST_ROWS:
                self.append(each)
        return self

    def withdraw(self, row: T) -> None:
        """Uncount one that was added, and is among the first, as if it never had been."""
        self.remove(row)
        self.total -= 1


@dataclass(slots=True)
class IngestReport:
    """What an ingest did. found = added + replaced + superseded + revised + unchanged + skipped + quarantined, each counted whole.

    `replaced`: added, and a lower rendition archived, or known from another archive that has lost it, and from this one now;
    `superseded`: added and archived at once, below another; `revised`: known scenes of which their item says something else now;
    `skipped`: items that are part of another item's scene, or that have the id of another item of their listing;
    `gone`: known items that the archive no longer has;
    `stopped`: listings that the provider did not let end, in its own words; `workers_lost`: processes that ended before
    their time, whose items were read again.
    """

    archive: str
    dry_run: bool = False
    found: int = 0
    added: int = 0
    replaced: int = 0
    superseded: int = 0
    revised: int = 0
    unchanged: int = 0
    skipped: FirstRows[dict[str, str]] = field(default_factory=FirstRows)
    quarantined: FirstRows[dict[str, str]] = field(default_factory=FirstRows)
    gone: FirstRows[str] = field(default_factory=FirstRows)
    stopped: list[dict[str, str]] = field(default_factory=list)
    pages: int = 0
    resumed: bool = False
    workers_lost: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether some of the work was not done."""
        return bool(self.quarantined or self.stopped)

    def document(self) -> dict[str, Any]:
        """The report as JSON has it; `counts` are of all rows, `truncated` names the lists that have the first ones only."""
        counts = {name: getattr(self, name).total for name in NAMED}
        truncated = [name for name, total in counts.items() if total > len(getattr(self, name))]
        return {**asdict(self), "counts": counts, "truncated": truncated}


Progress = Callable[[IngestReport], None]
