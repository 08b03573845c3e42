"""`neocube account`, and who may sign in where nobody has an account."""

import json
import tomllib

import pytest
from click.testing import CliRunner

from datacube_config.accounts import Account, by_password, by_token
from datacube_config.settings import Settings
from flows.cli import main
from flows.serve import local_account
from products.errors import RequestError


def test_the_printed_lines_hold_hashes_that_know_password_and_token() -> None:
    done = CliRunner().invoke(main, ["account", "ana", "--project", "coast", "--json"])
    made = json.loads(done.stdout)
    rows = tomllib.loads(made["settings"])["accounts"]
    accounts = tuple(Account.model_validate(row) for row in rows)
    assert (accounts[0].name, accounts[0].role, accounts[0].projects) == ("ana", "researcher", ("coast",))
    assert by_password(accounts, "ana", made["password"]) == by_token(accounts, made["token"]) == accounts[0]
    assert made["password"] not in made["settings"] and made["token"] not in made["settings"]


def test_a_name_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(main, ["account", "Ana B"])
    assert (done.exit_code, "expected a NAME of lower-case letters" in done.stderr) == (2, True)


def test_without_accounts_a_local_operator_is_made_on_loopback_only(embedded_settings: Settings) -> None:
    variables, password = local_account(embedded_settings, "127.0.0.1")
    accounts = tuple(Account.model_validate(row) for row in json.loads(variables["NEOCUBE_ACCOUNTS"]))
    found = by_password(accounts, "local", str(password))
    assert found and found.role == "operator"
    with pytest.raises(RequestError, match=r"others reach 0.0.0.0: expected accounts in settings.toml"):
        local_account(embedded_settings, "0.0.0.0")
    assert local_account(embedded_settings.model_copy(update={"accounts": accounts}), "0.0.0.0") == ({}, None)
