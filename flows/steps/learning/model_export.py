"""A model as a file for other runtimes: an ONNX graph that was seen to answer as the model does."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from datacube_config.connection import Index
from flows.steps.cubes.exporting import export_folder, moved_into, writing_into
from flows.steps.learning.model_files import STAC_ITEM
from flows.steps.learning.models import PublishedEncoder, Transform, find_learned
from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.encoder_file import Encoder
from flows.steps.networks.network import Network
from flows.steps.networks.temporal_network import TemporalNetwork
from flows.steps.storage import Storage
from products.errors import RequestError
from products.learning.learned import Float32, Float64, Learned, PixelModel
from products.learning.onnx_model import ONNX_TOLERANCE, onnx_graph, trial_pixels

TRIAL_PIXELS = 2000
BESIDE = ("card.json", "card.md", STAC_ITEM)


def export_model(
    index: Index, storage: Storage, name_or_id: str, folder: str, overwrite: bool = False
) -> dict[str, Any]:
    """Write `<model>.onnx` with card and STAC item into a folder, once it answers as the model does; RequestError for what has no graph."""
    require_onnx("onnx", "onnxruntime")
    target = export_folder(folder, overwrite)
    model = find_learned(index, storage, name_or_id)
    if isinstance(model, Transform):
        raise RequestError(f"{name_or_id} is a transform: there is no ONNX graph for it")
    content, apart, tolerance = checked_graph(model.encoder if isinstance(model, PublishedEncoder) else model.learned)
    with writing_into(target) as partial:
        (partial / f"{model.recipe.name}.onnx").write_bytes(content)
        for name in BESIDE:
            if storage.exists(path := model.files.path(name)):
                (partial / name).write_bytes(storage.read_bytes(path))
        files = [moved_into(path, target / path.name) for path in sorted(partial.iterdir())]
    said = {"model": str(model.id), "largest_difference": apart, "tolerance": tolerance}
    return {"files": [str(path) for path in files], "format": "onnx", **said}


def checked_graph(learned: Learned | Encoder) -> tuple[bytes, float, float]:
    """The ONNX graph of what was learned, how far its answers are from the model's, and how far they may be."""
    if isinstance(learned, Network | ChipNetwork | TemporalNetwork | Encoder):
        require_deep()
        require_onnx("onnxscript")
        from flows.steps.networks.onnx_network import NETWORK_TOLERANCE, network_difference, network_graph

        content = network_graph(learned)
        return content, network_difference(learned, content), NETWORK_TOLERANCE
    if not isinstance(learned, PixelModel):
        raise TypeError(f"there is no ONNX graph for {learned.describe()}")
    content = onnx_graph(learned)
    return content, largest_difference(learned, content), ONNX_TOLERANCE


def require_onnx(*packages: str) -> None:
    """RequestError unless packages of the extra `export` are there."""
    if lacking := [package for package in packages if find_spec(package) is None]:
        raise RequestError(f"the format onnx needs {' and '.join(lacking)}: install neocube[export]")


def largest_difference(model: PixelModel, content: bytes) -> float:
    """How far a share of the graph is from the model's, at most, on pixels that try each branch; RuntimeError beyond the tolerance."""
    pixels = trial_pixels(model, TRIAL_PIXELS, seed=0)
    shares, codes = answers(content, pixels)
    expected, complete = model.probabilities(pixels).T.astype(np.float64), np.isfinite(pixels).all(axis=0)
    if (np.isnan(shares).any(axis=1) == complete).any() or (codes[~complete] != 0).any():
        raise RuntimeError("the ONNX graph takes pixels without a feature for others: this is a bug in neocube")
    apart = float(np.abs(shares - expected)[complete].max())
    ordered = np.sort(expected, axis=1)
    is_clear = complete & (ordered[:, -1] - ordered[:, -2] > 2 * ONNX_TOLERANCE)
    n_other = int((codes != model.classify(pixels)[0])[is_clear].sum())
    if apart > ONNX_TOLERANCE or n_other:
        raise RuntimeError(
            f"the ONNX graph differs from the model by {apart:g} in a share, and in {n_other} of {TRIAL_PIXELS} classes: "
            f"expected at most {ONNX_TOLERANCE:g} and none; it is not handed out"
        )
    return apart


def answers(content: bytes, pixels: Float32) -> tuple[Float64, Float64]:
    """Shares (n, class) and codes (n,) that ONNX Runtime gives for pixels (feature, n), on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    shares, codes = session.run(["probabilities", "code"], {"features": np.ascontiguousarray(pixels.T)})
    return shares.astype(np.float64), codes
