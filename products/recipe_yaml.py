"""The YAML of a recipe: read without aliases, repeated keys and depth, and its faults with their lines."""

import re
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from products.errors import RequestError
from products.formula import near

MAX_DEPTH = 20
# YAML has numbers to the base of 60, too; Python writes none of thousands of digits
LONG_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-Fx_:.]{100,}")
_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def composed(text: str, origin: str) -> tuple[yaml.Node, Any]:
    """The node tree and the document, refusing aliases: an alias can make a small file expand without end."""
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > MAX_DEPTH:
                raise RequestError(f"{origin}, line {token.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
            if isinstance(token, yaml.ScalarToken) and token.plain and LONG_NUMBER.fullmatch(token.value):
                raise RequestError(
                    f"{origin}, line {token.start_mark.line + 1}: expected numbers of at most 100 characters, got one of {len(token.value)}"
                )
            if isinstance(token, yaml.AliasToken):
                raise RequestError(
                    f"{origin}, line {token.start_mark.line + 1}: YAML aliases (*{token.value}) are not allowed in recipes"
                )
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except RequestError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(f"{origin} is not readable YAML: {' '.join(str(error).split())}") from error
    if root is None:
        raise RequestError(f"{origin} is empty: expected a recipe")
    _refuse_repeated_keys(root, origin)
    return root, document


def _refuse_repeated_keys(node: yaml.Node, origin: str) -> None:
    """YAML keeps the last of two equal keys in silence; we do not."""
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        for key, child in node.value:
            if keys.count(key.value) > 1:
                raise RequestError(f"{origin}, line {key.start_mark.line + 1}: the key {key.value!r} stands twice")
            children.append(child)
    for child in children:
        _refuse_repeated_keys(child, origin)


def sentences(origin: str, root: yaml.Node, model: type[BaseModel], error: ValidationError) -> str:
    """The faults that pydantic found, a line each; a list is not called too short for the want of its own faulty entries."""
    entries = error.errors()
    faulty = {entry["loc"][:depth] for entry in entries for depth in range(len(entry["loc"]))}
    told = (entry for entry in entries if entry["type"] != "too_short" or entry["loc"] not in faulty)
    return "\n".join(_sentence(origin, root, model, entry) for entry in told)


def _sentence(origin: str, root: yaml.Node, model: type[BaseModel], entry: Any) -> str:  # noqa: ANN401
    """One fault that pydantic found, with its line and key, and near keys for an unknown one."""
    place = tuple(part for part in entry["loc"])
    where = ".".join(str(part) for part in place)
    prefix = f"{origin}, line {line_of(root, place)}" + (f", {where}" if where else "")
    if entry["type"] == "extra_forbidden":
        return f"{prefix}: unknown key {place[-1]!r}{near(str(place[-1]), _known_keys(model, place[:-1]))}"
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{prefix}: {message}" + (
        f", got {entry['input']!r}" if entry["type"] not in ("value_error", "missing") else ""
    )


def _known_keys(model: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    """The keys that may stand at a place; of every kind of feature, where there are several."""
    models = [model]
    for part in place:
        fields = [f for m in models for name, f in m.model_fields.items() if part in (name, f.alias)]
        models = [m for field in fields for m in _models_in(field.annotation)] or models
    return sorted({field.alias or name for m in models for name, field in m.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]


def line_of(node: yaml.Node, place: tuple[Any, ...]) -> int:
    """The line (from 1) of the deepest node of `place` that exists."""
    line = node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                continue
            line, node = pairs[part][0].start_mark.line + 1, pairs[part][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
