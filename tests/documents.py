"""The blocks of a document, and whether a command in it is one."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from flows.cli import main

REPOSITORY = Path(__file__).parents[1]
FENCE = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and why it is not run."""

    language: str
    body: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """The command lines of a console block, continued lines joined."""
        joined = self.body.replace("\\\n", " ")
        return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document."""
    for found in FENCE.finditer(path.read_text(encoding="utf-8")):
        yield Block(found["language"], found["body"], found["reason"])


def parse(line: str) -> None:
    """Parse a command line against the command tree, without running it."""
    words = shlex.split(line.partition(" > ")[0])[1:]
    command: click.Command = main
    context = click.Context(main, info_name="neocube")
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"no command {name!r} in: {line}"
        command = found
    if words:
        command.make_context(command.name, words, parent=context)
