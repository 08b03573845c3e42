"""Hands requests whose turn it is to Prefect, starts again those whose run died, and settles those whose run ended without a word."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.request_rules import End
from flows.requesting import finish, turn_of
from flows.steps.service.prefect_runs import ENDED, PrefectRefused, cancel_run, run_state, start_run
from flows.steps.service.request_kinds import Request
from flows.steps.service.request_rows import Ledger, dispatcher, ledger, reading

DEPLOYMENT = "request-product/request-product"
EVERY_S = 3.0
MOST_STARTS_AGAIN, STARTED_AGAIN = 2, "started again"

_log = logging.getLogger(__name__)


def dispatch(index: Index, settings: Settings, api: str) -> int:
    """Settle, then start what may run; returns how many were started. Another page on the same index leaves nothing to do."""
    with dispatcher(index) as is_alone:
        if not is_alone:
            return 0
        with reading(index) as requests:
            running = requests.in_state("running")
        for row in running:
            settle(index, api, row)
        started = 0
        while start_next(index, settings, api):
            started += 1
        return started


def start_next(index: Index, settings: Settings, api: str) -> bool:
    """Start the run of the next request, if one may."""
    with ledger(index) as requests:
        number = turn_of(requests, settings.requests)
        if number is None:
            return False
        requests.start(number)
        requests.record("neocube", "started", number)
        row = requests.get(number)
    hand_over(index, api, row)
    return True


def hand_over(index: Index, api: str, row: Request) -> None:
    """Have Prefect run it; the id of the request and how often it died is the key, so that a lost answer, asked for again, starts nothing twice."""
    asked = {"recipe": row.recipe, "area": row.area, "period": row.period, "train": row.train, "request": str(row.id)}
    with reading(index) as requests:
        n_died = _n_started_again(requests, row)
    try:
        run = start_run(api, DEPLOYMENT, asked, f"{row.id}-{n_died}" if n_died else str(row.id))
    except PrefectRefused as error:
        finish(index, row.id, "failed", str(error))
        return
    with ledger(index) as requests:
        is_wanted = requests.name_run(row.id, run)
    if not is_wanted:
        cancel_run(api, run)


def settle(index: Index, api: str, row: Request) -> None:
    """End a running request whose run has ended, or is not known any more; start again what died, ask again for what Prefect gave no answer about."""
    if row.run_id is None:
        hand_over(index, api, row)
        return
    state = run_state(api, row.run_id)
    if state is not None and state.type not in ENDED:
        return
    if state and state.type == "CRASHED" and start_again(index, row, state.message):
        hand_over(index, api, row)
        return
    end: End = "cancelled" if state and state.type == "CANCELLED" else "failed"
    finish(index, row.id, end, (state.message if state else "") or "its run ended without a result")


def start_again(index: Index, row: Request, cause: str) -> bool:
    """Whether a request whose run died, with its process, may run once more, and is now to: what it published is there, and is not built again."""
    with ledger(index) as requests:
        if requests.get(row.id).state != "running" or _n_started_again(requests, row) >= MOST_STARTS_AGAIN:
            return False
        requests.start(row.id)
        requests.record("neocube", STARTED_AGAIN, row.id, cause=cause)
        return True


def _n_started_again(requests: Ledger, row: Request) -> int:
    return sum(line.did == STARTED_AGAIN for line in requests.log(row.id))


@contextmanager
def dispatching(index: Index, settings: Settings, api: str) -> Iterator[None]:
    """Dispatch every few seconds for the block, in a thread."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(EVERY_S):
            try:
                dispatch(index, settings, api)
            except Exception as error:  # noqa: BLE001 - the boundary between rounds: the next one tries again
                _log.warning("requests wait: %s", " ".join(str(error).split()))

    thread = threading.Thread(target=repeat, name="dispatch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
