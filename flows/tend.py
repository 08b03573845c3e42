"""Start what standing orders lack: trainings on new cubes and maps with new models, each once."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from prefect import flow

from datacube_config.connection import Index, open_index
from datacube_config.settings import get_settings
from flows.map_area import make_map, map_area
from flows.run_artifacts import leave_table
from flows.run_events import announce_model
from flows.steps.areas import find_area
from flows.steps.follow_ups import FollowUp, Order, claimed, due, finish, is_done, note, outstanding, standing_orders
from flows.train_model import train, train_model

Kind = Literal["train", "map"]
Run = Callable[..., dict[str, Any]]


class FollowUpsFailed(RuntimeError):
    """Some follow-ups failed; the message lists them."""


def tend_orders(kinds: Sequence[Kind], run_training: Run, run_mapping: Run) -> dict[str, Any]:
    """Do what is outstanding of these kinds; returns `done`, `failed` (`what`, `cause`) and `elsewhere`."""
    done: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    elsewhere: list[str] = []
    with open_index(get_settings()) as index:
        for order in standing_orders(index):
            training = due(index, order, find_area(order.area).name)
            if training:
                note(index, training)
        for kind in kinds:
            for work in outstanding(index, kind):
                with claimed(index, work, wait=False) as is_ours:
                    if not is_ours:
                        elsewhere.append(work.subject)
                    elif not is_done(index, work):
                        _attempt(index, work, run_training, run_mapping, done, failed)
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


@flow(name="tend", flow_run_name="tend")
def tend(kinds: Sequence[Kind] = ("train", "map")) -> dict[str, Any]:
    """Start what standing orders lack. Safe to run at any time and any number of times."""
    report = tend_orders(kinds, train_model, map_area)
    for trained in report["done"]:
        if trained["kind"] == "train":
            announce_model({"trained": True, "model": trained["result"], "name": trained["what"]})
    rows = [*report["done"], *({"kind": "failed", **each} for each in report["failed"])]
    leave_table("tend", rows or [{"what": "nothing was due"}], "What standing orders lacked")
    if report["failed"]:
        raise FollowUpsFailed("; ".join(f"{each['what']}: {each['cause']}" for each in report["failed"]))
    return report


def tend_here(kinds: Sequence[Kind] = ("train", "map")) -> dict[str, Any]:
    """The same without Prefect."""
    return tend_orders(kinds, lambda **asked: train(**asked).document(), lambda **asked: make_map(**asked).document())


def _attempt(
    index: Index,
    work: FollowUp,
    run_training: Run,
    run_mapping: Run,
    done: list[dict[str, str]],
    failed: list[dict[str, str]],
) -> None:
    try:
        document = follow(index, work, run_training, run_mapping)
    except Exception as error:  # noqa: BLE001 - the boundary between follow-ups: one that fails stays due and stops no other
        failed.append({"what": work.subject, "cause": str(error) or type(error).__name__})
    else:
        result = document["model"] if work.kind == "train" else document["cube"]
        done.append({"kind": work.kind, "what": work.subject, "result": str(result)})
