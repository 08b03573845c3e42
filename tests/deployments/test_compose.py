"""deployments/compose: a file of the Compose specification whose commands run, whose files and variables are there, and whose ports are those of the others."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import psycopg.conninfo
import pytest
import yaml

from datacube_config.settings import PREFIX, Settings
from flows.steps.storage import open_storage
from tests.deployments.command_lines import DEPLOYMENTS, REPOSITORY, check_command, scheme_behind_a_proxy
from tests.deployments.compose_file import DOCUMENT, FOLDER, SERVICES, VARIABLE, environment, filled, template
from tests.documents import blocks

MADE_BY_THE_OPERATOR = {"settings.toml", "hub-users"}
OURS = [name for name, service in SERVICES.items() if str(service["image"]).startswith("neocube")]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_the_file_is_of_the_compose_specification(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FOLDER / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_starts_a_command_that_there_is(name: str) -> None:
    if name == "hub":
        assert "command" not in SERVICES[name], "the image of the hub has its own"
        return
    check_command([word.replace("$$", "$") for word in SERVICES[name]["command"]])


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_service_are_settings(name: str) -> None:
    given = environment(name)
    settings = {
        key.removeprefix(PREFIX).lower(): value or None for key, value in given.items() if key.startswith(PREFIX)
    }
    if session := settings.get("session_key"):
        settings["session_key"] = session * 8
    Settings.model_validate(settings)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_and_builds_is_there(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume["source"] if isinstance(volume, dict) else filled(volume).split(":")[0]
        if source.removeprefix("./") in MADE_BY_THE_OPERATOR:
            assert volume["bind"] == {"create_host_path": False}
        elif source.startswith("."):
            assert (FOLDER / source).exists(), source
        else:
            assert source in DOCUMENT["volumes"]
    if build := service.get("build"):
        assert (FOLDER / build["context"]).resolve() == REPOSITORY
        dockerfile = (REPOSITORY / build["dockerfile"]).read_text()
        assert f" AS {build['target']}\n" in dockerfile
        assert set(build.get("args", {})) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.M))


def test_what_the_operator_makes_stays_out_of_the_repository() -> None:
    assert set((FOLDER / ".gitignore").read_text().split()) == {*MADE_BY_THE_OPERATOR, ".env"}


def test_the_template_has_every_variable_and_no_other() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    used = {found["name"]: found for found in VARIABLE.finditer(text)}
    assert set(used) == set(template())
    secret = {name for name, value in template().items() if not value}
    assert {name for name, found in used.items() if found["sign"] == "?"} == secret
    assert len(VARIABLE.findall(text)) == len(re.findall(r"(?<!\$)\$(?!\$)", text))


def test_the_line_of_the_document_fills_every_secret_with_another_value(tmp_path: Path) -> None:
    document = REPOSITORY / "docs/operations.md"
    (line,) = (
        line for block in blocks(document) for line in block.commands if "<deployments/compose/env.template" in line
    )
    made = tmp_path / "env"
    line = line.replace("deployments/compose/env.template", str(FOLDER / "env.template"))
    subprocess.run(["bash", "-ec", line.replace("deployments/compose/.env", str(made))], check=True)
    lines = [each for each in made.read_text().splitlines() if each and not each.startswith("#")]
    filled = dict(each.split("=", 1) for each in lines)
    secrets = [filled[name] for name, value in template().items() if not value]
    assert {name: value for name, value in template().items() if value}.items() <= filled.items()
    assert len(set(secrets)) == len(secrets)
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in secrets)
    assert made.stat().st_mode & 0o077 == 0


def test_each_service_has_the_database_role_that_is_made_for_it() -> None:
    roles = (DEPLOYMENTS / "postgres/roles.sql").read_text()
    used = {}
    for name in SERVICES:
        for key, value in environment(name).items():
            if "://" in value and "@database" in value:
                place = psycopg.conninfo.conninfo_to_dict(re.sub(r"^postgresql\+\w+", "postgresql", value))
                used[name] = place["user"]
                assert (place["host"], f"'{place['user']}'" in roles, key[:3]) == ("database", True, key[:3])
    assert used == {
        "init": "neocube",
        "worker": "neocube_worker",
        "page": "neocube_page",
        "metrics": "neocube_reader",
        "hub": "neocube_reader",
        "explorer": "explorer",
        "prefect": "prefect",
    }


def test_only_the_proxy_listens_beyond_this_host() -> None:
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    beyond = [name for name, given in ports.items() for port in given if not port.startswith("127.0.0.1:")]
    assert set(beyond) == {"proxy"}
    assert [port.rpartition(":")[2] for port in ports["proxy"]] == ["443", "80"], "Caddy sends http on to https"
    assert "page:4201" in (FOLDER / "Caddyfile").read_text()
    assert "4201" in SERVICES["page"]["command"]


def test_the_page_believes_the_proxy_that_a_browser_came_by_https() -> None:
    given = environment("page")
    assert scheme_behind_a_proxy(given) == ("https" if given["NEOCUBE_SESSION_HTTPS_ONLY"] == "true" else "http")


def test_the_figures_have_the_price_the_settings_and_the_home_of_the_worker() -> None:
    worker, metrics = SERVICES["worker"], SERVICES["metrics"]
    price = "NEOCUBE_PRICE_PER_CORE_HOUR"
    assert environment("metrics")[price] == environment("worker")[price] == environment("page")[price]
    places = {
        name: [str(each).removesuffix(":ro") for each in SERVICES[name]["volumes"]] for name in ("worker", "metrics")
    }
    assert places["metrics"] == places["worker"]
    assert "worker" in metrics["depends_on"], (
        "its volume is read-only, so that the worker makes what is mounted into it"
    )
    assert worker["volumes"][0] == "worker:/var/lib/neocube"


def test_prometheus_and_grafana_find_their_ports_in_the_network_that_they_share() -> None:
    assert {name for name, each in SERVICES.items() if each.get("network_mode") == "service:metrics"} == {
        "prometheus",
        "grafana",
    }
    scraped = yaml.safe_load((DEPLOYMENTS / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    (job,) = scraped
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{SERVICES['metrics']['command'][-1]}"]}]
    source = yaml.safe_load((DEPLOYMENTS / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://127.0.0.1:9090"
    assert "127.0.0.1:9090:9090" in SERVICES["metrics"]["ports"]


def test_every_image_has_a_version() -> None:
    others = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert [image for image in others if not re.search(r":v?\d", image)] == []


def test_no_secret_stands_in_the_file() -> None:
    for name in SERVICES:
        for key, value in SERVICES[name].get("environment", {}).items():
            if re.search("PASSWORD|SECRET|_KEY|AUTH|_URL", key) and value:
                plain = VARIABLE.sub("", value)
                assert not re.search(r"://\w+:\w+@", plain) and ("://" in plain or plain in ("", "operator:")), (
                    f"{name}: {key}"
                )


def test_the_bucket_is_made_once(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "STORE_URL": "s3://new-bucket/store", "S3_ENDPOINT_URL": s3_endpoint, "S3_ACCESS_KEY_ID": "key",
        "S3_SECRET_ACCESS_KEY": "secret", "S3_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    for _ in range(2):
        runpy.run_path(str(FOLDER / "make_bucket.py"), run_name="__main__")
    filesystem = open_storage(Settings()).filesystem
    filesystem.invalidate_cache()
    assert "new-bucket" in filesystem.ls("")
