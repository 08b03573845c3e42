"""Accounts and limits as settings: what is accepted, and what is said about the rest."""

from pathlib import Path

import pytest

from datacube_config.accounts import by_token, hashed_password, hashed_token
from datacube_config.errors import SettingsError
from datacube_config.settings import get_settings

ZEROS = "0" * 64
GOOD = 'name = "ana"\nrole = "researcher"\nprojects = ["coast"]\n'


def write(home: Path, text: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "settings.toml").write_text(text)


def test_accounts_and_limits_come_from_the_settings_file(neocube_home: Path) -> None:
    write(neocube_home, f'[[accounts]]\n{GOOD}token_hash = "{hashed_token("t")}"\n[requests]\nmost_cells = 7\n')
    settings = get_settings()
    assert (settings.accounts[0].name, settings.accounts[0].projects, settings.requests.most_cells) == (
        "ana",
        ("coast",),
        7,
    )
    assert by_token(settings.accounts, "t") == settings.accounts[0]
    assert by_token(settings.accounts, "u") is None
    assert hashed_token("t") not in settings.model_dump_json()


def test_accounts_may_come_as_json_in_a_variable(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = hashed_password("p", b"salt")
    monkeypatch.setenv("NEOCUBE_ACCOUNTS", f'[{{"name": "ops", "role": "operator", "password_hash": "{hashed}"}}]')
    assert get_settings().accounts[0].role == "operator"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[[accounts]]\n{GOOD}", "the account ana has neither password_hash nor token_hash"),
        (f'[[accounts]]\n{GOOD}password_hash = "secret"', "expected scrypt.SALT.HASH"),
        (f'[[accounts]]\n{GOOD}password_hash = "scrypt$salt$00"', "expected scrypt.SALT.HASH"),
        (f'[[accounts]]\n{GOOD}token_hash = "secret"', "expected 64 hexadecimal digits"),
        (f'[[accounts]]\n{GOOD.replace("coast", "<b>")}token_hash = "{ZEROS}"', "should match pattern"),
        (f'[[accounts]]\n{GOOD}token_hash = "{ZEROS}"\nadmin = true', "Extra inputs"),
        (
            f'[[accounts]]\n{GOOD.replace("researcher", "king")}token_hash = "{ZEROS}"',
            "'operator', 'researcher' or 'viewer'",
        ),
        (f'[[accounts]]\n{GOOD.replace("ana", "Ana B")}token_hash = "{ZEROS}"', "should match pattern"),
        (f'[[accounts]]\n{GOOD}token_hash = "{ZEROS}"\n' * 2, "the account ana stands twice"),
        ("[requests]\nmost_cells = 0", "greater than or equal to 1"),
        ('session_key = "short"', "at least 32"),
    ],
)
def test_what_cannot_be_used_is_said_without_the_secret(text: str, said: str, neocube_home: Path) -> None:
    write(neocube_home, text)
    with pytest.raises(SettingsError, match=said) as error:
        get_settings()
    assert "secret" not in str(error.value)
