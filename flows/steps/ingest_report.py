"""What an ingest did, and how it tells."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class IngestReport:
    """What an ingest did. found = added + replaced + superseded + unchanged + skipped + quarantined.

    `replaced`: added, and a lower rendition archived; `superseded`: added and archived at once, below another;
    `skipped`: items that are part of another item's scene; `gone`: known items that the archive no longer has;
    `stopped`: listings that the provider did not let end, in its own words; `workers_lost`: processes that ended before
    their time, whose items were read again.
    """

    archive: str
    dry_run: bool = False
    found: int = 0
    added: int = 0
    replaced: int = 0
    superseded: int = 0
    unchanged: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
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
        """The report as JSON has it."""
        return asdict(self)


Progress = Callable[[IngestReport], None]
