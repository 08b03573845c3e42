"""Whether a command that a deployment starts is one: its program is known, and its own parser takes its words."""

import importlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import uvicorn
from prefect.cli._app import _app as prefect_app

from tests.documents import parse

REPOSITORY = Path(__file__).parents[2]
DEPLOYMENTS = REPOSITORY / "deployments"


def check_command(words: Sequence[str]) -> None:
    """Raise where a command of neocube, Prefect, uvicorn, psql or Python, or a shell line of such, would be refused."""
    program, arguments = Path(words[0]).name, list(words[1:])
    if program == "sh":
        assert arguments[0] == "-ec", words
        for line in re.split(r" && | \|\| |; ", arguments[1]):
            check_command(shlex.split(line.removeprefix("exec ")))
    elif program == "neocube":
        parse(shlex.join([program, *arguments]))
    elif program == "prefect":
        prefect_app.parse_args(
            [word for word in arguments if word != "--no-prompt"], exit_on_error=False, print_error=False
        )
    elif program == "uvicorn":
        context = uvicorn.main.make_context("uvicorn", arguments)
        module, _, factory = context.params["app"].partition(":")
        assert callable(getattr(importlib.import_module(module), factory))
    elif program == "psql":
        (script,) = re.findall(r"-f (\S+)", shlex.join(arguments))
        assert (REPOSITORY / script).is_file(), script
    elif program == "python":
        assert (REPOSITORY / arguments[0]).is_file(), arguments
    else:
        assert program in ("cubedash-gen", "gunicorn"), f"unknown program {program!r}"


def scheme_behind_a_proxy(environment: Mapping[str, str]) -> str:
    """What uvicorn in this environment takes for the scheme of a browser's request that a proxy on another host got by https."""
    seen = []

    async def page(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["scheme"])

    with patch.dict("os.environ", environment):
        config = uvicorn.Config(page)
    config.load()
    scope = {
        "type": "http",
        "scheme": "http",
        "client": ("172.18.0.9", 1),
        "headers": [(b"x-forwarded-proto", b"https")],
    }
    anyio.run(config.loaded_app, scope, None, None)
    (scheme,) = seen
    return str(scheme)
