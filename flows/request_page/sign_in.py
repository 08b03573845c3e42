"""Who is asking: a session after a password, or a token with each call; and that a form was ours (CSRF)."""

import hashlib
import hmac
import secrets
import threading
import time
from collections import defaultdict, deque
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

from datacube_config.accounts import Account, by_password, by_token
from datacube_config.settings import Settings

MOST_FORM_BYTES, MOST_FIELDS = 600_000, 100
TRIES, WITHIN_S = 5, 300.0
MOST_WAITING, MOST_NAMES = 8, 10_000


class SignInRequired(Exception):
    """Nobody is signed in: a page answers with the form to do so."""


class Attempts:
    """Failed sign-ins of the last minutes, by name: after some, no more are looked at; one password is hashed at a time, and few wait."""

    def __init__(self) -> None:
        self._failed: defaultdict[str, deque[float]] = defaultdict(deque)
        self._one, self._waiting = threading.Lock(), threading.BoundedSemaphore(MOST_WAITING)

    def account(self, settings: Settings, name: str, password: str) -> Account | None:
        """The account of a name and password; HTTP 429 for a name that failed too often, 503 where many sign in at once."""
        if not self._waiting.acquire(blocking=False):
            raise HTTPException(503, "many are signing in: try again in a moment", {"Retry-After": "2"})
        try:
            with self._one:
                return self._looked_up(settings, name, password)
        finally:
            self._waiting.release()

    def _looked_up(self, settings: Settings, name: str, password: str) -> Account | None:
        failed, now = self._failed[name[:64]], time.monotonic()
        while failed and failed[0] < now - WITHIN_S:
            failed.popleft()
        if len(failed) >= TRIES:
            raise HTTPException(429, f"{TRIES} wrong passwords for this name: wait {WITHIN_S / 60:.0f} minutes")
        found = by_password(settings.accounts, name, password)
        if found is None:
            failed.append(now)
        if len(self._failed) > MOST_NAMES:
            self._failed = defaultdict(
                deque, {each: times for each, times in self._failed.items() if len(times) >= TRIES}
            )
        return found


def settings_of(request: Request) -> Settings:
    """The settings that the application was made with."""
    settings: Settings = request.app.state.settings
    return settings


def fingerprint(account: Account) -> str:
    """What ends the sessions of an account when its password or role changes."""
    secret = account.password_hash.get_secret_value() if account.password_hash else ""
    return hashlib.sha256(f"{account.role}|{secret}".encode()).hexdigest()[:16]


def begin_session(request: Request, account: Account) -> None:
    """Sign an account in, in a new session."""
    request.session.clear()
    request.session.update(name=account.name, of=fingerprint(account), csrf=secrets.token_urlsafe(24))


def csrf_of(request: Request) -> str:
    """The word that forms of this session carry."""
    if "csrf" not in request.session:
        request.session["csrf"] = secrets.token_urlsafe(24)
    return str(request.session["csrf"])


def check_csrf(request: Request, given: str) -> None:
    """HTTP 403 for a form or call that did not come from our page."""
    if not hmac.compare_digest(csrf_of(request).encode(), given.encode()):
        raise HTTPException(403, "this form is too old, or not from this page: load the page again")


def session_account(request: Request) -> Account:
    """The account that is signed in; SignInRequired where there is none, or it was changed."""
    name, of = request.session.get("name"), request.session.get("of")
    for account in settings_of(request).accounts:
        if account.name == name and fingerprint(account) == of:
            return account
    raise SignInRequired


def caller(request: Request) -> Account:
    """The account of a token, or of a session, which for anything but reading must say the word of the session."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        found = by_token(settings_of(request).accounts, token.strip())
        if found is None:
            raise HTTPException(401, "unknown token", {"WWW-Authenticate": "Bearer"})
        return found
    try:
        account = session_account(request)
    except SignInRequired:
        raise HTTPException(401, "sign in, or send a token", {"WWW-Authenticate": "Bearer"}) from None
    if request.method not in ("GET", "HEAD"):
        check_csrf(request, request.headers.get("X-CSRF", ""))
    return account


async def form_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form, each with its values, after the word of the session was checked."""
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
        if any("\0" in text for pair in pairs for text in pair):
            raise ValueError("no text holds the character NUL")
    except ValueError as error:
        raise HTTPException(400, f"expected a form: {error}") from error
    fields: dict[str, list[str]] = defaultdict(list)
    for name, value in pairs:
        fields[name].append(value.replace("\r\n", "\n"))
    check_csrf(request, "".join(fields.pop("csrf", [""])))
    return dict(fields)


SignedIn = Annotated[Account, Depends(session_account)]
Caller = Annotated[Account, Depends(caller)]
Form = Annotated[dict[str, list[str]], Depends(form_of)]
