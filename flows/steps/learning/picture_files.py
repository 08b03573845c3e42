"""Pictures with labelled lines, as plain files: a folder of images and one of labels."""

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Proj
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from scipy.stats import rankdata

from flows.steps.archives.raster_drivers import require_self_contained
from products.errors import RequestError
from products.learning.line_recipe import NAME, LinesSpec

Floats = NDArray[np.float32]
DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?!\d)")


@dataclass(frozen=True, slots=True)
class Picture:
    """Bands (band, y, x), NaN where missing, and where they lie (`crs` None: nowhere)."""

    name: str
    bands: Floats
    affine: Affine
    crs: CRS | None

    @property
    def date(self) -> str | None:
        """The first date in its name, YYYY-MM-DD; None without one."""
        found = DATE.search(self.name)
        return "-".join(found.groups()) if found else None

    @property
    def pixel_m(self) -> float | None:
        """The side of a pixel on the ground at the centre of the picture, metres; None where it lies nowhere or its coordinates are angles."""
        if self.crs is None or not self.crs.is_projected:
            return None
        rows, columns = self.bands.shape[1:]
        projection, unit_m = Proj(self.crs), self.crs.axis_info[0].unit_conversion_factor
        x, y = self.affine @ (columns / 2, rows / 2)
        place = projection(x, y, inverse=True)
        return float((abs(self.affine.determinant) / projection.get_factors(*place).areal_scale) ** 0.5 * unit_m)


@dataclass(frozen=True, slots=True)
class LinedPicture(Picture):
    """A picture with its group, and which of its pixels are a line (y, x)."""

    group: str
    is_line: NDArray[np.bool_]


def read_images(folder: Path, spec: LinesSpec) -> list[Picture]:
    """All pictures of a folder by name, whether or not they have labels; RequestError where there is none."""
    images = named_files(folder, spec.image)
    if not images:
        raise RequestError(f"no file like {spec.image} lies in {folder}")
    return [_picture(name, images[name], spec) for name in sorted(images)]


def read_pictures(folder: Path, spec: LinesSpec) -> list[LinedPicture]:
    """All pictures of a folder that have a label, by name; RequestError where there is none, a file lacks its pair, or two do not fit."""
    images, labels = (named_files(folder, place) for place in (spec.image, spec.label))
    for name in images.keys() ^ labels.keys():
        lacking = spec.label if name in images else spec.image
        raise RequestError(f"the picture {name} has no {lacking.replace(NAME, name)} in {folder}: expected a pair")
    if not images:
        raise RequestError(f"no file like {spec.image} lies in {folder}")
    return [_read(name, images[name], labels[name], spec) for name in sorted(images)]


def pictures_digest(folder: Path, places: Sequence[str]) -> str:
    """SHA-256 of the names and contents of the files of all kinds."""
    parts = [
        (place, name, hashlib.sha256(path.read_bytes()).hexdigest())
        for place in places
        for name, path in sorted(named_files(folder, place).items())
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def named_files(folder: Path, place: str) -> dict[str, Path]:
    """The files at a place like `images/{name}.png`, by name; the one without a name where the place has none."""
    if NAME not in place:
        return {"": folder / place} if (folder / place).is_file() else {}
    before, after = Path(place).name.split(NAME)
    found = [path for path in (folder / place).parent.glob("*") if path.is_file()]
    kept = [path for path in found if path.name.startswith(before) and path.name.endswith(after)]
    return {path.name.removeprefix(before).removesuffix(after): path for path in kept}


def _picture(name: str, image: Path, spec: LinesSpec) -> Picture:
    bands, affine, crs = read_bands(image, spec.bands)
    return Picture(name, ranked(bands) if spec.scale == "rank" else bands, affine, crs)


def _read(name: str, image: Path, label: Path, spec: LinesSpec) -> LinedPicture:
    picture = _picture(name, image, spec)
    (rows, columns), (codes, _, _) = picture.bands.shape[1:], read_bands(label, (1,))
    if codes.shape[1:] != (rows, columns):
        raise RequestError(
            f"the label {label} has {codes.shape[1]} x {codes.shape[2]} pixels: expected those of its image, {rows} x {columns}"
        )
    is_line = np.isin(codes[0], spec.values)
    if not is_line.any():
        raise RequestError(f"no pixel of {label} has one of the values {list(spec.values)}: expected a line in it")
    return LinedPicture(name, picture.bands, picture.affine, picture.crs, spec.group_of(name), is_line)


def read_bands(path: Path, numbers: Sequence[int]) -> tuple[Floats, Affine, CRS | None]:
    """Bands (band, y, x) of a raster by their numbers, NaN where masked, with its transform and CRS."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as raster:
                require_self_contained(raster)
                lacking = [number for number in numbers if number > raster.count]
                if lacking:
                    raise RequestError(f"{path} has {raster.count} bands: expected a band {lacking[0]}")
                values = raster.read(list(numbers), masked=True).astype(np.float32).filled(np.nan)
                return values, raster.transform, CRS.from_user_input(raster.crs) if raster.crs else None
    except RasterioIOError as error:
        raise RequestError(f"{path} is no readable picture: {' '.join(str(error).split())}") from error


def ranked(bands: Floats) -> Floats:
    """Each band by the ranks of its values, (band, y, x) float32 in 0 to 1, equal ones alike: histogram equalisation, so that haze and gain do not matter."""
    found = np.full(bands.shape, np.nan, np.float32)
    for number, band in enumerate(bands):
        known = np.isfinite(band)
        ranks = rankdata(band[known])
        found[number, known] = (ranks - 0.5) / max(ranks.size, 1)
    return found
