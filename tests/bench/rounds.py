"""Several ways to the same end, taking turns: seconds of each round, and the row of the table that they make."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Seconds = Mapping[Any, Sequence[float]]


def take_turns(ways: Mapping[Any, Callable[[], object]], rounds: int) -> dict[Any, list[float]]:
    """Seconds of each way in each round; a round runs all of them, so that a busy minute is shared."""
    seconds: dict[Any, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def row_of(name: str, seconds: Seconds, ours: str, peer: str, limit: str = "", **more: Any) -> dict[str, Any]:
    """The row of one peer: medians, and the ratios round by round. `peer` and `limit` are names of ways, as the row shows them."""
    kept = {way: [round(value, 5) for value in seconds[way]] for way in (ours, peer, *([limit] if limit else ()))}
    return {
        "name": name,
        "ours_s": _median(seconds[ours]),
        "peer": peer,
        "peer_s": _median(seconds[peer]),
        "limit": limit,
        "limit_s": _median(seconds[limit]) if limit else None,
        "peer_over_ours": ratio(seconds[peer], seconds[ours]),
        **({"ours_over_limit": ratio(seconds[ours], seconds[limit])} if limit else {}),
        "rounds": kept,
        **more,
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Ratio round by round: smallest, median, largest."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {"min": round(min(ratios), 2), "median": round(statistics.median(ratios), 2), "max": round(max(ratios), 2)}


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 5)
