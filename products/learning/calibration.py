"""Whether probabilities mean what they say."""

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
N_BINS = 10


def brier_score(probability: Float64, code: Int64) -> float:
    """Mean squared distance of probabilities (n, class) to the truth, codes 1 …: 0 to 2 (Brier 1950, Monthly Weather Review 78, 1-3)."""
    truth = np.arange(1, probability.shape[1] + 1) == code[:, None]
    return float(((probability - truth) ** 2).sum(axis=1).mean())


def reliability(said: Float64, happened: npt.NDArray[np.bool_]) -> dict[str, list[float] | list[int]]:
    """In those of ten equal bins that hold rows: mean probability, observed share, rows (Murphy and Winkler 1977, Applied Statistics 26, 41-47)."""
    number = np.minimum((said * N_BINS).astype(np.int64), N_BINS - 1)
    count = np.bincount(number, minlength=N_BINS)
    held = count > 0
    mean, share = (np.bincount(number, weights=each, minlength=N_BINS)[held] / count[held] for each in (said, happened))
    return {
        "said": np.round(mean, 6).tolist(),
        "observed": np.round(share, 6).tolist(),
        "rows": count[held].tolist(),
    }


def calibration_error(said: Float64, happened: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: mean gap of the bins between probability and observed share, by rows (Naeini et al. 2015, AAAI, 2901-2907)."""
    bins = reliability(said, happened)
    gap = np.abs(np.array(bins["said"]) - np.array(bins["observed"]))
    return float(np.average(gap, weights=bins["rows"]))


def calibration(probability: Float64, code: Int64, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Brier score, calibration error and reliability of the likeliest class (Guo et al. 2017, ICML, 1321-1330), and the reliability of each class."""
    likeliest = probability.argmax(axis=1)
    said, right = probability.max(axis=1), likeliest + 1 == code
    return {
        "brier": round(brier_score(probability, code), 6),
        "ece": round(calibration_error(said, right), 6),
        "reliability": reliability(said, right),
        "by_class": {
            name: {"ece": round(calibration_error(probability[:, n], code == n + 1), 6)}
            | {"reliability": reliability(probability[:, n], code == n + 1)}
            for n, name in enumerate(class_names)
        },
    }


def uncertainty(probability: Float64) -> Float64:
    """Entropy of probabilities (n, class) by that of equal ones: 0 is certain, 1 knows nothing (Shannon 1948), (n,)."""
    logs = np.log(np.where(probability > 0, probability, 1.0))
    return -(probability * logs).sum(axis=1) / np.log(probability.shape[1])
