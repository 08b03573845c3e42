"""Items into scenes, some hundreds at a time: each is a scene, part of another one, or refused with its cause."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.steps.archives.found_items import FoundItem, UnreadItem
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.grid_check import grid_fault
from flows.steps.scenes.normalise import Draft, SceneDocument, draft, place_rings, scene_of


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Why an item is no scene; `is_part`: it belongs to another item's scene, which is no fault."""

    reason: str
    is_part: bool = False


Reading = SceneDocument | NotTaken

TOGETHER = 32
"""Items whose footprints are placed together: enough for one projection, few enough to stay in the cache."""


def read_scenes(items: Sequence[FoundItem], archive: str) -> list[Reading]:
    """What each item is."""
    return [each for at in range(0, len(items), TOGETHER) for each in _read(items[at : at + TOGETHER], archive)]


def _read(items: Sequence[FoundItem], archive: str) -> Iterator[Reading]:
    drafts = [_decided(_draft, found, archive) for found in items]
    placed = place_rings(each for each in drafts if isinstance(each, Draft))
    for each in drafts:
        yield _decided(_checked, each, placed.get(id(each))) if isinstance(each, Draft) else each


def _draft(found: FoundItem, archive: str) -> Draft:
    # Not kept by the item: hundreds of documents at once are slow to come by and to let go.
    document, cause = found.read() if isinstance(found, UnreadItem) else (found.document, found.cause)
    if document is None or cause is not None:
        raise ItemRefused(cause or "unreadable item")
    return draft(document, found.place, archive, read_file_grid)


def _checked(one: Draft, ring: Any) -> SceneDocument:  # noqa: ANN401
    scene = scene_of(one, ring)
    return replace(scene, grid_fault=grid_fault(scene.document))


def _decided(step: Callable[..., Any], *facts: object) -> Any:  # noqa: ANN401
    """What a step makes of an item, or why it makes nothing."""
    try:
        return step(*facts)
    except NotAScene as note:
        return NotTaken(str(note), is_part=True)
    except ItemRefused as refusal:
        return NotTaken(str(refusal))
    except Exception as error:  # noqa: BLE001, the boundary: what one untrusted document provokes must not stop its page
        return NotTaken(f"unexpected content: {type(error).__name__}: {error}")
