"""Runs of which some of the work failed end as failed, and still say what they did."""

from collections.abc import Callable, Sequence
from typing import Any


class WorkFailed(RuntimeError):
    """Some of the work of a flow failed; the message lists it, `report` is what the flow would have returned."""

    def __init__(self, message: str, report: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


def end_failed(report: dict[str, Any], causes: Sequence[str]) -> None:
    """WorkFailed with the first three causes and the number of the others, if there are any."""
    if causes:
        more = f"; and {len(causes) - 3} more" if len(causes) > 3 else ""
        raise WorkFailed("; ".join(causes[:3]) + more, report)


def cell_causes(report: dict[str, Any]) -> list[str]:
    """One line for each failed cell of a build or a map."""
    return [f"{each['cell']}: {each['cause']}" for each in report["failed"]]


def reported(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The report of a run, also where some of its work failed."""
    try:
        return run()
    except WorkFailed as error:
        return error.report
