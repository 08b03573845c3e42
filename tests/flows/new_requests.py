"""Requests that nobody has decided on yet."""

from uuid import uuid4

from flows.steps.service.request_kinds import NewRequest


def new(by: str = "ana", core_hours: float = 4.0, project: str = "coast") -> NewRequest:
    """A request of two cells, planned and priced."""
    return NewRequest(
        asked_by=by, project=project, product="p", recipe="r", area="demo", period="2020", train=None, key=uuid4(),
        plan={"seconds": 100.0}, to_build=[uuid4(), uuid4()], core_hours=core_hours, price=8.0, currency="GBP",
    )  # fmt: skip
