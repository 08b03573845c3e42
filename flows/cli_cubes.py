"""The commands `pin` and `export`: what is done with a cube that is built."""

from typing import Any, Literal

import click

from flows.console import as_json_option, emit, progress_on_stderr

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
@click.argument("cube")
@click.argument("directory")
@click.option("--format", "form", type=click.Choice(["cog", "netcdf", "zarr"]), default="cog", show_default=True)
@click.option(
    "--overwrite", is_flag=True, help="Into a folder that is not empty: files of the same names are replaced."
)
@cube_area_option
@crs_option
def export(
    as_json: bool,
    cube: str,
    directory: str,
    form: Literal["cog", "netcdf", "zarr"],
    overwrite: bool,
    area: str | None,
    crs: str | None,
) -> None:
    """Write CUBE as files into DIRECTORY: a GeoTIFF a period, one NetCDF file, or a copy of the Zarr store.

    CUBE is a recipe, its cube over --area; or the path or URL of a snapshot, pinned or not.

    Example: neocube export mangrove_features var/files --area demo --format cog
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.cubes.exporting import export_cube
    from flows.steps.cubes.open_cube import snapshot_asked_for
    from flows.steps.storage import s3_options

    settings = get_settings()
    with open_index(settings) as index:
        url = snapshot_asked_for(index, cube, area, crs)
    with progress_on_stderr(f"exporting {cube}"):
        document = export_cube(url, s3_options(settings), directory, form, overwrite)
    emit(document, as_json, lambda made: "\n".join(made["files"]))


def _pinned(document: dict[str, Any]) -> str:
    done = "pinned" if document["new"] else "pinned already"
    credit = [f"credit: {line}" for line in document["credits"]]
    return "\n".join([*credit, f"{done} as {document['tag']}: {document['snapshot']}"])
