"""Build the bench tile in a process of its own; print what was planned and what was its peak, in bytes, as JSON."""

import json
import sys
from pathlib import Path

from flows.build_here import build
from flows.plan_cells import plan


def main(recipe: str, area: str) -> None:
    """`recipe` must name a version that was never built."""
    planned = max(cell.host_bytes for cell in plan(recipe, area, "2020").to_build)
    report = build(recipe, area, "2020")
    assert (report["built"], report["failed"]) == (1, []), report
    peak = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    sys.stdout.write(json.dumps({"planned_bytes": planned, "peak_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
