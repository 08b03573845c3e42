"""Alerts by a notification block of Prefect: Slack, Teams, PagerDuty, e-mail, a webhook of your own."""

import asyncio
import inspect
from collections.abc import Sequence

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from products.errors import RequestError

ALERT_BLOCK = "NEOCUBE_ALERT_BLOCK"  # the setting, which every error of an alert begins with


def alert(block: str, subject: str, lines: Sequence[str]) -> None:
    """Send lines by a block, TYPE/NAME as Prefect names it; RequestError where there is none or it sends nothing.

    What a block itself says of a failure may hold its address, and with it a secret: only the class of the error is told.
    """
    found = _loaded(block)
    try:
        with found.raise_on_failure():  # without it most blocks say nothing of a failure
            sent = found.notify("\n".join(lines), subject)
            if inspect.iscoroutine(sent):
                asyncio.run(sent)
    except Exception as error:  # noqa: BLE001 - the boundary of a block, which may be of any type
        raise RequestError(f"{ALERT_BLOCK}: the block {block} sent nothing: {type(error).__name__}") from None


def _loaded(block: str) -> NotificationBlock:
    try:
        found = Block.load(block)
    except Exception as error:
        if type(error) is not ValueError:
            raise RequestError(f"{ALERT_BLOCK}: the block {block} cannot be loaded: {type(error).__name__}") from None
        raise RequestError(f"{ALERT_BLOCK}: expected TYPE/NAME of a block of this Prefect server: {error}") from error
    if not isinstance(found, NotificationBlock):
        raise RequestError(f"{ALERT_BLOCK}: expected a block that notifies, got {block}, a {type(found).__name__}")
    return found
