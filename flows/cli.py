"""The `neocube` command. Exit codes: 0 done, 1 some of the work failed, 2 the request itself is wrong."""

import io
import os
import signal
import sys
from types import FrameType

import click

from datacube_config.errors import IndexLost, IndexUnavailable, SettingsError, StorageLost, StorageUnavailable
from flows.cli_archives import reconcile, retire
from flows.cli_assess import assess
from flows.cli_build import build, gallery, plan, preview
from flows.cli_cubes import export, passport, pin, report
from flows.cli_learn import map_command, train
from flows.cli_masks import masks
from flows.cli_orders import orders
from flows.cli_prefect import account, demo, serve, tend
from flows.cli_samples import sample
from flows.cli_scenes import ingest, quarantine, scenes, simulate
from flows.cli_service import metrics, tend_runs
from flows.cli_subscriptions import subscribe, subscriptions, unsubscribe
from flows.console import as_json_option, emit
from flows.failed_work import WorkFailed
from products.errors import RequestError


class _Commands(click.Group):
    """Commands whose wrong requests end as one line on stderr and exit code 2, and lost services as one with exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (WorkFailed, IndexLost, StorageLost) as error:
            click.echo(f"neocube: {error}", err=True)
            sys.exit(1)
        except (RequestError, SettingsError, IndexUnavailable, StorageUnavailable) as error:
            click.echo(f"neocube: {error}", err=True)
            sys.exit(2)


@click.group(cls=_Commands)
@click.version_option(package_name="neocube")
def main() -> None:
    """Earth-observation archives to feature cubes, trained models and maps."""
    signal.signal(signal.SIGTERM, _end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal or pipe may not know every sign
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect reports its use over the network otherwise


@main.command()
@as_json_option
def init(as_json: bool) -> None:
    """Create or migrate the index and add the product definitions. Safe to repeat.

    Example: neocube init
    """
    from datacube_config.settings import get_settings
    from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index

    document = init_index(get_settings(), PRODUCT_DEFINITIONS)
    lines = (f"index {document['index']} ({document['driver']})", f"products {', '.join(document['products'])}")
    emit(document, as_json, lambda _: "\n".join(lines))


@main.command()
@as_json_option
@click.option("--shell", is_flag=True, help="Print shell lines that point ODC's own tools at the index.")
def settings(as_json: bool, shell: bool) -> None:
    """Print the settings in force and where each came from, secrets masked.

    Example: eval "$(neocube settings --shell)"
    """
    from datacube_config.settings import explain_settings, get_settings
    from datacube_config.shell import shell_lines

    if shell and as_json:
        raise RequestError("expected --shell or --json, and not both: a shell reads no JSON")
    in_force = get_settings()
    if shell:
        click.echo(shell_lines(in_force))
        return
    document = {each.name: {"value": each.value, "source": each.source} for each in explain_settings(in_force)}
    lines = [f"{name} = {each['value']}  ({each['source']})" for name, each in document.items()]
    emit(document, as_json, lambda _: "\n".join(lines))


@main.command()
@as_json_option
def status(as_json: bool) -> None:
    """Check the index, the storage, Prefect and the GPU, and tell every figure of the service as it is now.

    Example: neocube status --json
    """
    from datetime import UTC, datetime

    from datacube_config.settings import get_settings
    from flows.prefect_api import prefect_access
    from flows.steps.service.health import check_health
    from flows.steps.service.status_lines import status_lines

    document = check_health(get_settings(), prefect_access())
    emit(document, as_json, lambda it: "\n".join(status_lines(it, datetime.now(UTC))), failed=not document["ok"])


for command in (
    simulate, ingest, scenes, quarantine, reconcile, retire,
    plan, preview, build, gallery, pin, export, report, passport, sample, train, map_command, assess, masks,
    subscribe, subscriptions, unsubscribe, orders, demo, serve, account, tend, tend_runs, metrics,
):  # fmt: skip
    main.add_command(command)


def _end(_signal: int, _frame: FrameType | None) -> None:
    """End as an exception does, so that leases and locks are given back."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
