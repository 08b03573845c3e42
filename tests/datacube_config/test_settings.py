"""Settings: sources, defaults, errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datacube_config.errors import SettingsError
from datacube_config.settings import Settings, explain_settings, get_settings


def sources(settings: Settings) -> dict[str, str]:
    return {each.name: each.source for each in explain_settings(settings)}


def write_file(home: Path, text: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "settings.toml").write_text(text, encoding="utf-8")


def test_the_defaults_need_no_services(neocube_home: Path) -> None:
    settings = get_settings()
    assert settings.home == neocube_home
    assert settings.index_url is None
    assert settings.index_driver == "postgres"
    assert settings.store_url == str(neocube_home / "store")
    assert settings.failure_budget == 0.05
    assert settings.settle_days == 16


def test_the_home_is_var_in_the_working_directory(
    neocube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEOCUBE_HOME")
    monkeypatch.chdir(tmp_path)
    assert get_settings().home == tmp_path / "var"


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(neocube_home, "settle_days = 3\nfailure_budget = 0.2\n")
    monkeypatch.setenv("NEOCUBE_SETTLE_DAYS", "5")
    settings = get_settings()
    assert (settings.settle_days, settings.failure_budget, settings.price_per_core_hour) == (5, 0.2, 0.0)
    found = sources(settings)
    assert found["settle_days"] == "NEOCUBE_SETTLE_DAYS"
    assert found["failure_budget"] == str(neocube_home / "settings.toml")
    assert found["price_per_core_hour"] == "default"
    assert found["home"] == "NEOCUBE_HOME"


def test_a_home_given_by_the_caller_has_its_own_file(neocube_home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_file(other, 'price_currency = "EUR"\n')
    settings = Settings(home=other)
    assert settings.price_currency == "EUR"
    assert sources(settings)["price_currency"] == str(other / "settings.toml")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_every_postgresql_url_names_psycopg_3(neocube_home: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("NEOCUBE_INDEX_URL", f"{scheme}://odc:s3cret@db.example:5432/cube")
    settings = get_settings()
    assert settings.index_url is not None
    assert settings.index_url.get_secret_value() == "postgresql+psycopg://odc:s3cret@db.example:5432/cube"
    assert settings.index_driver == "postgis"


def test_secrets_are_masked_wherever_settings_are_shown(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOCUBE_INDEX_URL", "postgresql://odc:s3cret@db.example/cube")
    monkeypatch.setenv("NEOCUBE_S3_SECRET_ACCESS_KEY", "s3cret")
    settings = get_settings()
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(explain_settings(settings))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("INDEX_URL", "mysql://odc:s3cret@db/cube", "index_url: .*expected postgresql://USER:PASSWORD@HOST"),
        ("INDEX_DRIVER", "memory", "index_driver: Input should be 'postgres' or 'postgis'"),
        ("STORE_URL", "gs://bucket", "store_url: .*expected a path or an s3:// URL"),
        ("FAILURE_BUDGET", "5", "failure_budget: Input should be less than or equal to 1"),
        ("DECODE_THREADS", "0", "decode_threads: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_named(
    neocube_home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"NEOCUBE_{name}", value)
    with pytest.raises(SettingsError, match=message) as caught:
        get_settings()
    assert "s3cret" not in str(caught.value)


def test_an_unknown_line_of_the_file_is_named(neocube_home: Path) -> None:
    write_file(neocube_home, "index_ulr = 'postgresql://db/cube'\n")
    with pytest.raises(SettingsError, match="index_ulr: Extra inputs are not permitted"):
        get_settings()


def test_a_file_that_is_not_utf_8_is_named_with_its_line(neocube_home: Path) -> None:
    neocube_home.mkdir()
    (neocube_home / "settings.toml").write_bytes("settle_days = 3\npublisher = 'Universit\xe9'\n".encode("latin-1"))
    with pytest.raises(
        SettingsError, match=r"settings\.toml, line 2: expected text in UTF-8, got the byte 0xe9"
    ) as caught:
        get_settings()
    assert "Universit" not in str(caught.value)


@pytest.mark.parametrize("name", ["REQUESTS", "ACCOUNTS"])
def test_a_variable_that_is_not_json_is_named_without_its_value(
    neocube_home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"NEOCUBE_{name}", "s3cret: not json")
    with pytest.raises(SettingsError, match=f"NEOCUBE_{name}: expected JSON") as caught:
        get_settings()
    assert "s3cret" not in str(caught.value) and caught.value.__suppress_context__


def test_settings_are_explained_whatever_the_locale(neocube_home: Path) -> None:
    write_file(neocube_home, "publisher = 'Universit\xe9'\n")
    told = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "flows.cli", "settings", "--json"],
        env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "NEOCUBE_HOME": str(neocube_home)},
        capture_output=True, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, b"")
    assert json.loads(told.stdout)["publisher"]["value"] == "Universit\xe9"


def test_a_file_that_is_not_toml_is_named(neocube_home: Path) -> None:
    write_file(neocube_home, "settle_days: 3\n")
    with pytest.raises(SettingsError, match=r"settings\.toml: expected TOML"):
        get_settings()


def test_the_store_is_an_absolute_path_or_an_s3_url(
    neocube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(store_url="cubes").store_url == str(tmp_path / "cubes")
    assert Settings(store_url=f"file://{tmp_path}").store_url == str(tmp_path)
    assert Settings(store_url="s3://bucket/cubes/").store_url == "s3://bucket/cubes"


def test_threads_and_memory_follow_the_machine_unless_set(neocube_home: Path) -> None:
    assert Settings().decode_thread_count == len(os.sched_getaffinity(0))
    assert Settings(decode_threads=3).decode_thread_count == 3
    assert Settings(memory_limit_bytes=10**9).memory_budget_bytes == 10**9
    assert 0 < Settings().memory_budget_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
