"""Whether a Prefect server is configured: the question that decides between a flow run and a plain call."""

from prefect.settings import get_current_settings


def has_prefect_api() -> bool:
    """Whether PREFECT_API_URL or the active Prefect profile names a server."""
    return bool(get_current_settings().api.url)
