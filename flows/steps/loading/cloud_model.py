"""OmniCloudMask through its package, which the extra `deep` brings: whether it can run, and the classes it gives a picture."""

import csv
import json
import warnings
from hashlib import file_digest
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.errors import RequestError
from products.identity import SourceKey
from products.pixel.model_mask import CONTEXT_PX
from products.scene_recipe import SceneRecipe

PACKAGE = "omnicloudmask"
OWN = "neocube"  # in the metadata of weights that are not the published ones: what they are
VERSION = 4
LEAST_WEIGHT_BYTES = 2**20  # the package takes a smaller file for a download that broke off
_PREDICTING = Lock()  # a picture has all cores and the memory of one


def require_models(recipe: SceneRecipe, weights: Path | str | None) -> None:
    """RequestError unless the models that mask its sources can run, with the weights in a folder, or those that the package has or can download."""
    for version in sorted({source.clear.model_version for source in recipe.sources if source.clear.model_version}):
        require_model(version, weights)


def require_model(version: int, weights: Path | str | None) -> None:
    """RequestError unless one version of the model can run, with the weights in a folder, or those that the package has or can download."""
    if find_spec(PACKAGE) is None:
        raise RequestError(f"masks by {PACKAGE} need its package: pip install 'neocube[deep]', or leave `model` out")
    downloads = import_module(f"{PACKAGE}.download_models")
    if weights is None:
        _download(downloads, version)
        return
    files = [Path(weights) / name for name in network_files(version)]
    if lacking := [path.name for path in files if not path.is_file() or path.stat().st_size <= LEAST_WEIGHT_BYTES]:
        raise RequestError(
            f"NEOCUBE_MASK_WEIGHTS: expected the weights of {PACKAGE} {version} in {weights}, {lacking[0]} is not there; "
            "copy them from a machine where the package has downloaded them"
        )


def weight_keys(recipe: SceneRecipe, weights: Path | str | None) -> tuple[SourceKey, ...]:
    """What the masks of a cell are made of beside the version that its recipe names: weights in a folder which say that they are not the published ones."""
    if weights is None or find_spec(PACKAGE) is None:
        return ()
    versions = sorted({source.clear.model_version for source in recipe.sources if source.clear.model_version})
    files = [Path(weights) / name for version in versions for name in network_files(version)]
    found = [(path.name, _own_digest(path)) for path in files if path.is_file()]
    return tuple(SourceKey(name, digest) for name, digest in found if digest)


def _own_digest(path: Path) -> str:
    """SHA-256 of a file of weights that is not a published one, else nothing.

    Read anew each time: a file that is written twice within a tick of the file system's clock keeps its time and its size.
    """
    with path.open("rb") as file:
        if path.suffix != ".safetensors":
            return ""
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        if OWN not in header.get("__metadata__", {}):
            return ""
        file.seek(0)
        return file_digest(file, "sha256").hexdigest()


def network_files(version: int) -> dict[str, str]:
    """The names of the files of a version of the weights, and of each its encoder, as the package says."""
    index = import_module(f"{PACKAGE}.download_models").model_index_path
    with index.open() as file:
        rows = [row for row in csv.DictReader(file) if float(row["version"]) == version]
    return {row["file_name"]: row["timm_model_name"] for row in rows}


def classes_of(picture: NDArray[Any], nodata: int, version: int, weights: str | None) -> NDArray[np.uint8]:
    """uint8 (y, x): the class of each pixel of a picture (red, green, nir; y, x) in any linear unit; 0 where it has no data."""
    package = import_module(PACKAGE)
    side = min(picture.shape[1:])
    with _PREDICTING:
        warnings.filterwarnings("ignore", "Significant no-data areas", UserWarning)
        found = package.predict_from_array(
            picture.astype(np.float32),
            patch_size=side,
            patch_overlap=min(2 * CONTEXT_PX, side // 2),
            no_data_value=nodata,
            model_version=float(version),
            destination_model_dir=weights,
        )
    return np.asarray(found[0], np.uint8)


def _download(downloads: Any, version: int) -> None:  # noqa: ANN401
    try:
        downloads.get_models(model_version=float(version))
    except Exception as error:  # of whichever library it downloads with
        raise RequestError(
            f"the weights of {PACKAGE} {version} cannot be downloaded ({type(error).__name__}: {str(error)[:200]}): copy them into a folder "
            "and name it in NEOCUBE_MASK_WEIGHTS"
        ) from error
