"""Passes: one platform over a piece of ground on one solar day, the time of a cell of observations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from products.period import Period
from products.scene import Scene

WITHIN_A_PASS = timedelta(hours=1)  # longer than any platform takes over a tile, shorter than an orbit
LAST_SCENE = timedelta(seconds=1)  # a period does not end where it starts


@dataclass(frozen=True, slots=True, order=True)
class Pass(Period):
    """From the first to just after the last sensing time of a pass over some ground, with the id that all its scenes share."""

    pass_id: str
    platform: str

    @property
    def label(self) -> str:
        """The id of the pass, as `landsat-8/127/2020-03-01`."""
        return self.pass_id


def passes_of(scenes: Iterable[Scene]) -> list[tuple[Pass, tuple[Scene, ...]]]:
    """The passes that scenes belong to, and their scenes, in the order of time."""
    members: dict[str, list[Scene]] = {}
    for scene in scenes:
        members.setdefault(scene.pass_id, []).append(scene)
    found = [(_pass(of_pass), tuple(of_pass)) for of_pass in members.values()]
    return sorted(found, key=lambda pair: pair[0])


def merged_passes(passes: Iterable[Pass]) -> tuple[Pass, ...]:
    """Each pass once, over all the ground that it was seen on, in the order of time."""
    by_id: dict[str, Pass] = {}
    for one in passes:
        known = by_id.get(one.pass_id, one)
        by_id[one.pass_id] = Pass(min(known.start, one.start), max(known.end, one.end), one.pass_id, one.platform)
    return tuple(sorted(by_id.values()))


def search_span(periods: Sequence[Period]) -> Period:
    """From the first start to the last end; around passes also what belongs to them if their first or last scene is another one."""
    first = min(p.start - WITHIN_A_PASS if isinstance(p, Pass) else p.start for p in periods)
    return Period(first, max(p.end + WITHIN_A_PASS if isinstance(p, Pass) else p.end for p in periods))


def _pass(scenes: Sequence[Scene]) -> Pass:
    times = [scene.acquired for scene in scenes]
    return Pass(min(times), max(times) + LAST_SCENE, scenes[0].pass_id, scenes[0].platform)
