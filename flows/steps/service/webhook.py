"""Tell an address of the operator's something, as JSON."""

from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import SecretStr

SECONDS = 20.0


class NotDelivered(RuntimeError):
    """The address took nothing; the message says why, without the address, which may hold a secret."""


def deliver(address: SecretStr, document: Mapping[str, Any], key: str) -> None:
    """POST a document; the same `key` (Idempotency-Key) says the same again. NotDelivered."""
    try:
        answer = httpx.post(
            address.get_secret_value(), json=document, headers={"Idempotency-Key": key}, timeout=SECONDS
        )
    except httpx.HTTPError as error:
        raise NotDelivered(f"NEOCUBE_ALERT_WEBHOOK cannot be reached: {type(error).__name__}") from None
    if answer.is_error or answer.is_redirect:
        raise NotDelivered(f"NEOCUBE_ALERT_WEBHOOK answers {answer.status_code}")
