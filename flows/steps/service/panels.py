"""What dashboards show, once for all of them: Grafana by a script in deployments/grafana, and our own page."""

from dataclasses import dataclass
from typing import Literal

from flows.steps.service.panel_figures import Figures, Join

Unit = Literal["count", "share", "seconds", "bytes", "yes or no"]


@dataclass(frozen=True, slots=True)
class Panel:
    """Figures under a title, in one unit; `is_now` where how they were before says little."""

    title: str
    unit: Unit
    figures: tuple[Figures, ...]
    is_now: bool = False


def some(metric: str, by: str = "", join: Join = "sum", name: str = "", or_zero: str = "", **where: str) -> Figures:
    """A metric by labels, with spaces between them; of a label of `where` the values that are kept, with spaces between them."""
    kept = {label: tuple(values.split()) for label, values in where.items()}
    return Figures(f"neocube_{metric}", tuple(by.split()), join, name, kept, or_zero and f"neocube_{or_zero}")


def age(instant: str, by: str, join: Join = "max", or_zero: str = "") -> Figures:
    """Seconds since an instant, the last where others are joined."""
    return some(f"{instant}_timestamp_seconds", by, join, "", or_zero).as_age()


ROWS: dict[str, tuple[Panel, ...]] = {
    "Service": (
        Panel("Parts that answer", "yes or no", (some("up", "part", "min"),), is_now=True),
        Panel("Free in the store", "share", (some("storage_free_bytes", name="free").share_of(some("storage_size_bytes")),), is_now=True),
        Panel("GPU in use", "share", (some("gpu_utilization_ratio", "instance gpu", "max"),)),
        Panel("Reading the figures", "seconds", (some("read_seconds", "part", "max"),)),
    ),
    "Archives": (
        Panel("Age of the newest scene", "seconds", (age("scene_newest", "collection"),), is_now=True),
        Panel("Active scenes", "count", (some("scenes", "collection", state="active"),)),
        Panel("Scenes added in 24 hours", "count", (some("scenes_last_day", "collection"),)),
        Panel("Items by what became of them", "count", (some("archive_items", "archive state"),)),
        Panel("Items missing", "share", (
            some("archive_items", "archive collection", or_zero="archive_items", state="missing").share_of(
                some("archive_items", "archive collection", state="indexed archived part quarantined missing")
            ),
        )),
        Panel("Quarantine", "count", (some("quarantine_items", "archive collection"),)),
        Panel("Since the last harvest", "seconds", (age("archive_harvested", "archive collection"),)),
    ),
    "Cells, models and maps": (
        Panel("Active cells", "count", (some("cells", "product family", name="{{product}} ({{family}})", state="active"),)),
        Panel("Cells of 24 hours", "count", (
            some("cells_last_day", "product", name="{{product}} built"), some("cell_failures_last_day", "recipe", name="{{recipe}} failed"),
        )),
        Panel("Cells to build again", "count", (
            some("cells_stale", "product", name="{{product}} stale"), some("cells_unread", "product", name="{{product}} unread"),
        )),
        Panel("Seconds a cell", "seconds", (some("cell_build_seconds", "product statistic", "max"),)),
        Panel("Seconds a stage", "seconds", (some("cell_stage_seconds", "product stage", "max"),)),
        Panel("Bytes a cell", "bytes", (
            some("cell_decoded_bytes", "product statistic", "max", "{{product}} decoded {{statistic}}"),
            some("cell_stored_bytes", "product", "max", "{{product}} stored"),
        )),
        Panel("Core time of 24 hours", "seconds", (some("cells_last_day_core_seconds", "product"),)),
        Panel("Cost of 24 hours", "count", (some("cells_last_day_cost", "product currency"),)),
        Panel("Cubes", "count", (some("cubes", "product"),), is_now=True),
        Panel("Models", "count", (some("models", "product", state="active"),), is_now=True),
    ),
    "Runs": (
        Panel("Runs due or running", "count", (some("flow_runs", "flow state"),)),
        Panel("Runs of 24 hours", "count", (some("flow_runs_last_day", "flow state"),)),
        Panel("Share of failed runs", "share", (
            some("flow_runs_last_day", "flow", or_zero="flow_runs_last_day", state="failed crashed").share_of(some("flow_runs_last_day", "flow")),
        )),
        Panel("Since a run completed", "seconds", (age("flow_completed", "flow"),)),
        Panel("Waiting for a worker", "seconds", (age("flow_run_due", "flow", "min", or_zero="flow_runs"),)),
        Panel("Workers", "count", (some("workers", "pool status"),), is_now=True),
        Panel("Follow-ups that are due", "count", (some("follow_ups", "kind"),), is_now=True),
    ),
}  # fmt: skip
