"""Who reads the figures of `neocube metrics` where others than this machine reach them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from click.testing import CliRunner

from datacube_config.accounts import hashed_password, hashed_token
from datacube_config.settings import Settings
from flows.cli import main
from flows.request_page.header_sign_in import refusing_strangers
from flows.request_page.sign_in import TRIES
from flows.steps.service.exposition import metrics_endpoint
from flows.steps.service.prefect_processes import free_port, is_loopback
from products.errors import RequestError

TOKEN, PASSWORD = "a-long-token", "correct: horse"
ACCOUNTS = [
    {"name": "prometheus", "role": "viewer", "token_hash": hashed_token(TOKEN)},
    {"name": "wall", "role": "viewer", "password_hash": hashed_password(PASSWORD, b"0123456789abcdef")},
]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Figures, of which there are none, for accounts only."""
    refuse = refusing_strangers(Settings.model_validate({"accounts": ACCOUNTS}))
    with metrics_endpoint(list, "127.0.0.1", free_port(), refuse) as url:
        yield url


@pytest.mark.parametrize("path", ["/", "/metrics"])
def test_a_token_or_a_name_with_its_password_opens_page_and_metrics(endpoint: str, path: str) -> None:
    assert httpx.get(f"{endpoint}{path}", headers=BEARER).status_code == 200
    assert httpx.get(f"{endpoint}{path}", auth=("wall", PASSWORD)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/elsewhere"])
@pytest.mark.parametrize(
    "header",
    ["", "Bearer another", "Bearer", f"Digest {TOKEN}", "Basic %%%", "Basic /w==", "Basic d2FsbA==", "Basic Og=="],
    ids=["nothing", "token", "no token", "kind", "no base64", "no text", "no password", "nobody"],
)
def test_a_stranger_is_asked_who_it_is_and_told_nothing(endpoint: str, path: str, header: str) -> None:
    answer = httpx.get(f"{endpoint}{path}", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.headers.get_list("www-authenticate")) == (
        401,
        ['Basic realm="neocube", charset="UTF-8"', "Bearer"],
    )
    assert answer.text == "sign in with the name and password of an account, or send its token\n"


def test_a_name_that_failed_too_often_is_not_looked_at_for_a_while() -> None:
    refuse = refusing_strangers(Settings.model_validate({"accounts": ACCOUNTS}))
    with metrics_endpoint(list, "127.0.0.1", free_port(), refuse) as url:
        wrong = [httpx.get(url, auth=("wall", "wrong")).status_code for _ in range(TRIES)]
        right = httpx.get(url, auth=("wall", PASSWORD))
        assert httpx.get(url, headers=BEARER).status_code == 200
    assert wrong == [401] * TRIES
    assert (right.status_code, right.text) == (429, f"{TRIES} wrong passwords for this name: wait 5 minutes\n")


@pytest.mark.parametrize("where", [["--host", "0.0.0.0"], ["--host", "::"], ["--sign-in"]])
def test_without_accounts_it_listens_beyond_loopback_only_where_that_is_said(
    where: list[str], embedded_settings: Settings
) -> None:
    assert not embedded_settings.accounts
    done = CliRunner().invoke(main, ["metrics", "--port", str(free_port()), *where])
    assert done.exit_code == 2
    assert "nobody has an account, so nobody could sign in: expected accounts in settings.toml" in done.stderr
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = CliRunner().invoke(main, ["metrics", "--host", "0.0.0.0", "--port", port, "--open"])
    assert (said.exit_code, f"cannot listen on 0.0.0.0, port {port}" in said.stderr) == (2, True)


def test_nobody_could_sign_in_where_nobody_has_an_account() -> None:
    with pytest.raises(RequestError, match="or --open where everyone who reaches the port may know the figures"):
        refusing_strangers(Settings())


@pytest.mark.full
def test_the_command_asks_who_it_is_where_others_reach_it(embedded_settings: Settings) -> None:
    command = [sys.executable, "-m", "flows.cli", "metrics", "--host", "0.0.0.0", "--port", str(free_port()), "--json"]
    environment = {
        **os.environ, "NEOCUBE_HOME": str(embedded_settings.home), "NEOCUBE_ACCOUNTS": json.dumps(ACCOUNTS)
    }  # fmt: skip
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads("".join(process.stdout.readline() for _ in range(5)))
        url = said["url"].replace("0.0.0.0", "127.0.0.1")
        assert said["signs_in"] and httpx.get(url).status_code == 401
        assert 'neocube_up{part="index"} 1.0' in httpx.get(url, headers=BEARER, timeout=60).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("host", "only_here"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.0.2.1", False), ("cubes.example.org", False), ("", False)],
)  # fmt: skip
def test_only_this_machine_reaches_loopback(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here
