"""The choice between cpu and gpu."""

import numpy as np
import pandas as pd
import pytest

from products.devices import choose_backend
from products.errors import RequestError
from tests.gpu_here import has_gpu


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(RequestError, match="unknown device 'tpu': expected auto, cpu or gpu"):
        choose_backend("tpu")


def test_the_cpu_backend_is_numpy_and_pandas() -> None:
    backend = choose_backend("cpu")
    array = np.arange(3)
    assert backend.xp is np
    assert backend.upload(array) is array
    assert backend.download(array) is array
    assert backend.free_bytes() is None
    table = backend.table({"red": array})
    assert isinstance(table, pd.DataFrame)
    assert backend.concat([table, table])["red"].tolist() == [0, 1, 2, 0, 1, 2]


def test_auto_says_which_it_took() -> None:
    backend = choose_backend("auto")
    assert backend.device == ("gpu" if has_gpu("cudf", "cuml") else "cpu")
    assert backend.reason.startswith("auto: ")


@pytest.mark.skipif(has_gpu("cudf", "cuml"), reason="this machine has a GPU")
def test_gpu_without_one_fails_and_says_what_is_lacking() -> None:
    with pytest.raises(RequestError, match=r"the device gpu was asked for, but .*; use --device cpu, or auto"):
        choose_backend("gpu")


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu("cudf", "cuml"), reason="no CUDA device, or cudf and cuml are not installed")
def test_a_forest_of_the_gpu_is_kept_as_scikit_learn() -> None:
    backend = choose_backend("gpu")
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    table = backend.table({f"f{i}": values[:, i] for i in range(3)})
    forest = backend.random_forest(10, 6, 2, 0, 1)
    forest.fit(table, backend.upload((values[:, 0] > 0).astype(np.int32) + 1))
    kept = backend.as_sklearn(forest)
    assert (kept.predict(values) == (values[:, 0] > 0) + 1).mean() > 0.95
