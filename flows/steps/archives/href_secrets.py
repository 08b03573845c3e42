"""Secrets in hrefs: taken out before a document is compared, stored or shown; signing happens at read time."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

MASKED_USER = "credentials-removed"

# Azure SAS: Microsoft "Create a service SAS"; AWS: Signature Version 2 and 4 query parameters; Google: V2 and V4
SAS = frozenset(
    {"sv", "ss", "srt", "sp", "st", "se", "spr", "sig", "sr", "sip", "si", "sdd", "ses", "saoid", "suoid", "scid"}
    | {"skoid", "sktid", "skt", "ske", "sks", "skv"}
)
SIGNED = frozenset(("awsaccesskeyid", "signature", "expires", "googleaccessid", "policy", "key-pair-id"))
TOKENS = frozenset(
    ("token", "access_token", "api_key", "apikey", "api-key", "subscription-key", "password", "secret", "auth")
)
PREFIXES = ("x-amz-", "x-goog-")


def without_secrets(href: str) -> str:
    """The href without signatures and tokens in its query; a user and password become a word that is refused."""
    if "?" not in href and "@" not in href:
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        return href
    if "@" in parts.netloc:
        parts = parts._replace(netloc=f"{MASKED_USER}@{parts.netloc.rpartition('@')[2]}")
    pairs = parts.query.split("&") if parts.query else []
    names = [pair.partition("=")[0].lower() for pair in pairs]
    drop = TOKENS | (SAS if "sig" in names else set()) | (SIGNED if SIGNED & {*names} - {"expires"} else set())
    kept = [pair for pair, name in zip(pairs, names, strict=True) if name not in drop and not name.startswith(PREFIXES)]
    return urlunsplit(parts._replace(query="&".join(kept)))


def document_without_secrets(document: dict[str, Any]) -> dict[str, Any]:
    """The item with clean hrefs in its assets, their alternates and its links; itself where they are clean."""
    places = [*_hrefs(document.get("links")), *_hrefs(document.get("assets"))]
    if all(clean == href for href, clean in places):
        return document
    return {**document, **{key: _cleaned(document[key]) for key in ("links", "assets") if key in document}}


def _hrefs(value: Any) -> list[tuple[str, str]]:  # noqa: ANN401, a part of an untrusted document
    """The hrefs of links or assets that may have a secret, each with its clean form."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found: list[tuple[str, str]] = []
    for entry in entries:
        if isinstance(entry, dict):
            href = entry.get("href")
            if isinstance(href, str) and ("?" in href or "@" in href):
                found.append((href, without_secrets(href)))
            if "alternate" in entry:
                found += _hrefs(entry["alternate"])
    return found


def _cleaned(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_cleaned_entry(entry) for entry in value]
    return {name: _cleaned_entry(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def _cleaned_entry(entry: Any) -> Any:  # noqa: ANN401
    if not isinstance(entry, dict):
        return entry
    href = {"href": without_secrets(entry["href"])} if isinstance(entry.get("href"), str) else {}
    alternate = {"alternate": _cleaned(entry["alternate"])} if "alternate" in entry else {}
    return {**entry, **href, **alternate}
