"""The commands that look after the service: `metrics` tells its figures, `tend-runs` settles runs that died."""

import threading
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from flows.console import as_json_option, emit
from products.errors import RequestError

if TYPE_CHECKING:
    from datacube_config.settings import Settings
    from flows.steps.service.exposition import Refuse


@click.command()
@as_json_option
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Serve them at http://HOST:PORT/metrics, and as a page at /, until interrupted.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback unless you say otherwise.")
@click.option(
    "--sign-in/--open",
    "signs_in",
    default=None,
    help="Only to who has an account of settings.toml, or to all who reach the port. By default to all on loopback, elsewhere to accounts.",
)
def metrics(as_json: bool, port: int | None, host: str, signs_in: bool | None) -> None:
    """Read the figures of the service from index, store and Prefect: print them as Prometheus reads them, or serve them.

    Example: neocube metrics --port 9469
    """
    from datacube_config.connection import database_url
    from datacube_config.settings import get_settings
    from flows.prefect_api import prefect_access
    from flows.steps.service.exposition import metrics_endpoint, metrics_text
    from flows.steps.service.prefect_processes import is_loopback
    from flows.steps.service.service_readings import read_service

    settings, prefect = get_settings(), prefect_access()
    if port is None:
        parts = read_service(settings, prefect)
        silent = {part.part: part.silence for part in parts if part.silence}
        document = {"figures": [asdict(each) for part in parts for each in part.readings], "silent": silent}
        emit(document, as_json, lambda _: metrics_text(parts).rstrip(), failed=bool(silent))
        return
    refuse = _refuse(settings, not is_loopback(host) if signs_in is None else signs_in)
    with database_url(settings), metrics_endpoint(partial(read_service, settings, prefect), host, port, refuse) as url:
        served = {"url": f"{url}/metrics", "page": f"{url}/", "signs_in": refuse is not None}
        emit(served, as_json, _serving)
        try:
            threading.Event().wait()
        except (KeyboardInterrupt, SystemExit):
            click.echo("stopped", err=True)


def _refuse(settings: "Settings", signs_in: bool) -> "Refuse | None":
    """What refuses strangers, or None where everyone may ask."""
    if not signs_in:
        return None
    from flows.request_page.header_sign_in import refusing_strangers

    return refusing_strangers(settings)


def _serving(document: dict[str, Any]) -> str:
    to_whom = "for who has an account" if document["signs_in"] else "for all who reach it"
    return f"ready: {document['url']}, and a page at {document['page']}, {to_whom}"


@click.command("tend-runs")
@as_json_option
def tend_runs(as_json: bool) -> None:
    """Settle flow runs whose process is gone, free what nobody holds, and tell what is wrong with the runs of a Prefect server.

    Example: neocube tend-runs --json
    """
    from flows.prefect_api import prefect_access
    from flows.steps.service.prefect_processes import answers

    access = prefect_access()
    if access is None:
        raise RequestError("expected a Prefect server, none is set: set PREFECT_API_URL")
    if not answers(access.url):
        raise RequestError(f"the Prefect server at {access.url} does not answer: start it, and run the same again")
    from flows.tend_runs import tend_runs as tend_runs_flow

    emit(tend_runs_flow(), as_json, _tended)


def _tended(document: dict[str, Any]) -> str:
    settled = [f"{each['run']} was {each['was']}: {each['now']}" for each in document["settled"]]
    failed = [f"{each['run']} failed at {each['at']}: {each['cause']}" for each in document["failed"]]
    return "\n".join([*settled, *document["wrong"], *failed]) or "nothing is wrong"
