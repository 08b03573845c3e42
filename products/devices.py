"""The one place that chooses cpu or gpu, and that names cupy, cudf, cuml and torch's CUDA."""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pandas as pd

from products.errors import RequestError

Device = Literal["cpu", "gpu"]
DeviceChoice = Literal["auto", "cpu", "gpu"]
Table = pd.DataFrame
LEARNING = ("cupy", "cudf", "cuml")
FEATURES = ("cupy",)
NETWORKS = ("torch",)


@dataclass(frozen=True, slots=True)
class Backend:
    """Where arrays, tables and estimators live; `reason` says why this device was taken.

    `libraries` are those that work on the device: what none of them is for stays on the host.
    """

    device: Device
    reason: str
    libraries: tuple[str, ...] = LEARNING

    @property
    def xp(self) -> ModuleType:
        """numpy or cupy."""
        return importlib.import_module("cupy") if self._has("cupy") else np

    def upload(self, array: np.ndarray) -> Any:  # noqa: ANN401
        """The array on this device; on the CPU the same array."""
        return self.xp.asarray(array)

    def download(self, array: Any) -> np.ndarray:  # noqa: ANN401
        """The array on the host."""
        return array.get() if self._has("cupy") else np.asarray(array)

    def table(self, columns: dict[str, np.ndarray]) -> Table:
        """A pandas table, or a cudf table of the same columns."""
        host = pd.DataFrame(columns)
        return importlib.import_module("cudf").from_pandas(host) if self._has("cudf") else host

    def concat(self, tables: list[Table]) -> Table:
        """The rows of all tables of this device, numbered anew."""
        return (importlib.import_module("cudf") if self._has("cudf") else pd).concat(tables, ignore_index=True)

    def free_bytes(self) -> int | None:
        """Free device memory in bytes, where cupy is used; None elsewhere."""
        return int(self.xp.cuda.runtime.memGetInfo()[0]) if self._has("cupy") else None

    def _has(self, library: str) -> bool:
        return self.device == "gpu" and library in self.libraries

    def random_forest(self, trees: int, max_depth: int, min_leaf: int, seed: int, n_jobs: int) -> Any:  # noqa: ANN401
        """An unfitted classifier of scikit-learn or cuML, with sqrt(features) candidates a split."""
        shared = {"n_estimators": trees, "max_depth": max_depth, "min_samples_leaf": min_leaf, "max_features": "sqrt"}
        if self._has("cuml"):  # one stream: cuML is reproducible only then
            cuml = importlib.import_module("cuml.ensemble")
            return cuml.RandomForestClassifier(**shared, random_state=seed, n_streams=1)
        ensemble = importlib.import_module("sklearn.ensemble")
        return ensemble.RandomForestClassifier(**shared, random_state=seed, n_jobs=n_jobs)

    def logistic_regression(self, c: float, max_iterations: int) -> Any:  # noqa: ANN401
        """An unfitted multinomial classifier of scikit-learn or cuML, `c` the inverse weight of its quadratic penalty."""
        package = "cuml" if self._has("cuml") else "sklearn"
        linear_model = importlib.import_module(f"{package}.linear_model")
        return linear_model.LogisticRegression(C=c, max_iter=max_iterations, tol=1e-6)

    def kmeans(self, clusters: int, starts: int, seed: int) -> Any:  # noqa: ANN401
        """Unfitted clusters of scikit-learn or cuML."""
        package = "cuml" if self._has("cuml") else "sklearn"
        cluster = importlib.import_module(f"{package}.cluster")
        return cluster.KMeans(n_clusters=clusters, n_init=starts, random_state=seed)

    def pca(self) -> Any:  # noqa: ANN401
        """An unfitted transform into all principal components, of scikit-learn or cuML, by a full decomposition."""
        package = "cuml" if self._has("cuml") else "sklearn"
        return importlib.import_module(f"{package}.decomposition").PCA(svd_solver="full")

    def as_sklearn(self, estimator: Any) -> Any:  # noqa: ANN401
        """The fitted estimator as a scikit-learn one."""
        return estimator.as_sklearn() if self._has("cuml") else estimator


def choose_backend(asked: str, libraries: Sequence[str] = LEARNING, lack: str = "") -> Backend:
    """The backend for `auto`, `cpu` or `gpu`; RequestError where `gpu` is asked for and there is none with the libraries.

    `lack` says what else keeps the work from a GPU, if anything does. Without libraries, this process is not looked at.
    """
    if asked not in ("auto", "cpu", "gpu"):
        raise RequestError(f"unknown device {asked!r}: expected auto, cpu or gpu")
    if asked == "cpu":
        return Backend("cpu", "asked for")
    lack = lack or gpu_absence(libraries)
    if not lack:
        reason = "asked for" if asked == "gpu" else "auto: a CUDA device is available"
        return Backend("gpu", reason, tuple(libraries))
    if asked == "gpu":
        raise RequestError(f"the device gpu was asked for, but {lack}; use --device cpu, or auto")
    return Backend("cpu", f"auto: {lack}")


def gpu_absence(libraries: Sequence[str]) -> str:
    """What keeps this process from using a GPU with some libraries, in words; empty if nothing does."""
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            extras = "extra deep" if name == "torch" else "extras gpu-cu12 and gpu-cu13"
            return f"{name} is not installed ({extras})"
    if "cupy" in libraries and not importlib.import_module("cupy").cuda.is_available():
        return "no CUDA device is available"
    if "torch" in libraries and not importlib.import_module("torch").cuda.is_available():
        return "no CUDA device is available to torch"
    return ""
