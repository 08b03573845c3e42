"""Try a recipe on a table, or train one, in a process of its own; print what was planned and what was its peak, in bytes, as JSON."""

import json
import sys
from pathlib import Path

from flows.train_here import train
from flows.train_table import train_table


def main(recipe: str, *tables: str) -> None:
    """`recipe` must name a version that was never trained."""
    told = train_table(recipe, tables, "cpu") if tables else train(recipe, device="cpu").document()
    assert told["trained"], told
    peak = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    sys.stdout.write(json.dumps({"planned_bytes": told["host_bytes"], "peak_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
