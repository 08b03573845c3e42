"""Whether a Prefect server is configured: the question that decides between a flow run and a plain call; and how it is reached."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.steps.service.prefect_figures import PrefectAccess


def has_prefect_api() -> bool:
    """Whether PREFECT_API_URL, the active Prefect profile or a Prefect file of this folder names a server."""
    if "PREFECT_API_URL" not in os.environ and not any(_says(path, what) for path, what in _places().items()):
        return False
    from prefect.settings import get_current_settings  # takes seconds to import, and most homes name no server

    return bool(get_current_settings().api.url)


def prefect_access() -> "PrefectAccess | None":
    """Where the configured Prefect API is and what opens it; None where there is none."""
    if not has_prefect_api():
        return None
    from prefect.settings import get_current_settings

    from flows.steps.service.prefect_figures import PrefectAccess  # brings httpx, which a plain command does not need

    api = get_current_settings().api
    assert api.url is not None
    login = api.auth_string.get_secret_value() if api.auth_string else None
    return PrefectAccess(api.url, api.key.get_secret_value() if api.key else None, login)


def _places() -> dict[Path, str]:
    """Where Prefect looks for settings besides the environment, and what stands there if it has some."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    in_folder = {".env": "PREFECT_", "prefect.toml": "", "pyproject.toml": "[tool.prefect"}
    return {profiles: "", **{Path(name): what for name, what in in_folder.items()}}


def _says(path: Path, what: str) -> bool:
    return path.is_file() and what in path.read_text(encoding="utf-8", errors="replace")
