"""`neocube demo`: from nothing to a scored map, in one command."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_a_map_that_agrees_with_the_truth(neocube_home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.cli", "demo", str(tmp_path / "demo"), "--size-px", "120", "--json"]
    done = subprocess.run(command, env=os.environ.copy(), capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    holdout = document["metrics"]["holdout"]
    assert holdout["overall"] >= 0.90
    assert holdout["per_class"]["mangrove"]["f1"] >= 0.85
    assert document["score"] == "regression score"
    pictures = [Path(url.removeprefix("file://")) for url in document["quicklooks"]]
    assert [path.read_bytes()[:4] for path in pictures] == [b"\x89PNG"]
    assert (neocube_home / "prefect").is_dir()
