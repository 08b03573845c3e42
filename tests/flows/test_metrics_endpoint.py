"""`neocube metrics`: the text that Prometheus reads, the endpoint that it scrapes, and the document that names the figures."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.service.exposition import metrics_endpoint, metrics_text
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.service_metrics import METRICS
from flows.steps.service.service_readings import read_service
from tests.flows.published_product import PublishedProduct

REPOSITORY = Path(__file__).parents[2]


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples of a text, by name and labels."""
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def test_the_endpoint_answers_with_what_is_so_at_that_moment(published: PublishedProduct) -> None:
    cells = frozenset({"product": "known_features", "family": "features", "state": "active"}.items())
    with metrics_endpoint(partial(read_service, published.settings, None), "127.0.0.1", free_port()) as url:
        url = f"{url}/metrics"
        assert samples(httpx.get(url).text)["neocube_cells", cells] == 8
        row = next(iter(published.index.dc.index.datasets.search(product="known_features", limit=1)))
        published.index.dc.index.datasets.archive([row.id])
        seven = samples(httpx.get(url).text)["neocube_cells", cells]
        published.index.dc.index.datasets.restore([row.id])
        assert (seven, samples(httpx.get(url).text)["neocube_cells", cells]) == (7, 8)


def test_the_page_is_at_the_root_and_nothing_elsewhere(published: PublishedProduct) -> None:
    with metrics_endpoint(partial(read_service, published.settings, None), "127.0.0.1", free_port()) as url:
        page = httpx.get(url)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script" not in page.headers["content-security-policy"]
        assert re.search(r"known_features \(features\)</th>.*<td>8</td>", page.text)
        assert httpx.get(f"{url}/etc/passwd").status_code == 404
        assert httpx.post(url).status_code == httpx.post(f"{url}/metrics").status_code == 405


def test_each_page_is_whole_whatever_was_served_before(published: PublishedProduct) -> None:
    pages = []
    for read in (list, partial(read_service, published.settings, None), list):
        with metrics_endpoint(read, "127.0.0.1", free_port()) as url:
            pages.append(httpx.get(url).text)
    assert len(pages[0]) == len(pages[2]) < len(pages[1])
    assert all(page.rstrip().endswith("</html>") for page in pages)


def test_every_family_is_a_gauge_that_says_what_it_is(published: PublishedProduct) -> None:
    text = metrics_text(read_service(published.settings, None))
    found = {family.name: (family.type, family.documentation) for family in text_string_to_metric_families(text)}
    assert {"neocube_up", "neocube_cells", "neocube_cubes", "neocube_storage_free_bytes"} <= found.keys()
    assert found == {name: ("gauge", METRICS[name].says) for name in found}


def test_promtool_finds_nothing_to_say_about_the_text(published: PublishedProduct) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    text = metrics_text(read_service(published.settings, None))
    done = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_prints_the_figures_once(published: PublishedProduct, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOCUBE_HOME", str(published.settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", published.settings.store_url)
    printed = CliRunner().invoke(main, ["metrics"])
    assert printed.exit_code == 0, printed.output
    assert samples(printed.stdout)["neocube_up", frozenset({("part", "index")})] == 1
    document = json.loads(CliRunner().invoke(main, ["metrics", "--json"]).stdout)
    assert document["silent"] == {}
    assert {"metric": "neocube_cubes", "value": 1.0, "labels": {"product": "known_features"}} in document["figures"]


def test_the_command_fails_where_a_part_does_not_answer(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOCUBE_INDEX_URL", f"postgresql://odc@127.0.0.1:{free_port()}/none")
    done = CliRunner().invoke(main, ["metrics"])
    assert done.exit_code == 1
    assert 'neocube_up{part="index"} 0.0' in done.stdout
    assert "neocube: index does not answer: the index at postgresql" in done.stderr
    assert not (neocube_home / "postgres").exists()


def test_the_command_serves_until_it_is_told_to_end(embedded_settings: Settings) -> None:
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "metrics", "--port", str(port), "--json"]
    environment = {**os.environ, "NEOCUBE_HOME": str(embedded_settings.home)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(5))
        assert json.loads(said) == {
            "url": f"http://127.0.0.1:{port}/metrics",
            "page": f"http://127.0.0.1:{port}/",
            "signs_in": False,
        }
        assert (
            samples(httpx.get(json.loads(said)["url"], timeout=60).text)["neocube_up", frozenset({("part", "index")})]
            == 1
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_refused_in_words(embedded_settings: Settings) -> None:
    with metrics_endpoint(list, "127.0.0.1", free_port()) as url:
        port = url.partition("127.0.0.1:")[2]
        done = CliRunner().invoke(main, ["metrics", "--port", port])
    assert done.exit_code == 2
    assert (
        f"cannot listen on 127.0.0.1, port {port}" in done.stderr and "choose another --port or --host" in done.stderr
    )


def test_the_document_has_every_metric_with_its_labels_and_what_it_says() -> None:
    text = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8").partition("\n## Metrics\n")[2]
    rows = re.findall(r"^\| `(neocube_\w+)` \| (.*?) \| (.*) \|$", text, re.M)
    assert rows == [(name, ", ".join(meaning.labels), meaning.says) for name, meaning in METRICS.items()]
