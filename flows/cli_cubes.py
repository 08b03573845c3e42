"""The commands `pin`, `export`, `report` and `passport`: what is done with a cube that is built."""

from typing import Any, Literal

import click

from flows.arguments import place_at
from flows.console import as_json_option, emit, output_path, progress_on_stderr, written
from products.errors import RequestError

cube_area_option = click.option("--area", help="With a product's name: a name, a path, or west,south,east,north.")
crs_option = click.option("--crs", help="Which zone, where the area has several, such as EPSG:32647.")


@click.command()
@as_json_option
@click.argument("cube")
@click.option("--tag", required=True, help="Letters, digits, dots, dashes, underscores; used once for a product.")
@cube_area_option
@crs_option
def pin(as_json: bool, cube: str, tag: str, area: str | None, crs: str | None) -> None:
    """Keep CUBE as it is now, for ever and citable: a snapshot with its STAC item and credit lines.

    CUBE is a recipe, its cube over --area; or the path or URL of a snapshot, as `build` prints it. No pixel is copied in a folder store: the
    snapshot links the same files, and outlives rebuilding, retiring and sweeping.

    Example: neocube pin mangrove_features --area demo --tag paper-1
    """
    from datetime import UTC, datetime

    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.cubes.open_cube import snapshot_asked_for
    from flows.steps.cubes.pinning import pin_snapshot
    from flows.steps.storage import open_storage

    settings = get_settings()
    with open_index(settings) as index:
        url = snapshot_asked_for(index, cube, area, crs)
        document = pin_snapshot(index, open_storage(settings), url, tag, datetime.now(UTC))
    emit(document, as_json, _pinned)


@click.command()
@as_json_option
@click.argument("cube", metavar="CUBE|MODEL")
@click.argument("directory")
@click.option(
    "--format", "form", type=click.Choice(["cog", "netcdf", "zarr", "onnx"]), default="cog", show_default=True
)
@click.option(
    "--overwrite", is_flag=True, help="Into a folder that is not empty: files of the same names are replaced."
)
@cube_area_option
@crs_option
def export(
    as_json: bool,
    cube: str,
    directory: str,
    form: Literal["cog", "netcdf", "zarr", "onnx"],
    overwrite: bool,
    area: str | None,
    crs: str | None,
) -> None:
    """Write CUBE as files into DIRECTORY: a GeoTIFF a period, one NetCDF file, or a copy of the Zarr store; or MODEL as an ONNX graph.

    CUBE is a recipe, its cube over --area; or the path or URL of a snapshot, pinned or not. MODEL is the name or the id of a
    trained model; its graph is compared with it before it is handed out. A cube of sites far apart, which fill less than half of more
    than 16384 x 16384 pixels, is written in pieces: PRODUCT_AREA_2020_1.tif, PRODUCT_AREA_2020_2.tif, …

    Example: neocube export mangrove_features var/files --area demo --format cog

    Example: neocube export mangrove_extent var/model --format onnx
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.cubes.exporting import export_cube
    from flows.steps.cubes.open_cube import snapshot_asked_for
    from flows.steps.storage import s3_options

    settings = get_settings()
    if form == "onnx":
        emit(_exported_model(cube, directory, overwrite, area or crs), as_json, _graph)
        return
    with open_index(settings) as index:
        url = snapshot_asked_for(index, cube, area, crs)
    with progress_on_stderr(f"exporting {cube}"):
        document = export_cube(url, s3_options(settings), directory, form, overwrite)
    emit(document, as_json, lambda made: "\n".join(made["files"]))


def _exported_model(model: str, directory: str, overwrite: bool, place: str | None) -> dict[str, Any]:
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.learning.model_export import export_model
    from flows.steps.storage import open_storage

    if place:
        raise RequestError(f"--format onnx writes a model, which has no area: leave out {place}")
    settings = get_settings()
    with open_index(settings) as index, progress_on_stderr(f"exporting {model}"):
        return export_model(index, open_storage(settings), model, directory, overwrite)


def _graph(document: dict[str, Any]) -> str:
    apart = f"as the model within {document['largest_difference']:.2g} (at most {document['tolerance']:g})"
    return "\n".join([*document["files"], apart])


def _pinned(document: dict[str, Any]) -> str:
    done = "pinned" if document["new"] else "pinned already"
    credit = [f"credit: {line}" for line in document["credits"]]
    return "\n".join([*credit, f"{done} as {document['tag']}: {document['snapshot']}"])


@click.command()
@as_json_option
@click.argument("cube")
@click.argument("page", type=click.Path(dir_okay=False, writable=True))
@cube_area_option
@crs_option
def report(as_json: bool, cube: str, page: str, area: str | None, crs: str | None) -> None:
    """Write PAGE, an HTML file about how CUBE was made: seconds by stage, read failures, what became of the observations, pictures.

    CUBE is a recipe, its cube over --area; or the path or URL of a snapshot, pinned or not.

    Example: neocube report mangrove_features var/report.html --area demo
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.cubes.open_cube import snapshot_asked_for
    from flows.steps.pictures.cube_report import Rates, cube_report
    from flows.steps.storage import s3_options

    settings, path = get_settings(), output_path(page)
    with open_index(settings) as index:
        rates = Rates(settings.price_per_core_hour, settings.price_currency, settings.core_power_w)
        text = cube_report(index, snapshot_asked_for(index, cube, area, crs), s3_options(settings), rates)
    written(path, text.encode())
    emit({"report": str(path.absolute())}, as_json, lambda it: f"report {it['report']}")


@click.command()
@as_json_option
@click.argument("product")
@click.option("--at", required=True, help="LON,LAT in degrees.")
@click.option("--period", required=True, help="One that holds one cell, such as 2020.")
def passport(as_json: bool, product: str, at: str, period: str) -> None:
    """Show what a pixel of PRODUCT is made of: its cell, which scenes were used or why not, recipe, model and code.

    PRODUCT is a recipe, by its name or path, or a map. The masks of the scenes are read again, at this pixel only.

    Example: neocube passport mangrove_features --at 100.845,4.95 --period 2020
    """
    from flows.from_python import passport as find_passport

    emit(find_passport(product, place_at(at), period).document, as_json, _made_of)


def _made_of(document: dict[str, Any]) -> str:
    cell, recipe, model = document["cell"], document["recipe"], document["model"]
    sensors = (document["quality"] or {}).get("sensors", {})
    pairs = (document["quality"] or {}).get("same_day_pairs", [])
    return "\n".join(
        [
            f"cell {cell['id']}: {cell['product']} {cell['period']} {cell['tile']}",
            f"recipe {recipe['name']} version {recipe['version']}, {recipe['digest'][:12]}",
            *([f"model {model['id']}"] if model else []),
            "here: " + ", ".join(f"{n} {name}" for name, n in document["counts"].items() if n),
            "used in the cell: " + ", ".join(f"{each['share']:.1%} {name}" for name, each in sensors.items()),
            *(
                f"{' - '.join(pair['sensors'])} {pair['band']}: rmsd {pair['before']['rmsd']:.4f}, "
                f"harmonised {pair['after']['rmsd']:.4f} (n {pair['n']})"
                for pair in pairs
            ),
            *(
                f"{each['datetime'][:10]}  {each['fate'] or 'unknown':<16}  {each['item_id']}"
                for each in document["scenes"]
            ),
        ]
    )
