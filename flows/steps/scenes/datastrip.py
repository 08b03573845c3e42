"""Slices of one pass: what two receiving stations took of the same tile or scene, told apart by the metadata."""

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta

from flows.steps.scenes.item_facts import compact

DATASTRIP = re.compile(r"S2[A-D]_OPER_MSI_L2A_DS_\w{4}_\d{8}T\d{6}_S(\d{8}T\d{6})", re.ASCII)
GRANULE_FOLDER = re.compile(r"/L2A_T\w{5}_A\d{6}_(\d{8}T\d{6})/", re.ASCII)
LANDSAT_SCENE = re.compile(r"L[COTE][4-9]\d{13}(?!XXX)([A-Z]{3})\d{2}", re.ASCII)
# Datastrips of one tile begin minutes apart (T16SGD of 2025-10-10: 16:27:37 and 16:34:03), processed anew within seconds.
SAME_DATASTRIP_S, SAME_TILE_S = 10.0, 1.5
LONGEST_DATATAKE = timedelta(hours=1)


def msi_slice(texts: Iterable[str], sensed: datetime, datatake: datetime) -> str:
    """`S<start of the datastrip>` and `T<sensing of the tile>`, as far as the item tells them."""
    marks = []
    for text in texts:
        if found := DATASTRIP.search(text) or GRANULE_FOLDER.search(text):
            marks.append(f"S{found[1]}")
            break
    # Some catalogues give the start of the datatake, which is the same for all tiles, as `datetime`, some the day alone.
    is_day = sensed.time() == time() and not timedelta() < sensed - datatake < LONGEST_DATATAKE
    if abs((sensed - datatake).total_seconds()) > SAME_TILE_S and not is_day:
        marks.append(f"T{compact(sensed)}")
    return " ".join(marks)


def landsat_slice(scene_id: object) -> str:
    """`G<receiving station>` of a Landsat scene id (LC80330322023281LGN00: GLGN), or nothing."""
    found = LANDSAT_SCENE.fullmatch(scene_id) if isinstance(scene_id, str) else None
    return f"G{found[1]}" if found else ""


def same_slice(one: str, other: str) -> bool:
    """Whether two renditions of an acquisition show the same slice, by the first mark that both have; if none, yes."""
    ours, theirs = ({mark[0]: mark[1:] for mark in text.split()} for text in (one, other))
    for kind, tolerance_s in (("G", None), ("S", SAME_DATASTRIP_S), ("T", SAME_TILE_S)):
        if kind in ours and kind in theirs:
            return ours[kind] == theirs[kind] or (
                tolerance_s is not None and _apart_s(ours[kind], theirs[kind]) <= tolerance_s
            )
    return True


def _apart_s(one: str, other: str) -> float:
    first, second = (datetime.strptime(text, "%Y%m%dT%H%M%S") for text in (one, other))
    return abs((first - second).total_seconds())
