"""How a file is opened on its host: anonymously, at our cost, with keys, with a token. Nothing signed is ever stored."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatch
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import boto3
import rasterio
from botocore.exceptions import BotoCoreError
from rasterio.session import AWSSession

from datacube_config.archives import SigningRule
from flows.steps.archives.container_tokens import container_token
from flows.steps.archives.href_secrets import without_secrets
from flows.steps.archives.public_gate import proxy_options

AMAZON = "https://s3.amazonaws.com"
Rules = tuple[SigningRule, ...]

_in_force: ContextVar[Rules] = ContextVar("signing_rules", default=())
_URL = re.compile(r"(?:https?|s3)://[^\s'\"]+", re.IGNORECASE)


@contextmanager
def signing_by(rules: Rules) -> Iterator[None]:
    """Let `rules` say how files are opened in this thread, for the block."""
    token = _in_force.set(rules)
    try:
        yield
    finally:
        _in_force.reset(token)


@contextmanager
def signed(href: str) -> Iterator[str]:
    """The href to open instead of one without secrets, in a GDAL environment that may read it; OSError if it cannot be signed."""
    rule = rule_of(href, _in_force.get())
    if href.startswith(("https://", "http://")):
        with rasterio.Env(**proxy_options(href)):
            yield signed_url(href, (rule,) if rule else ())
    elif rule is not None and rule.kind != "planetary-computer" and href.startswith("s3://"):
        session = _session(rule.profile, rule.region) if rule.profile else None
        with rasterio.Env(session=session, **gdal_options(rule)):
            yield href
    else:
        yield href


def signed_url(href: str, rules: Rules) -> str:
    """An https href with the token that its host wants; any other as it is. OSError if no token can be had."""
    rule = rule_of(href, rules)
    if rule is None or rule.kind != "planetary-computer" or not rule.endpoint or not href.startswith("http"):
        return href
    parts = urlsplit(href)
    account, container = (parts.hostname or "").split(".")[0], parts.path.lstrip("/").split("/")[0]
    token = container_token(rule.endpoint, account, container)
    return f"{href}{'&' if parts.query else '?'}{token}"


def rule_of(href: str, rules: Rules) -> SigningRule | None:
    """The rule of the host or bucket of an href, None where nothing is to be done."""
    if not rules or "://" not in href:
        return None
    return _rule_of_host((urlsplit(href).hostname or "").lower(), rules)


def s3fs_options(location: str, options: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """The options of s3fs for an s3:// location: those given, and what the rule of its bucket says over them."""
    rule = rule_of(location, rules)
    if rule is None or rule.kind == "planetary-computer":
        return dict(options)
    client = {"endpoint_url": rule.endpoint, "region_name": rule.region}
    changed = {**options, "client_kwargs": {key: value for key, value in client.items() if value}}
    if rule.kind == "anonymous":
        return {"anon": True, "client_kwargs": changed["client_kwargs"]}
    if rule.profile:
        changed = {"profile": rule.profile, "client_kwargs": changed["client_kwargs"]}
    return changed | ({"requester_pays": True} if rule.kind == "requester-pays" else {})


def gdal_options(rule: SigningRule) -> dict[str, str]:
    """GDAL's options for a bucket: its own endpoint and region, whatever the store of our own has."""
    scheme, _, host = (rule.endpoint or AMAZON).rstrip("/").partition("://")
    return {
        "AWS_S3_ENDPOINT": host,
        "AWS_HTTPS": "YES" if scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE" if rule.endpoint else "TRUE",
        "AWS_NO_SIGN_REQUEST": "YES" if rule.kind == "anonymous" else "NO",
        "AWS_REQUEST_PAYER": "requester" if rule.kind == "requester-pays" else "",
        **({"AWS_REGION": rule.region} if rule.region else {}),
    }


def without_tokens(words: str) -> str:
    """A message without the signatures, tokens and passwords of the URLs in it."""
    return _URL.sub(lambda found: without_secrets(found[0]), words)


@lru_cache(4096)
def _rule_of_host(host: str, rules: Sequence[SigningRule]) -> SigningRule | None:
    return next((rule for rule in rules if any(fnmatch(host, pattern) for pattern in rule.hosts)), None)


def _session(profile: str, region: str | None) -> AWSSession:
    try:
        return AWSSession(session=_profile(profile, region))
    except BotoCoreError as error:
        raise OSError(f"the AWS profile {profile} gives no keys on this machine: {error}") from error


@lru_cache(64)
def _profile(name: str, region: str | None) -> boto3.Session:
    return boto3.Session(profile_name=name, region_name=region)
