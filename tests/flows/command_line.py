"""The command `neocube` in the process of the tests, and what it answers."""

import json
from typing import Any

from click.testing import CliRunner, Result

from flows.cli import main


def neocube(*arguments: object) -> Result:
    """What a command prints, and its exit code."""
    return CliRunner().invoke(main, [str(each) for each in arguments])


def answered(*arguments: object, exit_code: int = 0) -> Any:
    """The one JSON document that a command prints."""
    result = neocube(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def refused(result: Result, *words: str) -> None:
    """Exit code 2, nothing on stdout, and one line that has the words."""
    _ended(result, 2, words)


def failed(result: Result, *words: str) -> None:
    """Exit code 1, nothing on stdout, and one line that has the words."""
    _ended(result, 1, words)


def _ended(result: Result, exit_code: int, words: tuple[str, ...]) -> None:
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("neocube: ")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]
