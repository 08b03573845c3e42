"""Samples that are unlike those of their class: by density, class by class, or by their neighbours on a self-organizing map of all."""

import numpy as np
import numpy.typing as npt
from minisom import MiniSom
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from products.learning.samples_recipe import OutliersSpec

Floats = npt.NDArray[np.float32]
NEIGHBOURS = 20
LEAST_SAMPLES = 2 * NEIGHBOURS  # of fewer samples of a class no density is told
EPOCHS = 2  # how often each sample is shown to the map


def outliers(features: Floats, code: npt.NDArray[np.uint8], spec: OutliersSpec, seed: int) -> npt.NDArray[np.bool_]:
    """Which rows (n,) of features (n, feature) are outliers of their class."""
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    if spec.method == "som":
        return _strangers(scaled, code, spec, seed)
    found = np.zeros(code.size, np.bool_)
    for each in np.unique(code):
        members = np.flatnonzero(code == each)
        if members.size >= LEAST_SAMPLES:
            found[members] = _sparse(scaled[members], spec, seed)
    return found


def _sparse(scaled: npt.NDArray[np.float64], spec: OutliersSpec, seed: int) -> npt.NDArray[np.bool_]:
    """The share `drop` of the rows that lies where the density is least."""
    if spec.method == "isolation_forest":
        said = IsolationForest(contamination=spec.drop, random_state=seed).fit_predict(scaled)
    else:
        said = LocalOutlierFactor(n_neighbors=NEIGHBOURS, contamination=spec.drop).fit_predict(scaled)
    return np.asarray(said == -1)


def _strangers(
    scaled: npt.NDArray[np.float64], code: npt.NDArray[np.uint8], spec: OutliersSpec, seed: int
) -> npt.NDArray[np.bool_]:
    """The rows in neurons of which their class has less than `min_share`: the conditional probability of Santos et al. 2021, ISPRS 177, 75-88."""
    network = MiniSom(spec.side, spec.side, scaled.shape[1], sigma=spec.side / 4, learning_rate=0.5, random_seed=seed)
    network.random_weights_init(scaled)
    network.train(scaled, EPOCHS, random_order=True, use_epochs=True)
    neurons = network.get_weights().reshape(-1, scaled.shape[1])
    nearest = np.concatenate([_nearest(part, neurons) for part in np.array_split(scaled, -(-len(scaled) // 10_000))])
    counts = np.zeros((len(neurons), int(code.max()) + 1))
    np.add.at(counts, (nearest, code), 1)
    share: npt.NDArray[np.float64] = counts[nearest, code] / counts.sum(axis=1)[nearest]
    return share < spec.min_share


def _nearest(rows: npt.NDArray[np.float64], neurons: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The neuron nearest to each row: |r - w|² without |r|², which is the same for all."""
    return np.asarray(np.argmin((neurons**2).sum(axis=1) - 2 * rows @ neurons.T, axis=1), np.int64)
