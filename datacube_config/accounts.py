"""Who may use the request page, and how much of it: the parts of the settings about people."""

import hashlib
import hmac
import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from datacube_config.closed import Closed

Role = Literal["operator", "researcher", "viewer"]
NAME = r"^[a-z][a-z0-9_.-]{0,62}$"
PROJECT = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}$"
HASH = re.compile(r"scrypt\$[0-9a-f]{8,128}\$[0-9a-f]{64}")
# OWASP Password Storage Cheat Sheet, scrypt: N = 2^15, r = 8, p = 3 (32 MB, about 0.2 s)
SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_MEMORY = 2**15, 8, 3, 64 * 2**20


class Account(Closed):
    """A person or program: a role, projects, and hashes of a password or a token; `neocube account` prints the lines."""

    name: str = Field(pattern=NAME)
    role: Role
    projects: tuple[Annotated[str, Field(pattern=PROJECT)], ...] = ()
    password_hash: SecretStr | None = None
    token_hash: SecretStr | None = None

    @field_validator("token_hash")
    @classmethod
    def _of_sha256(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch("[0-9a-f]{64}", value.get_secret_value()):
            raise ValueError("expected 64 hexadecimal digits, as `neocube account` prints them")
        return value

    @field_validator("password_hash")
    @classmethod
    def _of_scrypt(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not HASH.fullmatch(value.get_secret_value()):
            raise ValueError("expected scrypt$SALT$HASH, as `neocube account` prints it")
        return value

    @model_validator(mode="after")
    def _can_sign_in(self) -> "Account":
        if not (self.password_hash or self.token_hash):
            raise ValueError(f"the account {self.name} has neither password_hash nor token_hash")
        return self


class RequestLimits(Closed):
    """What requests may take, in core-hours as plans count them; the quotas are for a calendar month (UTC), None is no limit."""

    most_cells: int = Field(default=10_000, ge=1)
    most_scenes: int = Field(default=20_000, ge=1)
    most_area_km2: float = Field(default=200_000.0, gt=0)
    most_core_hours: float | None = Field(default=None, gt=0)
    approval_above_core_hours: float | None = Field(default=None, ge=0)
    user_core_hours: float | None = Field(default=None, gt=0)
    project_core_hours: float | None = Field(default=None, gt=0)
    waiting_per_user: int = Field(default=20, ge=1)
    at_a_time: int = Field(default=2, ge=1)
    half_life_days: float = Field(default=7.0, gt=0)
    ageing_core_hours_per_hour: float = Field(default=1.0, gt=0)


def hashed_password(password: str, salt: bytes) -> str:
    """scrypt$SALT$HASH, in hexadecimal digits."""
    digest = hashlib.scrypt(
        password.encode(), salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=SCRYPT_MEMORY, dklen=32
    )
    return f"scrypt${salt.hex()}${digest.hex()}"


def hashed_token(token: str) -> str:
    """SHA-256 of a token, in hexadecimal digits: tokens are random and long, so nothing slower is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def by_password(accounts: tuple[Account, ...], name: str, password: str) -> Account | None:
    """The account that has this name and password; an unknown name takes as long as a wrong password."""
    found = next((each for each in accounts if each.name == name and each.password_hash), None)
    known = found.password_hash.get_secret_value() if found and found.password_hash else f"scrypt${'00' * 16}$"
    salt = bytes.fromhex(known.split("$")[1])
    is_right = hmac.compare_digest(hashed_password(password, salt), known)
    return found if is_right else None


def by_token(accounts: tuple[Account, ...], token: str) -> Account | None:
    """The account that has this token."""
    digest = hashed_token(token)
    matches = [
        each for each in accounts if each.token_hash and hmac.compare_digest(each.token_hash.get_secret_value(), digest)
    ]
    return matches[0] if matches else None
