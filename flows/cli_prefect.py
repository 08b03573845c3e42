"""The commands around Prefect and the request page: `demo`, `serve`, `account` and `tend`."""

import atexit
import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.console import as_json_option, emit
from products.errors import RequestError

if TYPE_CHECKING:
    from flows.steps.service.prefect_processes import Server


@click.command()
@as_json_option
@click.argument("directory")
@click.option("--size-px", default=160, show_default=True, help="Side of the landscape in 30 m pixels.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same pixels.")
def demo(as_json: bool, directory: str, size_px: int, seed: int) -> None:
    """Simulate an archive in DIRECTORY, ingest it, build a cube, train a model and map the area, as one Prefect flow.

    Example: neocube demo var/demo
    """
    from datacube_config.settings import get_settings
    from flows.steps.simulation.archive import local_directory

    local_directory(directory)
    server = _start_server(get_settings().home) if not os.environ.get("PREFECT_API_URL") else None
    from flows.demo import demo as demo_flow

    if server:
        server.wait_until_ready()
    emit(demo_flow(directory, seed=seed, size_px=size_px), as_json, _shown)


@click.command()
@as_json_option
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Loopback unless you say otherwise: Prefect has no login."
)
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True)
@click.option(
    "--page-port", type=click.IntRange(1, 65535), default=4201, show_default=True, help="Of the request page."
)
@click.option("--runs", type=click.IntRange(1), default=2, show_default=True, help="Flow runs at a time.")
def serve(as_json: bool, host: str, port: int, page_port: int, runs: int) -> None:
    """Run the request page, Prefect's server, a worker and the deployments of deployments/prefect.yaml until interrupted.

    Example: neocube serve --port 4200
    """
    from datacube_config.settings import get_settings
    from flows.serve import running_service
    from flows.steps.service.prefect_processes import PrefectDidNotStart

    click.echo("starting: server, deployments, worker, request page", err=True)
    try:
        with running_service(get_settings(), host, port, runs, page_port) as service:
            document = {
                "page": service.page,
                "api": service.api,
                "runs": service.runs,
                "logs": str(service.logs),
            }
            if service.password:
                document |= {"name": "local", "password": service.password}
            emit(document, as_json, _served)
            for line in service.unlisted:
                click.echo(f"neocube: {line}", err=True)
            status = service.wait(partial(click.echo, err=True))
    except PrefectDidNotStart as error:
        raise RequestError(str(error)) from error
    click.echo("stopped", err=True)
    sys.exit(status)


@click.command()
@as_json_option
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["operator", "researcher", "viewer"]), default="researcher", show_default=True
)
@click.option("--project", "projects", multiple=True, help="A project to ask for; may be repeated.")
def account(as_json: bool, name: str, role: str, projects: tuple[str, ...]) -> None:
    """Make a password and a token for NAME, and print the lines for settings.toml, which hold their hashes only.

    Example: neocube account ana --project coast
    """
    import json
    import secrets

    from pydantic import ValidationError

    from datacube_config.accounts import Account, hashed_password, hashed_token

    password, token = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
    row = {
        "name": name, "role": role, "projects": list(projects),
        "password_hash": hashed_password(password, secrets.token_bytes(16)), "token_hash": hashed_token(token),
    }  # fmt: skip
    try:
        Account.model_validate(row)
    except ValidationError as error:
        raise RequestError(f"expected a NAME of lower-case letters, digits and ._-, got {name!r}") from error
    lines = "\n".join(["[[accounts]]", *(f"{key} = {json.dumps(value)}" for key, value in row.items())])
    made = {"password": password, "token": token, "settings": lines}
    emit(made, as_json, lambda it: f"{it['settings']}\n\npassword: {it['password']}\ntoken: {it['token']}")


@click.command()
@as_json_option
def tend(as_json: bool) -> None:
    """Start what standing orders lack: trainings on new cubes, maps with new models. Safe to repeat.

    Example: neocube tend
    """
    from flows.failed_work import reported
    from flows.prefect_api import has_prefect_api

    if has_prefect_api():
        from flows.tend import tend as tend_flow

        report = reported(tend_flow)
    else:
        from flows.tend_here import tend_here

        report = tend_here()
    emit(report, as_json, _tended, failed=bool(report["failed"]))


def _start_server(home: Path) -> "Server":
    """A private server that ends after Prefect has sent its last log lines; call it before Prefect is imported."""
    from flows.steps.service.prefect_processes import free_port, private_environment, running_server

    os.environ.update(private_environment(home))
    until_exit = ExitStack()
    atexit.register(until_exit.close)
    log = home / "logs" / "prefect-server.log"
    server = until_exit.enter_context(running_server("127.0.0.1", free_port(), {}, log, ui=False))
    os.environ["PREFECT_API_URL"] = server.url
    return server


def _served(document: dict[str, Any]) -> str:
    lines = [f"ready: request page on {document['page']}, runs on {document['runs']}, logs in {document['logs']}"]
    if "password" in document:
        lines.append(
            f"sign in as {document['name']} with the password {document['password']}, which ends with this command"
        )
    return "\n".join(lines)


def _tended(report: dict[str, Any]) -> str:
    lines = [f"done    {each['kind']} {each['what']}: {each['result']}" for each in report["done"]]
    lines += [f"failed  {each['what']}: {each['cause']}" for each in report["failed"]]
    lines += [f"running elsewhere  {each}" for each in report["elsewhere"]]
    return "\n".join(lines) or "nothing was due"


def _shown(document: dict[str, Any]) -> str:
    holdout = document["metrics"]["holdout"]
    lines = [f"cube   {document['cube']}", f"map    {document['map']}"]
    lines += [f"image  {url.removeprefix('file://')}" for url in document["quicklooks"]]
    lines += [f"{each['class']}: {each['area']:.1f} {each['unit']}" for each in document["pixel_area"]]
    lines.append(f"{document['score']} {holdout['overall']:.3f} on blocks never trained on")
    return "\n".join(lines)
