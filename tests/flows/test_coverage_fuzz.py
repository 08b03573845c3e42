"""A fuzzer that is guided by coverage finds no item on which the normaliser fails, hangs or grows."""

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.fuzz_seeds import SEEDS

HAS_ATHERIS = (sys.version_info < (3, 12), sys.platform, platform.machine()) == (True, "linux", "x86_64")
with_atheris = pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has wheels for Python 3.11 on Linux, x86-64 only")


@pytest.mark.full
@with_atheris
def test_a_coverage_guided_fuzzer_finds_nothing_in_a_short_time(shared_data: Path, tmp_path: Path) -> None:
    fuzz_by_coverage(shared_data, tmp_path, int(os.environ.get("NEOCUBE_FUZZ_SECONDS", "15")))


@pytest.mark.full
@with_atheris
def test_a_coverage_guided_fuzzer_finds_nothing(shared_data: Path, tmp_path: Path) -> None:
    fuzz_by_coverage(shared_data, tmp_path, max(120, int(os.environ.get("NEOCUBE_FUZZ_SECONDS", "0"))))


def fuzz_by_coverage(shared_data: Path, folder: Path, seconds: int) -> None:
    """Run atheris for some seconds in a process of its own, over the real items as its corpus."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for name in SEEDS:
        shutil.copy(shared_data / "stac" / name, corpus)
    script = Path(__file__).parent / "fuzz" / "atheris_normalise.py"
    # libFuzzer looks at ru_maxrss, which begins with the peak of the process that starts it
    most_mb = 2048 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    limits = [f"-max_total_time={seconds}", "-timeout=10", f"-rss_limit_mb={most_mb}"]
    command = [sys.executable, str(script), *limits, str(corpus)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    (n_runs,) = re.findall(r"^Done (\d+) runs", answer.stderr, re.MULTILINE)
    assert int(n_runs) > len(SEEDS), answer.stderr[-3000:]
