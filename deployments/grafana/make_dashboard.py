"""Print the Grafana dashboard of neocube: `python deployments/grafana/make_dashboard.py > deployments/grafana/neocube.json`."""

import sys
from itertools import count
from typing import NamedTuple

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef("prometheus", "${source}")


class Shown(NamedTuple):
    """A panel: its title, the unit of its values, its queries with their legends, and whether it is a number or a curve."""

    title: str
    unit: str
    queries: dict[str, str]
    is_number: bool = False


ROWS = {
    "Service": [
        Shown("Parts that answer", "bool_yes_no", {"min by (part) (neocube_up)": "{{part}}"}, is_number=True),
        Shown("Alerts", "none", {'sum(ALERTS{alertstate="firing"}) or vector(0)': "firing"}, is_number=True),
        Shown("Free in the store", "percentunit", {"min(instance:neocube_storage_free:ratio)": "free"}, is_number=True),
        Shown("GPU in use", "percentunit", {"max by (instance, gpu) (neocube_gpu_utilization_ratio)": "{{instance}} {{gpu}}"}),
        Shown("Reading the figures", "s", {"max by (part) (neocube_read_seconds)": "{{part}}"}),
    ],
    "Archives": [
        Shown("Age of the newest scene", "s", {"collection:neocube_scene_age_seconds:min": "{{collection}}"}, is_number=True),
        Shown("Active scenes", "none", {'sum by (collection) (neocube_scenes{state="active"})': "{{collection}}"}),
        Shown("Scenes added in 24 hours", "none", {"sum by (collection) (neocube_scenes_last_day)": "{{collection}}"}),
        Shown("Items by what became of them", "none", {"sum by (archive, state) (neocube_archive_items)": "{{archive}} {{state}}"}),
        Shown("Items missing", "percentunit", {"archive_collection:neocube_archive_items_missing:ratio": "{{archive}} {{collection}}"}),
        Shown("Quarantine", "none", {"sum by (archive, collection) (neocube_quarantine_items)": "{{archive}} {{collection}}"}),
        Shown("Since the last harvest", "s", {"archive_collection:neocube_archive_harvest_age_seconds:min": "{{archive}} {{collection}}"}),
    ],
    "Cells, models and maps": [
        Shown("Active cells", "none", {'sum by (product, family) (neocube_cells{state="active"})': "{{product}} ({{family}})"}),
        Shown(
            "Cells of 24 hours", "none",
            {"sum by (product) (neocube_cells_last_day)": "{{product}} built", "sum by (recipe) (neocube_cell_failures_last_day)": "{{recipe}} failed"},
        ),
        Shown(
            "Cells to build again", "none",
            {"sum by (product) (neocube_cells_stale)": "{{product}} stale", "sum by (product) (neocube_cells_unread)": "{{product}} unread"},
        ),
        Shown("Seconds a cell", "s", {"max by (product, statistic) (neocube_cell_build_seconds)": "{{product}} {{statistic}}"}),
        Shown("Seconds a stage", "s", {"max by (product, stage) (neocube_cell_stage_seconds)": "{{product}} {{stage}}"}),
        Shown(
            "Bytes a cell", "bytes",
            {
                "max by (product, statistic) (neocube_cell_decoded_bytes)": "{{product}} decoded {{statistic}}",
                "max by (product) (neocube_cell_stored_bytes)": "{{product}} stored",
            },
        ),
        Shown("Cubes", "none", {"sum by (product) (neocube_cubes)": "{{product}}"}, is_number=True),
        Shown("Models", "none", {'sum by (product) (neocube_models{state="active"})': "{{product}}"}, is_number=True),
    ],
    "Runs": [
        Shown("Runs due or running", "none", {"sum by (flow, state) (neocube_flow_runs)": "{{flow}} {{state}}"}),
        Shown("Runs of 24 hours", "none", {"sum by (flow, state) (neocube_flow_runs_last_day)": "{{flow}} {{state}}"}),
        Shown("Share of failed runs", "percentunit", {"flow:neocube_flow_runs_last_day_failed:ratio": "{{flow}}"}),
        Shown("Since a run completed", "s", {"time() - max by (flow) (neocube_flow_completed_timestamp_seconds)": "{{flow}}"}),
        Shown("Waiting for a worker", "s", {"flow:neocube_flow_run_wait_seconds:max": "{{flow}}"}),
        Shown("Workers", "none", {"sum by (pool, status) (neocube_workers)": "{{pool}} {{status}}"}, is_number=True),
        Shown("Follow-ups that are due", "none", {"sum by (kind) (neocube_follow_ups)": "{{kind}}"}, is_number=True),
    ],
}  # fmt: skip


def dashboard() -> Dashboard:
    """The dashboard, its data source a variable."""
    board = (
        Dashboard("neocube")
        .uid("neocube-service")
        .tags(["neocube"])
        .timezone("utc")
        .refresh("1m")
        .time("now-7d", "now")
        .with_variable(DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    numbers = count(1)
    for title, panels in ROWS.items():
        board = board.with_row(Row(title).id(next(numbers)))
        for shown in panels:
            board = board.with_panel(panel(shown).id(next(numbers)))
    return board


def panel(shown: Shown) -> Stat | Timeseries:
    """A number or a curve, a third of the dashboard wide."""
    legend = VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = (
        Stat().graph_mode(BigValueGraphMode.NONE) if shown.is_number else Timeseries().legend(legend).fill_opacity(10)
    )
    made = made.title(shown.title).unit(shown.unit).datasource(SOURCE).span(8).height(7).min(0)
    for ref, (query, name) in zip("ABCD", shown.queries.items(), strict=False):
        target = Dataquery().ref_id(ref).expr(query).legend_format(name).datasource(SOURCE)
        made = made.with_target(target.instant() if shown.is_number else target.range())
    return made


if __name__ == "__main__":
    sys.stdout.write(JSONEncoder(sort_keys=True, indent=2).encode(dashboard().build()) + "\n")
