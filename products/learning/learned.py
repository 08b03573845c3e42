"""What everything that is learned from labels can do, and how a model of single pixels is kept and asked."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from products.errors import RequestError
from products.learning.array_file import arrays_digest, packed, unpacked

NO_PROBABILITY = 255
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model is called and its arrays: axis name -> length, -1 where any goes."""

    architecture: str
    task: str
    input_axes: Mapping[str, int]
    output_axes: Mapping[str, int]


@runtime_checkable
class Learned(Protocol):
    """What was learned from labels, by whatever: its features and classes in order, its file, and words for its card."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features that it needs, in their order."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their codes 1, 2, …."""
        ...

    def digest(self) -> str:
        """SHA-256 of what decides its answers."""
        ...

    def to_bytes(self) -> bytes:
        """Its file: the same bytes for the same model."""
        ...

    def describe(self) -> str:
        """What it is, as in `a random forest of 200 trees`."""
        ...

    def shape(self) -> Shape:
        """Its name in the literature, its task in the words of the STAC MLM extension, and its axes."""
        ...


@dataclass(frozen=True)
class PixelModel(ABC):
    """A model that answers for each pixel alone."""

    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    ARCHITECTURE: ClassVar[str]
    USES_ALL_CORES: ClassVar[bool] = False  # when it is asked once: then asking from several threads gains nothing

    @abstractmethod
    def votes(self, features: Float32) -> tuple[Float64, float]:
        """(n, class) sums for finite features (feature, n), and the number that they add up to in a row."""

    @abstractmethod
    def describe(self) -> str:
        """What it is, as in `a random forest of 200 trees`."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of what decides its answers."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Its file: the same bytes for the same model."""

    def shape(self) -> Shape:
        """Pixels by features in, pixels by classes out."""
        inputs, outputs = (
            {"batch": -1, "channel": len(self.feature_names)},
            {"batch": -1, "class": len(self.class_names)},
        )
        return Shape(self.ARCHITECTURE, "classification", inputs, outputs)

    def probabilities(self, features: Float32) -> Float32:
        """The share of each class, (class, n) float32, of features (feature, n); NaN where a feature is missing."""
        total, whole, is_missing = self._votes_of_complete(features)
        shares = (total / whole).T.astype(np.float32)
        shares[:, is_missing] = np.nan
        return shares

    def classify(self, features: Float32) -> tuple[UInt8, UInt8]:
        """Codes (n,) with 0 as nodata, and percentages (class, n) with 255 as nodata, of (feature, n) float32."""
        total, whole, is_missing = self._votes_of_complete(features)
        codes = (total.argmax(axis=1) + 1).astype(np.uint8)
        percent = np.rint(100.0 * total / whole).astype(np.uint8).T
        codes[is_missing] = 0
        percent[:, is_missing] = NO_PROBABILITY
        return codes, percent

    def _votes_of_complete(self, features: Float32) -> tuple[Float64, float, npt.NDArray[np.bool_]]:
        if features.shape[0] != len(self.feature_names):
            raise RequestError(f"the model needs {len(self.feature_names)} features, got {features.shape[0]}")
        values = np.asarray(features, dtype=np.float32)
        is_missing: npt.NDArray[np.bool_] = np.asarray(~np.isfinite(values).all(axis=0))
        if is_missing.any():
            values = np.where(is_missing, np.float32(0), values)
        return *self.votes(values), is_missing


@dataclass(frozen=True)
class ArrayModel(PixelModel):
    """A model of single pixels kept as plain arrays: all fields of a subclass but the names.

    `FORMAT` names its file format, `DTYPES` the dtype of each array.
    """

    FORMAT: ClassVar[str]
    DTYPES: ClassVar[Mapping[str, str]]

    @abstractmethod
    def is_sound(self) -> bool:
        """Whether the shapes and indices of arrays of the right dtypes fit each other."""

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, in the order of the file."""
        return {name: getattr(self, name) for name in self._array_names()}

    @classmethod
    def _array_names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls) if not field.name.endswith("_names"))

    def digest(self) -> str:
        """SHA-256 of names and arrays."""
        return arrays_digest([self.FORMAT, self.feature_names, self.class_names], self.arrays)

    def to_bytes(self) -> bytes:
        """The model as bytes that its content alone decides: a zip of .npy arrays and a JSON header."""
        names = {"feature_names": self.feature_names, "class_names": self.class_names}
        return packed(self.FORMAT, names, self.arrays)

    @classmethod
    def from_bytes(cls, content: bytes, origin: str) -> Self:
        """The model of a file, every array checked; RequestError for anything else."""
        model = cls(**unpacked(content, cls.FORMAT, ("feature_names", "class_names"), cls._array_names(), origin))
        dtypes_fit = all(array.dtype.str == cls.DTYPES[name] for name, array in model.arrays.items())
        if not (dtypes_fit and model.is_sound()):
            raise RequestError(
                f"the model file {origin} is damaged, it is no sound {cls.FORMAT}: train the model again"
            )
        return model


def by_class(values: npt.NDArray[Any], codes: Sequence[int] | Codes, n_classes: int) -> Float64:
    """(…, class) float64 of values (…, code) whose columns belong to the class codes `codes`; 0 for a class without one."""
    found = np.zeros((*values.shape[:-1], n_classes))
    found[..., np.asarray(codes, dtype=np.int64) - 1] = values
    return found


def softmax(scores: Float64) -> Float64:
    """(n, class) shares of scores (n, class)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
