"""The area of applicability beside a model, and its layers of a map cell."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from flows.steps.learning.model_files import APPLICABILITY, ModelFiles
from products.errors import RequestError
from products.learning.applicability import Applicability, applicability_from_bytes
from products.learning.calibration import uncertainty
from products.learning.learned import NO_PROBABILITY
from products.learning.trust_layers import APPLICABLE, DISSIMILARITY, UNCERTAINTY

STRIP_PX = 128


def read_applicability(files: ModelFiles, said_digest: str) -> Applicability:
    """The area of applicability of a model; RequestError if it is not there or not what the card says."""
    path = files.path(APPLICABILITY)
    if not files.storage.exists(path):
        raise RequestError(f"the model has no {APPLICABILITY} at {path}: train it again")
    found = applicability_from_bytes(files.storage.read_bytes(path), path)
    if found.digest() != said_digest:
        raise RequestError(f"{path} is not the file that was published (digest differs): train the model again")
    return found


def trust_layers(
    area: Applicability, features: NDArray[np.float32], percent: NDArray[np.uint8], threads: int
) -> dict[str, NDArray[np.uint8] | NDArray[np.float32]]:
    """Of (feature, y, x) and percentages (1, class, y, x): dissimilarity float32, applicable 0 or 1 and uncertainty in percent, uint8; (1, y, x) each.

    Of a pixel with probabilities that lacks a feature the dissimilarity is NaN, and `applicable` is 0.
    """
    n_features, rows, columns = features.shape
    dissimilarity = np.empty((1, rows, columns), np.float32)

    def measure(start: int) -> None:
        strip = slice(start, start + STRIP_PX)
        dissimilarity[0, strip] = area.dissimilarity(features[:, strip].reshape(n_features, -1)).reshape(-1, columns)

    _in_strips(measure, rows, threads)
    is_mapped = percent[:, 0] != NO_PROBABILITY
    applicable = np.where(is_mapped, area.is_inside(dissimilarity), NO_PROBABILITY).astype(np.uint8)
    return {
        DISSIMILARITY: dissimilarity,
        APPLICABLE: applicable,
        UNCERTAINTY: _uncertainty(percent),
    }


def _uncertainty(percent: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Entropy in percent, 255 where there is no probability, (1, y, x)."""
    is_known = percent[0, 0] != NO_PROBABILITY
    shares = percent[0][:, is_known].T.astype(np.float64)
    found = np.full((1, *is_known.shape), NO_PROBABILITY, np.uint8)
    total = np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
    found[0, is_known] = np.rint(100 * uncertainty(shares / total)).astype(np.uint8)
    return found


def _in_strips(work: Callable[[int], None], rows: int, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, rows, STRIP_PX)))
