"""What a cell costs in a task of the flow `build-cube` on a Prefect server, beside the same cells built without one.

`python tests/bench/orchestration_rates.py` prints the rows as JSON, in some two minutes.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from cell_costs import MINUTE_SHARE_S, new_small_recipe, small_archive
from prefect.settings import PREFECT_API_URL, temporary_settings
from rounds import row_of, take_turns

from flows.build_cube import build_cube
from flows.build_here import build
from flows.steps.service.prefect_processes import free_port, private_environment, running_server

ROUNDS = 3


def rows(root: Path) -> list[dict[str, Any]]:
    """The rows of the table."""
    few, many = small_archive(root / "orchestrated")
    environment = private_environment(root / "orchestrated" / "home")
    os.environ.update(environment)
    with running_server("127.0.0.1", free_port(), environment, root / "prefect.log", ui=False) as server:
        server.wait_until_ready()
        with temporary_settings({PREFECT_API_URL: server.url}):
            return [_row(root, few, many)]


def _row(root: Path, few: str, many: str) -> dict[str, Any]:
    def plain(area: str) -> int:
        return _built(build(new_small_recipe(root), area, "2020"))

    def orchestrated(area: str) -> int:
        return _built(build_cube(new_small_recipe(root), area, "2020"))

    plain(few)  # compiles
    orchestrated(few)
    n_cells = plain(many)
    ours, peer, limit = "tasks of Prefect", "the same without", "the same and 3 % of a minute"
    seconds = take_turns({ours: partial(orchestrated, many), peer: partial(plain, many)}, ROUNDS)
    each = {way: [round(value / n_cells, 6) for value in values] for way, values in seconds.items()}
    each[limit] = [value + MINUTE_SHARE_S for value in each[peer]]
    return row_of(f"a small cell of {n_cells} in tasks on a Prefect server", each, ours, peer, limit)


def _built(report: dict[str, Any]) -> int:
    assert report["failed"] == [], report["failed"]
    return int(report["built"])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute()), indent=2) + "\n")
