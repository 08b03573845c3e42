"""The commands `plan` and `build`."""

from typing import Any

import click

from flows.arguments import place_at
from flows.console import as_json_option, device_option, emit, output_path, progress_on_stderr, written

area_option = click.option("--area", required=True, help="A name, a path, or west,south,east,north.")
period_option = click.option(
    "--period", required=True, help="Whole periods of the recipe, such as 2020 or 2018-01-01/2020-12-31."
)
provisional_option = click.option("--provisional", is_flag=True, help="Also periods that have not settled yet.")


@click.command()
@as_json_option
@click.argument("recipe")
@area_option
@period_option
@device_option
@provisional_option
def plan(as_json: bool, recipe: str, area: str, period: str, device: Any, provisional: bool) -> None:  # noqa: ANN401
    """Show the cells that `build` would make, with scenes, bytes, memory, seconds and price. Nothing is written.

    Example: neocube plan mangrove_features --area demo --period 2020
    """
    from datacube_config.settings import get_settings
    from flows.plan_cells import plan as plan_cells

    settings = get_settings()
    made = plan_cells(recipe, area, period, device, provisional)
    emit(made.document(settings.price_per_core_hour, settings.price_currency), as_json, _planned)


@click.command()
@as_json_option
@click.argument("recipe")
@area_option
@period_option
@device_option
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, each with its own cell."
)
@click.option(
    "--dask",
    metavar="CLUSTER",
    default=None,
    help="Instead of --workers: a Dask scheduler, as tcp://HOST:8786, or a cluster to start: local, cuda, slurm, kubernetes, or a YAML file like those "
    "of deployments/clusters.",
)
@click.option(
    "--max-stale",
    type=click.FloatRange(0, 1),
    default=None,
    help="Build nothing where more than this share of the cells is stale; by default any may be.",
)
@provisional_option
def build(
    as_json: bool, recipe: str, area: str, period: str, device: Any, workers: int, dask: str | None, max_stale: float | None,  # noqa: ANN401
    provisional: bool,
) -> None:  # fmt: skip
    """Build the cells that are missing or stale and assemble the cube. Safe to repeat and to interrupt.

    Exit code 1 where a cell failed, or holds an asset that could not be read: it stays stale and is tried again next time.

    Example: neocube build mangrove_features --area demo --period 2020
    """
    from flows.failed_work import reported
    from flows.prefect_api import has_prefect_api

    asked: dict[str, Any] = {
        "recipe": recipe,
        "area": area,
        "period": period,
        "device": device,
        "workers": workers,
        "dask": dask,
        "provisional": provisional,
        "max_stale": max_stale,
    }
    if has_prefect_api():
        from flows.build_cube import build_cube

        report = reported(lambda: build_cube(**asked))
    else:
        from flows.build_here import build as build_here

        with progress_on_stderr(f"building {recipe}") as tell:
            report = build_here(**asked, progress=lambda done, of: tell(f"{done} of {of} cells"))
    emit(report, as_json, _built, failed=bool(report["failed"] or report["unread"]))


@click.command()
@as_json_option
@click.argument("recipe")
@click.option("--area", help="A name, a path, or west,south,east,north.")
@click.option("--at", help="In its place LON,LAT in degrees: 256 pixels of the product a side around it.")
@click.option("--period", help="Such as 2020, 2020-03 or 2019-01-01/2020-12-31; by default the last twelve months.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True),
    default="preview.png",
    show_default=True,
    help="The PNG to write.",
)
def preview(as_json: bool, recipe: str, area: str | None, at: str | None, period: str | None, out: str) -> None:
    """Look at few clear passes before anything is ordered, within a minute: one picture, and the observations by fate.

    Bands are read through the overviews of their files, onto at most 256 pixels a side; masks and fates are those of a build.

    Example: neocube preview mangrove_features --area demo --period 2020 --out var/preview.png
    """
    from datetime import UTC, datetime, timedelta

    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.preview_here import preview_with
    from flows.steps.areas import find_area
    from products.errors import RequestError
    from products.period import Period, parse_period
    from products.preview import area_around
    from products.registry import scene_recipe

    if (area is None) == (at is None):
        raise RequestError("expected --area or --at, and not both")
    wanted, settings, now = scene_recipe(recipe), get_settings(), datetime.now(UTC)
    ground = find_area(area) if area else area_around(wanted, *place_at(str(at)))
    asked = parse_period(period) if period else Period(now - timedelta(days=365), now)
    path = output_path(out)
    with open_index(settings) as index, progress_on_stderr(f"looking at {ground.name}"):
        found = preview_with(index, settings, wanted, ground, asked)
    written(path, found.png)
    emit({"png": str(path.absolute()), **found.document}, as_json, _looked)


@click.command()
@as_json_option
@click.argument("recipe")
@area_option
@click.option("--period", default=None, help="Such as 2020; by default the cube's last one.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True),
    default="gallery.png",
    show_default=True,
    help="The PNG to write.",
)
@click.option(
    "--tides",
    type=click.Path(dir_okay=False, writable=True),
    help="A second PNG: the tides of the passes, and what they saw of the tide range. Of cells built with a tide model.",
)
def gallery(as_json: bool, recipe: str, area: str, period: str | None, out: str, tides: str | None) -> None:
    """Draw every feature of a recipe's cube, side by side, into one PNG; of passes their colours and causes, of a series maps and courses.

    Example: neocube gallery mangrove_features --area demo --out features.png
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.areas import find_area
    from flows.steps.cubes.cell_tides import told_tides
    from flows.steps.cubes.open_cube import find_cube, known_recipe, product_named, stored_snapshot, within
    from flows.steps.pictures.cube import sites_for_picture
    from flows.steps.pictures.gallery import TILE_PX, picture_of_kind
    from flows.steps.pictures.tides import tides_picture
    from flows.steps.storage import s3_options
    from products.period import parse_period

    settings, name, ground = get_settings(), product_named(recipe), find_area(area)
    path, tides_path = output_path(out), output_path(tides) if tides else None
    with open_index(settings) as index:
        pointer = find_cube(index, name, ground.name)
        url, options = pointer.snapshot_url, s3_options(settings)
        cube, sites = stored_snapshot(url, options), sites_for_picture(url, options, TILE_PX)
        if period:
            asked, known = parse_period(period), known_recipe(recipe, pointer.version)
            cube, *sites = (within(each, asked, known) for each in (cube, *sites))
        told = told_tides(index, cube) if tides else []
    picture, held = picture_of_kind(*sites)
    written(path, picture)
    if tides_path:
        written(tides_path, tides_picture(told))
        held["tides of cells"] = len(told)
    emit({"png": out, **held}, as_json, _drawn)


def _drawn(document: dict[str, Any]) -> str:
    return ", ".join(f"{count} {what}" for what, count in document.items() if what != "png") + f" in {document['png']}"


def _looked(document: dict[str, Any]) -> str:
    fates = ", ".join(f"{n} {name}" for name, n in document["counts"].items() if n)
    unread = [f"unread {each['item_id']} {each['band']}: {each['cause']}" for each in document["failed"]]
    passes, scenes = document["passes"], document["scenes"]
    read = f"{passes['read']} of {passes['indexed']} passes ({scenes['read']} of {scenes['indexed']} scenes) in {document['seconds']} s"
    return "\n".join(
        [*unread, f"{read}, pixels of {document['resolution_m']:g} m", f"observations: {fates}", document["png"]]
    )


def _planned(document: dict[str, Any]) -> str:
    from flows.html_display import size

    states = [cell["state"] for cell in document["cells"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("fresh", "stale", "missing"))
    price = document["price"]
    lines = [
        f"{cell['state']:8} {cell['period']}  {cell['tile']}  {cell['scenes']} scenes" for cell in document["cells"]
    ]
    lines += [f"note: {note}" for note in document["notes"]]
    lines.append(f"{len(states)} cells: {counts}")
    sizes = f"{size(document['bytes_read'])} decoded, {size(document['host_bytes'])} of memory"
    cost = f"about {document['seconds']} s, {price['amount']} {price['currency']}"
    lines.append(f"{document['scenes']} scenes to read, {sizes}, {cost}")
    on_device = f", {size(document['device_bytes'])} of its memory" if document["device_bytes"] else ""
    lines.append(f"on the {document['device']} ({document['device_reason']}){on_device}")
    return "\n".join(lines)


def _built(report: dict[str, Any]) -> str:
    failures = [f"failed {each['cell']}: {each['cause']}" for each in report["failed"]]
    unread = [f"unread in {each['cell']}: {each.get('cause')}" for each in report["unread"]]
    notes = [f"note: {note}" for note in report["notes"]]
    restored = f" ({report['restored']} of them restored as they were)" if report["restored"] else ""
    counts = f"{report['built']} cells built{restored}, {report['fresh']} fresh, {len(failures)} failed in {report['seconds']} s"
    counts += f" on the {report['device']} ({report['device_reason']})"
    return "\n".join([*failures, *unread, *notes, counts, f"cube {report['cube']}"])
