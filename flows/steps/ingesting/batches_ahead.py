"""Pages of items that are begun before the pages ahead of them are taken, and handed on in their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from flows.steps.archives.found_items import FoundItem
from flows.steps.ingesting.harvest import Batch
from flows.steps.ingesting.take_items import Prepared, Take, prepare

Inside = Callable[[FoundItem], bool]


def begun(take: Take, batch: Batch, inside: Inside, before: Iterable[Prepared] = ()) -> Batch:
    """A batch whose items that are asked for are being read; `before`: the batches of the run that are not taken yet."""
    batch.inside = [found for found in batch.items if inside(found)]
    batch.prepared = prepare(take, batch.inside, before, batch.since)
    return batch


def begun_ahead(take: Take, batches: Iterator[Batch], inside: Inside) -> Iterator[Batch]:
    """Batches, of which one is taken when the next is asked for, while some after it are already being read.

    What ends the pages before their time is raised after those that came.
    """
    waiting: deque[Batch] = deque()
    failure: Exception | None = None
    is_over = False
    while True:
        while not is_over and len(waiting) <= take.pool.ahead:
            try:
                batch = next(batches)
            except StopIteration:
                is_over = True
            except Exception as error:  # noqa: BLE001, raised below
                is_over, failure = True, error
            else:
                before = [each.prepared for each in waiting if each.prepared]
                waiting.append(begun(take, batch, inside, before))
        if not waiting:
            break
        yield waiting.popleft()
    if failure is not None:
        raise failure
