"""Print the Grafana dashboard of neocube: `python deployments/grafana/make_dashboard.py > deployments/grafana/neocube.json`."""

import sys
from itertools import count

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from flows.steps.service.panel_figures import Figures
from flows.steps.service.panels import ROWS, Panel

SOURCE = DataSourceRef("prometheus", "${source}")
UNITS = {"count": "none", "share": "percentunit", "seconds": "s", "bytes": "bytes", "yes or no": "bool_yes_no"}
ALERTS = Figures("ALERTS", (), "sum", "firing", {"alertstate": ("firing",)}, "up")
EXTRA = {"Service": (Panel("Alerts", "count", (ALERTS,), is_now=True),)}  # Prometheus has alerts, neocube has not


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
        for shown in (*panels, *EXTRA.get(title, ())):
            board = board.with_panel(panel(shown).id(next(numbers)))
    return board


def panel(shown: Panel) -> Stat | Timeseries:
    """A number or a curve, a third of the dashboard wide."""
    legend = VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = Stat().graph_mode(BigValueGraphMode.NONE) if shown.is_now else Timeseries().legend(legend).fill_opacity(10)
    made = made.title(shown.title).unit(UNITS[shown.unit]).datasource(SOURCE).span(8).height(7).min(0)
    for ref, figures in zip("ABCD", shown.figures, strict=False):
        target = Dataquery().ref_id(ref).expr(figures.query).legend_format(figures.legend).datasource(SOURCE)
        made = made.with_target(target.instant() if shown.is_now else target.range())
    return made


if __name__ == "__main__":
    sys.stdout.write(JSONEncoder(sort_keys=True, indent=2).encode(dashboard().build()) + "\n")
