"""A cube as files in a folder: cloud-optimised GeoTIFFs, one NetCDF-4 file, or a plain copy of the Zarr store."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import xarray

from datacube_config.errors import StorageLost
from flows.steps.cubes.cube_cogs import write_cogs
from flows.steps.cubes.cube_netcdf import write_netcdf
from flows.steps.cubes.cube_pieces import open_pieces, piece_tails
from flows.steps.storage import storage_at
from products.errors import RequestError

ExportFormat = Literal["cog", "netcdf", "zarr"]
Writer = Callable[[xarray.Dataset, Path, str, str], None]
PARTIAL: Final = ".partial-"
WRITERS: Final[Mapping[str, Writer]] = {"cog": write_cogs, "netcdf": write_netcdf}


def export_cube(
    url: str, options: Mapping[str, Any], folder: str, form: ExportFormat, overwrite: bool = False
) -> dict[str, Any]:
    """Write a snapshot into a folder; RequestError if that is not empty, unless `overwrite`, which replaces files of the same names only.

    A large one is COGs or NetCDF files of its pieces. What is there is whole: files are written beside and moved in at the end.
    Raises StorageLost if the place gives out.
    """
    target = export_folder(folder, overwrite)
    pieces = open_pieces(url, options)
    name = "_".join(str(pieces[0].attrs[f"neocube:{said}"]) for said in ("product", "area")).replace("/", "_")
    with writing_into(target) as partial:
        if form == "zarr":
            _copy_store(url, options, partial / f"{name}.zarr")
        else:
            for piece, tail in zip(pieces, piece_tails(pieces), strict=True):
                WRITERS[form](piece, partial, name, tail)
        made = sorted(partial.iterdir())
        files = [moved_into(path, target / path.name) for path in made]
    return {"files": [str(path) for path in files], "format": form, "cube": url}


def export_folder(folder: str, overwrite: bool) -> Path:
    """The folder to export to, absolute; RequestError for one that is elsewhere, a file, or not empty and not to be overwritten."""
    if "://" in folder:
        raise RequestError(
            f"expected a folder of this machine to export to, got {folder}: copy the files there afterwards"
        )
    target = Path(folder).absolute()
    if target.exists() and not target.is_dir():
        raise RequestError(f"expected a folder to export to, {target} is a file")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise RequestError(f"{target} is not empty: expected an empty or new folder, or --overwrite to replace files")
    return target


@contextmanager
def writing_into(target: Path) -> Iterator[Path]:
    """A folder inside the target that is gone afterwards; RequestError if there can be none, StorageLost if it does not take all."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        partial = tempfile.TemporaryDirectory(prefix=PARTIAL, dir=target)
    except OSError as error:
        raise RequestError(f"cannot export to {target}: {error.strerror or error}: choose another folder") from error
    try:
        with partial as folder:
            yield Path(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageLost(f"cannot export to {target}: {reason}: make room there, or choose another folder") from error


def moved_into(made: Path, place: Path) -> Path:
    """The place of a file or folder that was moved there, over what lay there."""
    if place.is_dir():
        shutil.rmtree(place)
    return made.replace(place)


def _copy_store(url: str, options: Mapping[str, Any], target: Path) -> None:
    """Copies, not links: who has files may change them."""
    place = storage_at(url, options)
    if place.is_local:
        shutil.copytree(place.root, target)
        return
    root = place.root.removeprefix("s3://").rstrip("/")
    files = place.files(place.root)
    place.filesystem.get(files, [str(target) + each.removeprefix(root) for each in files])
