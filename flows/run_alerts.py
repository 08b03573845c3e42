"""Alerts by a notification block of Prefect: Slack, Teams, PagerDuty, e-mail, a webhook of your own."""

import asyncio
import inspect
from collections.abc import Sequence

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from products.errors import RequestError


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
    sent = found.notify("\n".join(lines), subject)
    if inspect.iscoroutine(sent):
        asyncio.run(sent)
