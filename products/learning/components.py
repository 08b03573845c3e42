"""Principal components as plain arrays: fitted by scikit-learn or cuML, applied in one order of additions anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from products.devices import Backend
from products.errors import RequestError
from products.learning.array_file import arrays_digest, packed, unpacked
from products.learning.pca_recipe import PcaRecipe
from products.learning.samples import Samples

FORMAT = "neocube-components-1"
PCA_VERSION = "pca-1"
_ARRAYS = ("mean", "scale", "weights")
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Components:
    """`weights` (component, feature) of `(value - mean) / scale`, with `mean` and `scale` (feature,)."""

    feature_names: tuple[str, ...]
    mean: Float64
    scale: Float64
    weights: Float64

    @property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in _ARRAYS}

    def digest(self) -> str:
        """SHA-256 of names and arrays."""
        return arrays_digest([FORMAT, self.feature_names], self._arrays)

    def to_bytes(self) -> bytes:
        """The components as bytes that their content alone decides."""
        return packed(FORMAT, {"feature_names": self.feature_names}, self._arrays)

    def transform(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(component, n) of (feature, n), both float32; NaN where a feature is missing."""
        if features.shape[0] != len(self.feature_names):
            raise RequestError(f"the transform needs {len(self.feature_names)} features, got {features.shape[0]}")
        found = np.empty((self.weights.shape[0], features.shape[1]), np.float32)
        _transform(np.ascontiguousarray(features, dtype=np.float32), self.mean, self.scale, self.weights, found)
        return found


def components_from_bytes(content: bytes, origin: str) -> Components:
    """The components of a model file, checked; RequestError for anything else."""
    found = Components(**unpacked(content, FORMAT, ("feature_names",), _ARRAYS, origin))
    n = len(found.feature_names)
    sound = (
        all(getattr(found, name).dtype.str == "<f8" for name in _ARRAYS)
        and found.mean.shape == found.scale.shape == (n,)
        and found.weights.ndim == 2
        and found.weights.shape[1] == n
        and all(bool(np.isfinite(getattr(found, name)).all()) for name in _ARRAYS)
        and bool((found.scale > 0).all())
    )
    if not sound:
        raise RequestError(f"the model file {origin} is damaged, it is no sound {FORMAT}: train the model again")
    return found


def fit_components(backend: Backend, samples: Samples, recipe: PcaRecipe) -> tuple[Components, dict[str, Any]]:
    """The components of the samples, and what they explain; the largest weight of each is positive.

    A feature that never changes is not divided by its deviation, 0.
    """
    spec, values = recipe.pca, samples.features.astype(np.float64)
    _check_samples(values, samples.feature_names, spec.components)
    mean = values.mean(axis=0)
    deviation = values.std(axis=0) if spec.standardise else np.ones_like(mean)
    scale = np.where(deviation > 0, deviation, 1.0)
    estimator = backend.pca()
    estimator.fit(backend.upload((values - mean) / scale))
    fitted = backend.as_sklearn(estimator)
    weights = np.asarray(fitted.components_, np.float64)[: spec.components]
    largest = np.take_along_axis(weights, np.abs(weights).argmax(axis=1, keepdims=True), axis=1)
    weights = weights * np.sign(largest)
    variance = np.asarray(fitted.explained_variance_, np.float64)[: spec.components]
    ratio = np.asarray(fitted.explained_variance_ratio_, np.float64)[: spec.components]
    metrics = _metrics(recipe.component_names, samples, ratio, weights)
    if spec.whiten:
        weights = weights / np.sqrt(_positive(variance))[:, None]
    return Components(samples.feature_names, mean, scale, weights), metrics


def _check_samples(values: Float64, feature_names: Sequence[str], n_components: int) -> None:
    n_pixels, n_features = values.shape
    if n_components > n_features:
        raise RequestError(
            f"pca asks for {n_components} components of {n_features} features: expected at most {n_features}"
        )
    if n_pixels <= n_features:
        raise RequestError(
            f"{n_pixels} pixels have all of {', '.join(feature_names)}: expected more than {n_features}, the number of features; "
            "raise max_pixels, or learn from a wider area or fewer features"
        )
    if not (values != values[0]).any():
        raise RequestError(
            f"no feature of {', '.join(feature_names)} changes from pixel to pixel: there is no component"
        )


def _positive(variance: Float64) -> Float64:
    """The variances; RequestError for a component that whitening would divide by nothing."""
    flat = np.flatnonzero(variance <= 1e-12 * variance[0])
    if flat.size:
        raise RequestError(
            f"component_{flat[0] + 1} has no variance, so it cannot be whitened: expected at most {flat[0]} components"
        )
    return variance


def _metrics(names: Sequence[str], samples: Samples, ratio: Float64, weights: Float64) -> dict[str, Any]:
    return {
        "pixels": len(samples.table),
        "explained_variance": {name: round(float(share), 6) for name, share in zip(names, ratio, strict=True)},
        "explained_in_all": round(float(ratio.sum()), 6),
        "weights": {
            name: {feature: round(float(w), 6) for feature, w in zip(samples.feature_names, row, strict=True)}
            for name, row in zip(names, weights, strict=True)
        },
    }


@numba.njit(nogil=True, cache=True)
def _transform(features, mean, scale, weights, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n_features, n = features.shape
    value = np.empty(n_features, np.float64)
    for i in range(n):
        complete = True
        for f in range(n_features):
            complete &= np.isfinite(features[f, i])
            value[f] = (features[f, i] - mean[f]) / scale[f]
        for c in range(weights.shape[0]):
            total = 0.0
            for f in range(n_features):
                total += weights[c, f] * value[f]
            found[c, i] = total if complete else np.nan
