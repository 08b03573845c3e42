"""Who is asking, where there is no page to sign in on: the token of an account (Bearer), or its name and password, which browsers ask for (Basic)."""

import binascii
from base64 import b64decode
from collections.abc import Callable

from fastapi import HTTPException

from datacube_config.accounts import Account, by_token
from datacube_config.settings import Settings
from flows.request_page.sign_in import Attempts
from products.errors import RequestError

UNKNOWN = 401, "sign in with the name and password of an account, or send its token"
Refusal = tuple[int, str]


def refusing_strangers(settings: Settings) -> Callable[[str], Refusal | None]:
    """What says of an Authorization header why it is refused, a status of HTTP and words, or None for that of an account; RequestError where nobody has one."""
    if not settings.accounts:
        raise RequestError(
            "nobody has an account, so nobody could sign in: expected accounts in settings.toml, see `neocube account`, "
            "or --open where everyone who reaches the port may know the figures"
        )
    attempts = Attempts()

    def refuse(header: str) -> Refusal | None:
        try:
            return None if _account(settings, attempts, header) else UNKNOWN
        except HTTPException as error:
            return error.status_code, str(error.detail)

    return refuse


def _account(settings: Settings, attempts: Attempts, header: str) -> Account | None:
    kind, _, said = header.partition(" ")
    if kind.lower() == "bearer":
        return by_token(settings.accounts, said.strip())
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = b64decode(said.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return attempts.account(settings, name, password)
