"""A process that compiles the kernels makes the bytes of one that loads them: both hold copies of each function, which were optimised apart."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import hashlib
import numpy as np
from products.pixel.temporal import temporal_features
from tests.products.scene_series import hazy_series

found = hashlib.sha256()
for n_scenes in (3, 4, 5, 12):
    block, causes = hazy_series(n_scenes, 6, n_scenes, (64, 512))
    gain, bias = (np.full((n_scenes, 6), term, np.float32) for term in (2.75e-5, -0.2))
    none = np.empty((0, 1, 2)), np.empty((0, 1), np.float32)
    found.update(temporal_features(block, causes, gain, bias, np.arange(6), True, *none, 1, 1).tobytes())
print(found.hexdigest())
"""


def test_a_process_that_compiles_makes_the_bytes_of_one_that_loads(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = [sys.executable, "-c", PROGRAM]
    compiling, loading = (
        subprocess.run(run, env=environment, capture_output=True, check=True).stdout for _ in range(2)
    )
    assert len(list(tmp_path.rglob("*.nbc"))) > 5
    assert compiling == loading != b""
