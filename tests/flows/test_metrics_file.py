"""The metrics file: what Prometheus reads, whole or not at all."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.steps.service.metrics import Gauge, Sample, metrics_path, write_metrics

GAUGE = Gauge("neocube_scenes", "Scenes.", [Sample({"collection": 'a "b"\\c\n'}, 3), Sample({}, 0.5)])


def test_a_sample_has_its_labels_escaped(tmp_path: Path) -> None:
    path = metrics_path(tmp_path, "known")
    write_metrics(path, [GAUGE], ("archive", "here"))
    assert path == tmp_path / "metrics" / "known.prom"
    assert path.read_text().splitlines() == [
        "# HELP neocube_scenes Scenes.",
        "# TYPE neocube_scenes gauge",
        'neocube_scenes{archive="here",collection="a \\"b\\"\\\\c\\n"} 3',
        'neocube_scenes{archive="here"} 0.5',
    ]


def test_writing_again_replaces_ours_and_keeps_the_samples_of_others(tmp_path: Path) -> None:
    path = metrics_path(tmp_path, "known")
    for archive, count in (("here", 1), ("there", 2), ("here", 3)):
        write_metrics(path, [Gauge("neocube_scenes", "Scenes.", [Sample({}, count)])], ("archive", archive))
    samples = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert samples == ['neocube_scenes{archive="there"} 2', 'neocube_scenes{archive="here"} 3']
    assert [each.name for each in path.parent.iterdir() if each.suffix == ".prom"] == ["known.prom"]


def test_a_name_that_prometheus_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a metric name such as neocube_scenes, got 'two words'"):
        write_metrics(tmp_path / "x.prom", [Gauge("two words", "", [])], ("archive", "here"))


def test_promtool_accepts_the_file(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    path = metrics_path(tmp_path, "known")
    write_metrics(path, [GAUGE], ("archive", "here"))
    subprocess.run([promtool, "check", "metrics"], input=path.read_bytes(), check=True)
