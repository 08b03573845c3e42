"""Alerts by a notification block of Prefect: Slack, Teams, PagerDuty, e-mail, a webhook of your own."""

from collections.abc import Sequence

from prefect.artifacts import Artifact
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from products.errors import RequestError


def lines_before(key: str) -> set[str]:
    """The `what` of the last table that was left under a key."""
    left = Artifact.get(key)
    rows = left.data if left is not None and isinstance(left.data, list) else []
    return {str(row["what"]) for row in rows}


def alert(block: str, subject: str, lines: Sequence[str]) -> None:
    """Send lines by a block, TYPE/NAME as Prefect names it; RequestError where there is none or it sends nothing."""
    try:
        found = Block.load(block)
    except ValueError as error:
        raise RequestError(
            f"NEOCUBE_ALERT_BLOCK: expected TYPE/NAME of a block of this Prefect server: {error}"
        ) from error
    if not isinstance(found, NotificationBlock):
        raise RequestError(
            f"NEOCUBE_ALERT_BLOCK: expected a block that notifies, got {block}, a {type(found).__name__}"
        )
    found.notify("\n".join(lines), subject)
