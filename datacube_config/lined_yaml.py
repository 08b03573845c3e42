"""YAML whose errors name the line: no repeated keys, no objects."""

from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from datacube_config.errors import SettingsError

MAX_BYTES = 1 << 20
MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class LinedDocument:
    """A mapping read from YAML, and the nodes it came from."""

    name: str
    content: dict[str, Any]
    root: yaml.Node

    def line(self, place: tuple[Any, ...]) -> int:
        """The line (from 1) of the deepest part of a place that stands in the file."""
        return self._walk(place)[1]

    def depth(self, place: tuple[Any, ...]) -> int:
        """How many parts of a place stand in the file."""
        return self._walk(place)[0]

    def _walk(self, place: tuple[Any, ...]) -> tuple[int, int]:
        node, line, depth = self.root, self.root.start_mark.line + 1, 0
        for part in place:
            child = _child(node, part)
            if child is None:
                break
            line, node, depth = child[0], child[1], depth + 1
        return depth, line


def read_lined(text: str, name: str) -> LinedDocument:
    """The mapping that a YAML text holds, an empty one of an empty text; SettingsError names what is wrong with it and the line."""
    if len(text) > MAX_BYTES:
        raise SettingsError(f"{name}: expected at most {MAX_BYTES} characters, got {len(text)}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is not readable YAML: {' '.join(str(error).split())}") from error
    if root is None:
        return read_lined("{}", name)
    if not isinstance(content, dict):
        raise SettingsError(f"{name}, line 1: expected a mapping, got {type(content).__name__}")
    _check(root, name, 0, set())
    return LinedDocument(name, content, root)


def with_lines(error: ValidationError, documents: list[LinedDocument]) -> SettingsError:
    """Each fault with the file and line it stands in: the last document that has the place."""
    return SettingsError("\n".join(_sentence(documents, entry) for entry in error.errors()))


def _sentence(documents: list[LinedDocument], entry: Any) -> str:  # noqa: ANN401, pydantic's details
    place = tuple(entry["loc"])
    origin = max(documents, key=lambda document: (document.depth(place), documents.index(document)))
    said = "unknown key" if entry["type"] == "extra_forbidden" else str(entry["msg"]).removeprefix("Value error, ")
    return f"{origin.name}, line {origin.line(place)}, {'.'.join(map(str, place)) or 'whole'}: {said}"


def merged(below: Any, above: Any) -> Any:  # noqa: ANN401, whatever YAML holds
    """`above` over `below`: mappings key by key, anything else replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merged(below[key], value) if key in below else value for key, value in above.items()}}
    return above


def _child(node: yaml.Node, part: Any) -> tuple[int, yaml.Node] | None:  # noqa: ANN401, a key or a number
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line + 1, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _check(node: yaml.Node, name: str, depth: int, checked: set[int]) -> None:
    """SettingsError for a document that is nested too deep or repeats a key: YAML keeps the last one in silence."""
    if id(node) in checked:
        return
    checked.add(id(node))
    if depth > MAX_DEPTH:
        raise SettingsError(f"{name}, line {node.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
    children = list(node.value) if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            if key.value in seen:
                raise SettingsError(f"{name}, line {key.start_mark.line + 1}: the key {key.value!r} stands twice")
            seen.add(key.value)
            children.append(child)
    for child in children:
        _check(child, name, depth + 1, checked)
