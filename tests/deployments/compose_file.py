"""The services of deployments/compose, with the variables of env.template."""

import re
from typing import Any

import yaml

from tests.deployments.command_lines import DEPLOYMENTS

FOLDER = DEPLOYMENTS / "compose"
DOCUMENT: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = DOCUMENT["services"]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<sign>[-?])(?P<rest>[^}]*))?\}")


def template() -> dict[str, str]:
    """The variables of env.template with their values; one without a value is a secret."""
    lines = (FOLDER / "env.template").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text: str) -> str:
    """A text with the variables that it takes put in their place."""
    return VARIABLE.sub(lambda found: (template()[found["name"]] or "secret").strip('"'), text)


def environment(name: str) -> dict[str, str]:
    """The environment of a service."""
    given: dict[str, str] = SERVICES[name].get("environment", {})
    return {key: filled(value) for key, value in given.items()}
