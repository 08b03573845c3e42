"""A random forest as plain arrays: no code in its file, the same answer on any device, tile order or thread."""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from products.errors import RequestError

FORMAT = "neocube-forest-1"
MAX_FILE_BYTES = 4 * 2**30
NO_PROBABILITY = 255
_BLOCK_PX = 512
_EPOCH_ZIP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes of all trees, one after the other; `roots` (tree + 1,) says where each begins.

    A node tests `value[feature] <= threshold` and goes to `left` or `right` (absolute node numbers); a leaf has
    feature -1. `share` (node, class) is the class share of the training rows in the node.
    """

    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    roots: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    share: npt.NDArray[np.float32]
    importance: npt.NDArray[np.float64]

    def digest(self) -> str:
        """SHA-256 of names and arrays."""
        found = hashlib.sha256(json.dumps([FORMAT, self.feature_names, self.class_names]).encode())
        for name in _ARRAYS:
            array = getattr(self, name)
            found.update(f"{name} {array.dtype.str} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def classify(self, features: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Codes (n,) with 0 as nodata, and percentages (class, n) with 255 as nodata, of (feature, n) float32."""
        if features.shape[0] != len(self.feature_names):
            raise RequestError(f"the model needs {len(self.feature_names)} features, got {features.shape[0]}")
        codes = np.empty(features.shape[1], np.uint8)
        percent = np.empty((len(self.class_names), features.shape[1]), np.uint8)
        values = np.ascontiguousarray(features, dtype=np.float32)
        _classify(values, self.roots, self.feature, self.left, self.right, self.threshold, self.share, codes, percent)
        return codes, percent

    def to_bytes(self) -> bytes:
        """The same bytes for the same forest: a zip of .npy arrays and a JSON header."""
        buffer = io.BytesIO()
        header = {"format": FORMAT, "feature_names": self.feature_names, "class_names": self.class_names}
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(_entry("header.json"), json.dumps(header))
            for name in _ARRAYS:
                content = io.BytesIO()
                np.lib.format.write_array(content, np.ascontiguousarray(getattr(self, name)), allow_pickle=False)
                archive.writestr(_entry(f"{name}.npy"), content.getvalue())
        return buffer.getvalue()


_ARRAYS = tuple(field.name for field in fields(Forest) if not field.name.endswith("_names"))
_DTYPES = {
    "roots": "<i8",
    "feature": "<i4",
    "left": "<i4",
    "right": "<i4",
    "threshold": "<f8",
    "share": "<f4",
    "importance": "<f8",
}


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH_ZIP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def forest_from_bytes(content: bytes, origin: str) -> Forest:
    """The forest of a model file, every index in it checked; RequestError for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_FILE_BYTES:
                raise RequestError(f"the model file {origin} unpacks to {size} bytes: at most {MAX_FILE_BYTES} may be")
            header = json.loads(archive.read("header.json"))
            names = tuple(header["feature_names"]), tuple(header["class_names"])
            arrays = {name: _array(archive.read(f"{name}.npy")) for name in _ARRAYS}
    except RequestError:
        raise
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        raise RequestError(f"{origin} is not a readable model file: {error}; train the model again") from error
    forest = Forest(*names, **arrays)
    _check(forest, str(header.get("format")), origin)
    return forest


def _array(content: bytes) -> Any:  # noqa: ANN401
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _check(forest: Forest, found_format: str, origin: str) -> None:
    """RequestError unless a walk from any root stays inside the arrays and ends: children come after their parent."""
    nodes, trees = forest.feature.size, forest.roots.size - 1
    inner = forest.feature >= 0
    number = np.arange(nodes)
    sound = (
        found_format == FORMAT
        and all(getattr(forest, name).dtype.str == dtype for name, dtype in _DTYPES.items())
        and all(getattr(forest, name).shape == (nodes,) for name in ("feature", "left", "right", "threshold"))
        and forest.share.shape == (nodes, len(forest.class_names))
        and forest.importance.shape == (len(forest.feature_names),)
        and trees >= 1
        and bool((np.diff(forest.roots) > 0).all() and forest.roots[0] == 0 and forest.roots[-1] == nodes)
        and bool((forest.feature < len(forest.feature_names)).all())
        and all(bool((side[inner] > number[inner]).all()) for side in (forest.left, forest.right))
        and all(bool((side[inner] < nodes).all()) for side in (forest.left, forest.right))
    )
    if not sound:
        raise RequestError(f"the model file {origin} is damaged, or its format is not {FORMAT}: train the model again")


def forest_from_sklearn(
    estimator: Any,  # noqa: ANN401
    feature_names: Sequence[str],
    class_names: Sequence[str],
) -> Forest:
    """The arrays of a fitted scikit-learn RandomForestClassifier whose classes are codes 1 … n."""
    trees = [member.tree_ for member in estimator.estimators_]
    roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])]).astype(np.int64)
    columns = np.asarray(estimator.classes_, dtype=np.int64) - 1
    share = np.zeros((int(roots[-1]), len(class_names)), np.float32)
    share[:, columns] = np.concatenate([tree.value[:, 0, :] for tree in trees])
    share /= share.sum(axis=1, keepdims=True)
    leaf = np.concatenate([tree.children_left for tree in trees]) < 0
    start = np.repeat(roots[:-1], np.diff(roots))
    left, right = (
        np.where(leaf, -1, np.concatenate([getattr(tree, side) for tree in trees]) + start).astype(np.int32)
        for side in ("children_left", "children_right")
    )
    return Forest(
        tuple(feature_names),
        tuple(class_names),
        roots,
        np.where(leaf, -1, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
        left,
        right,
        np.where(leaf, 0.0, np.concatenate([tree.threshold for tree in trees])).astype(np.float64),
        share,
        np.asarray(estimator.feature_importances_, dtype=np.float64),
    )


@numba.njit(nogil=True, cache=True)
def _classify(values, roots, feature, left, right, threshold, share, codes, percent):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n_features, n = values.shape
    n_classes, trees = share.shape[1], roots.size - 1
    total = np.empty((_BLOCK_PX, n_classes), np.float64)
    pixel = np.empty((_BLOCK_PX, n_features), np.float32)
    for start in range(0, n, _BLOCK_PX):
        size = min(_BLOCK_PX, n - start)
        total[:] = 0.0
        for i in range(size):
            for f in range(n_features):
                pixel[i, f] = values[f, start + i]
        for tree in range(trees):
            for i in range(size):
                node = roots[tree]
                while feature[node] >= 0:
                    node = left[node] if pixel[i, feature[node]] <= threshold[node] else right[node]
                for c in range(n_classes):
                    total[i, c] += share[node, c]
        for i in range(size):
            missing = False
            for f in range(n_features):
                missing |= not np.isfinite(pixel[i, f])
            best = 0
            for c in range(n_classes):
                percent[c, start + i] = NO_PROBABILITY if missing else np.uint8(np.rint(100.0 * total[i, c] / trees))
                if total[i, c] > total[i, best]:
                    best = c
            codes[start + i] = 0 if missing else best + 1
