"""Every value that depends on the environment, with local defaults."""

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as NotParsed

from datacube_config.accounts import Account, RequestLimits
from datacube_config.errors import SettingsError
from datacube_config.logs import Logs

POSTGRES_SCHEMES = ("postgresql+psycopg", "postgresql+psycopg2", "postgresql", "postgres")
PREFIX = "NEOCUBE_"
DEFAULT_HOME = "var"


def _usual_driver(known: dict[str, Any]) -> Literal["postgres", "postgis"]:
    return "postgis" if known.get("index_url") else "postgres"


def _usual_store(known: dict[str, Any]) -> str:
    return str(known["home"] / "store")


class Settings(BaseSettings):
    """Read from the environment, then `<home>/settings.toml`, then the defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(default=Path(DEFAULT_HOME), validate_default=True)
    index_url: SecretStr | None = None
    index_driver: Literal["postgres", "postgis"] = Field(default_factory=_usual_driver)
    index_pool_size: int = Field(default=5, ge=1)
    store_url: str = Field(default_factory=_usual_store)
    store_flush: bool = True
    s3_endpoint_url: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: SecretStr | None = None
    s3_region: str | None = None
    s3_anonymous: bool = False
    archives: Path | None = None
    radiometric_check: Literal["auto", "off"] = "auto"
    mirrors: Annotated[tuple[str, ...], NoDecode] = ()
    tide_models: Path | None = None
    tide_model: str | None = None
    decode_threads: int | None = Field(default=None, ge=1)
    remote_threads: int | None = Field(default=None, ge=1, le=256)
    memory_limit_bytes: int | None = Field(default=None, ge=1)
    mask_weights: Path | None = None
    train_devices: int = Field(default=1, ge=1, le=1024)
    train_nodes: int = Field(default=1, ge=1, le=1024)
    mlflow_uri: str | None = None
    failure_budget: float = Field(default=0.05, ge=0, le=1)
    settle_days: int = Field(default=16, ge=0)
    price_per_core_hour: float = Field(default=0.0, ge=0)
    price_currency: str = Field(default="GBP", pattern="^[A-Z]{3}$")
    core_power_w: float = Field(default=0.0, ge=0)
    logs: Logs = "off"
    alert_block: str | None = Field(default=None, pattern="^[a-z0-9-]+/[^/]+$")
    alert_webhook: SecretStr | None = None
    publisher: str = Field(default="neocube", min_length=1, max_length=200)
    requests: RequestLimits = Field(default_factory=RequestLimits)
    accounts: tuple[Account, ...] = ()
    session_key: SecretStr | None = Field(default=None, min_length=32)
    session_https_only: bool = False
    page_url: str = Field(default="http://127.0.0.1:4201", pattern="^https?://")
    token: SecretStr | None = None

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("archives", "mask_weights", "tide_models")
    @classmethod
    def _absolute_if_given(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else None

    @field_validator("mirrors", mode="before")
    @classmethod
    def _between_commas(cls, mirrors: object) -> object:
        """Roots of mirrors, local ones absolute; in a variable, between commas."""
        names = mirrors.split(",") if isinstance(mirrors, str) else mirrors
        if not isinstance(names, list | tuple):
            raise ValueError("expected folders or s3:// URLs")
        roots = [str(name).strip() for name in names if str(name).strip()]
        return tuple(root.rstrip("/") if "://" in root else str(Path(root).expanduser().absolute()) for root in roots)

    @field_validator("accounts")
    @classmethod
    def _once(cls, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
        names = [account.name for account in accounts]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the account {repeated[0]} stands twice")
        return accounts

    @field_validator("index_url")
    @classmethod
    def _named_driver(cls, url: SecretStr | None) -> SecretStr | None:
        """The URL with psycopg 3 named, as ODC 1.9.20 wants it."""
        if url is None:
            return None
        scheme, separator, rest = url.get_secret_value().partition("://")
        if scheme not in POSTGRES_SCHEMES or not separator:
            raise ValueError("expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        return SecretStr(f"postgresql+psycopg://{rest}")

    @field_validator("store_url")
    @classmethod
    def _path_or_s3(cls, url: str) -> str:
        if url.startswith("s3://"):
            return url.rstrip("/")
        if "://" in url and not url.startswith("file://"):
            raise ValueError("expected a path or an s3:// URL")
        return str(Path(url.removeprefix("file://")).expanduser().absolute())

    @field_validator("mlflow_uri")
    @classmethod
    def _folder_or_server(cls, uri: str | None) -> str | None:
        """A folder, absolute, or the URL of a server, without a password, which would be shown."""
        if uri is None:
            return None
        if uri.startswith(("http://", "https://")):
            if "@" in uri.split("/")[2]:
                raise ValueError(
                    "expected no user in the URL: give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
                )
            return uri.rstrip("/")
        if "://" in uri and not uri.startswith("file://"):
            raise ValueError("expected a folder, or the http(s):// URL of an MLflow server")
        return str(Path(uri.removeprefix("file://")).expanduser().absolute())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The caller's values, the environment, the file of the home that those two name."""
        home = init_settings().get("home") or env_settings().get("home") or DEFAULT_HOME
        toml = TomlConfigSettingsSource(settings_cls, toml_file=settings_file(Path(home).expanduser()))
        return init_settings, env_settings, toml

    @property
    def decode_thread_count(self) -> int:
        """`decode_threads`, or the cores that this process may use."""
        return self.decode_threads or len(os.sched_getaffinity(0))

    @property
    def remote_thread_count(self) -> int:
        """`remote_threads`, or eight times `decode_thread_count`, at most 32."""
        return self.remote_threads or min(8 * self.decode_thread_count, 32)

    @property
    def memory_budget_bytes(self) -> int:
        """`memory_limit_bytes`, or 80 % of what the machine or the container has free."""
        return self.memory_limit_bytes or int(0.8 * _available_memory_bytes())


@dataclass(frozen=True, slots=True)
class SettingInForce:
    """One setting: its value (a secret masked) and where it came from."""

    name: str
    value: str | float | bool | None
    source: str


def settings_file(home: Path) -> Path:
    """The settings file of a home."""
    return home / "settings.toml"


def get_settings() -> Settings:
    """The settings in force; SettingsError names the wrong one without showing its value."""
    try:
        return Settings()
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)]
        raise SettingsError(f"settings cannot be used: {'; '.join(problems)}") from None
    except NotParsed as error:
        raise SettingsError(_not_parsed(str(error))) from None
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise SettingsError(
            f"settings.toml, line {line}: expected text in UTF-8, got the byte {byte:#04x}: save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings.toml: expected TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"settings.toml cannot be read: {error}") from error


def _not_parsed(said: str) -> str:
    """What is wrong with a variable that should hold JSON, without its value."""
    field = re.search(r'field "(\w+)"', said)
    variable = f"{PREFIX}{field[1].upper()}" if field else f"a variable {PREFIX}*"
    return (
        f"settings cannot be used: {variable}: expected JSON; or leave the variable out and write it into settings.toml"
    )


def explain_settings(settings: Settings) -> list[SettingInForce]:
    """Each setting with what decided it: an environment variable, the settings file, the caller or the default."""
    path = settings_file(settings.home)
    in_file = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    environment = {name.upper() for name, value in os.environ.items() if value}

    def source(name: str) -> str:
        if (variable := f"{PREFIX}{name.upper()}") in environment:
            return variable
        if name in in_file:
            return str(path)
        return "caller" if name in settings.model_fields_set else "default"

    shown = settings.model_dump(mode="json")
    return [SettingInForce(name, shown[name], source(name)) for name in type(settings).model_fields]


def _available_memory_bytes() -> int:
    """Free memory, of the control group where one limits it (cgroup v2)."""
    free = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if not (limit.is_file() and used.is_file()) or (text := limit.read_text().strip()) == "max":
        return free
    return min(free, max(0, int(text) - int(used.read_text())))
