"""Start what standing orders lack: trainings on new cubes and maps with new models, each once; without Prefect."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from datacube_config.connection import Index, open_index
from datacube_config.errors import IndexLost
from datacube_config.settings import get_settings
from flows.answer_subscriptions import ScenesGone, Tell, answer, notice_new
from flows.failed_work import cell_causes, end_failed
from flows.map_here import make_map
from flows.request_parsing import keep_area
from flows.run_logs import logged_run
from flows.steps.areas import find_area
from flows.steps.index.follow_ups import (
    TRAIN,
    FollowUp,
    Order,
    claimed,
    due,
    finish,
    forget,
    is_done,
    kept_orders,
    note,
    outstanding,
    standing_orders,
)
from flows.steps.index.subscriptions import ANSWER
from flows.train_here import train

Kind = Literal["train", "map", "answer"]
EVERY: tuple[Kind, ...] = ("train", "map", "answer")
RESULTS = {"train": "model", "map": "cube", ANSWER: "map"}
Run = Callable[..., dict[str, Any]]


@logged_run("tend")
def tend_orders(
    kinds: Sequence[Kind], run_training: Run, run_mapping: Run, tell: Tell = lambda subject, lines: None
) -> dict[str, Any]:
    """Do what is outstanding of these kinds; returns `done`, `failed` (`what`, `cause`) and `elsewhere`. Alerts are told."""
    done: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    elsewhere: list[str] = []
    settings = get_settings()
    with open_index(settings) as index:

        def run_answer(work: FollowUp) -> dict[str, Any]:
            return answer(index, settings, work, tell)

        for order in kept_orders(index):
            if order.drawn:
                with suppress(OSError):  # who reads the area says that it is not there
                    keep_area(order.drawn, Path(order.area))
        if ANSWER in kinds:
            failed += notice_new(index, settings)
        if TRAIN in kinds:
            failed += [each for order in standing_orders(index) for each in _note_due(index, order)]
        for kind in kinds:
            for work in outstanding(index, kind):
                with claimed(index, work, wait=False) as is_ours:
                    if not is_ours:
                        elsewhere.append(work.subject)
                    elif not is_done(index, work):
                        _attempt(index, work, (run_training, run_mapping, run_answer), done, failed)
    return {"done": done, "failed": failed, "elsewhere": elsewhere}


def follow(index: Index, work: FollowUp, run_training: Run, run_mapping: Run) -> dict[str, Any]:
    """Do one piece of work, which the caller has claimed, and note what follows it."""
    parameters = dict(work.parameters)
    if work.kind == "map":
        document = run_mapping(**parameters)
        finish(index, work)
        return document
    then_map, cube = parameters.pop("then_map"), parameters.pop("cube")
    document = run_training(**parameters)
    order = Order(parameters["recipe"], parameters["area"], parameters["period"], parameters["labels"], then_map)
    finish(index, work, [order.mapping(document["model"], cube)] if then_map else [])
    return document


def tend_here(kinds: Sequence[Kind] = EVERY) -> dict[str, Any]:
    """Do in this process, without Prefect, what is due of these kinds; what was done, failed and left to others."""
    return tend_orders(kinds, lambda **asked: train(**asked).document(), _map_here)


def _map_here(**asked: Any) -> dict[str, Any]:  # noqa: ANN401, the parameters of a follow-up
    document = make_map(**asked).document()
    end_failed(document, cell_causes(document))
    return document


def _note_due(index: Index, order: Order) -> list[dict[str, str]]:
    """Note the training that an order lacks; why nobody can say what it lacks."""
    try:
        training = due(index, order, find_area(order.area).name)
    except IndexLost:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary between orders: one that fails stands and stops no other
        cause = str(error) or type(error).__name__
        return [{"what": order.label, "cause": f"{cause}; `neocube orders --end {order.row.id}` ends the order"}]
    if training:
        note(index, training)
    return []


def _attempt(
    index: Index, work: FollowUp, run: tuple[Run, Run, Run], done: list[dict[str, str]], failed: list[dict[str, str]]
) -> None:
    run_training, run_mapping, run_answer = run
    try:
        if work.kind == ANSWER:
            document = run_answer(work)
            finish(index, work)
        else:
            document = follow(index, work, run_training, run_mapping)
    except IndexLost:
        raise
    except ScenesGone as error:
        forget(index, work)
        failed.append({"what": work.subject, "cause": str(error)})
    except Exception as error:  # noqa: BLE001 - the boundary between follow-ups: one that fails stays due and stops no other
        failed.append({"what": work.subject, "cause": str(error) or type(error).__name__})
    else:
        result = document[RESULTS[work.kind]]
        done.append({"kind": work.kind, "what": work.subject, "result": str(result)})
