"""The flow `tend`: start what standing orders lack."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from prefect import flow

from datacube_config.settings import get_settings
from flows.answer_subscriptions import Tell
from flows.failed_work import WorkFailed
from flows.map_area import map_area
from flows.run_alerts import alert
from flows.run_artifacts import leave_table, logged_flow
from flows.run_events import announce_model
from flows.tend_here import EVERY, Kind, tend_orders
from flows.train_model import train_model


class FollowUpsFailed(WorkFailed):
    """Some follow-ups failed; the message lists them."""


@flow(name="tend", flow_run_name="tend")
@logged_flow
def tend(kinds: Sequence[Kind] = EVERY) -> dict[str, Any]:
    """Start what standing orders lack. Safe to run at any time and any number of times."""
    block = get_settings().alert_block
    tell: Tell = partial(alert, block) if block else lambda subject, lines: None
    report = tend_orders(kinds, train_model, map_area, tell)
    for trained in report["done"]:
        if trained["kind"] == "train":
            announce_model({"trained": True, "model": trained["result"], "name": trained["what"]})
    rows = [*report["done"], *({"kind": "failed", **each} for each in report["failed"])]
    leave_table("tend", rows or [{"what": "nothing was due"}], "What standing orders lacked")
    if report["failed"]:
        raise FollowUpsFailed("; ".join(f"{each['what']}: {each['cause']}" for each in report["failed"]), report)
    return report
