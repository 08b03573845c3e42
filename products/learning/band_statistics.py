"""Mean and standard deviation of features, and how common classes are, of training pixels."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from products.errors import RequestError

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def mean_and_std(parts: Iterable[tuple[Floats, Mask]], names: tuple[str, ...]) -> tuple[Floats, Floats]:
    """(feature,) mean and standard deviation of the finite values of (feature, y, x) where a mask is set; a feature that never varies has 1.

    RequestError if a feature has no value there.
    """
    count, total, squares = (np.zeros(len(names)) for _ in range(3))
    for features, mask in parts:
        values = features[:, mask].astype(np.float64)
        is_there = np.isfinite(values)
        count += is_there.sum(axis=1)
        values[~is_there] = 0
        total += values.sum(axis=1)
        values *= values
        squares += values.sum(axis=1)
    if (count == 0).any():
        name = names[int(np.argmin(count))]
        raise RequestError(
            f"the feature {name!r} has no value on the ground that is trained on: build its cells again, or leave it out"
        )
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.astype(np.float32), np.where(std > 1e-6 * (1 + np.abs(mean)), std, 1).astype(np.float32)


def class_weights(codes: Iterable[Codes], class_names: tuple[str, ...]) -> Floats:
    """(class,) weights that give every class the same sum, with mean 1 over the pixels of codes 1 … n; RequestError if one has none."""
    counts = sum((np.bincount(part.ravel(), minlength=len(class_names) + 1) for part in codes), np.zeros(1, np.int64))[
        1:
    ]
    if not counts.all():
        lacking = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
        raise RequestError(
            f"no labelled pixel of the class {', '.join(lacking)} lies on the ground that is trained on: "
            "add labels, or lower buffer_m or block_m"
        )
    return (counts.sum() / (counts.size * counts)).astype(np.float32)
