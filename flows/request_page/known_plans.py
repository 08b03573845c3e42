"""Plans that were made already: given again as long as nothing was written to the index's database, so that many can look at once."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.request_parsing import Ask
from flows.requesting import Answer, answer, renewed
from flows.steps.index.index_rows import snapshot_of

MOST_PLANS = 200
MOST_S = 60.0  # what a period is cut by, the clock and the free memory, changes without a transaction


@dataclass(slots=True)
class _Known:
    one: Lock = field(default_factory=Lock)
    snapshot: str = ""
    made_at: float = 0.0
    answer: Answer | None = None


class KnownPlans:
    """The answers of one process by what was asked, of the last MOST_PLANS asked for. For threads; who asks for the same at once waits for one plan."""

    def __init__(self) -> None:
        self._known: OrderedDict[Ask, _Known] = OrderedDict()
        self._lock = Lock()

    def answer(self, index: Index, settings: Settings, ask: Ask) -> Answer:
        """As `requesting.answer`, with the end as the queue stands now."""
        known = self._place(ask)
        with known.one:
            snapshot = snapshot_of(index)
            is_new = time.monotonic() - known.made_at < MOST_S and snapshot == known.snapshot
            if known.answer is None or not is_new:
                known.answer = answer(index, settings, ask)
                known.snapshot, known.made_at = snapshot, time.monotonic()
                return known.answer
            found = known.answer
        return renewed(index, settings, found)

    def _place(self, ask: Ask) -> _Known:
        with self._lock:
            known = self._known.setdefault(ask, _Known())
            self._known.move_to_end(ask)
            while len(self._known) > MOST_PLANS:
                self._known.popitem(last=False)
        return known
