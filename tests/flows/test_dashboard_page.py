"""The panels from the readings of a moment, and the page that shows them."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from flows.steps.service.dashboard_page import dashboard_page, in_unit, panel_values
from flows.steps.service.panel_figures import Figures
from flows.steps.service.panels import ROWS, Panel, Unit
from flows.steps.service.service_metrics import METRICS, Reading
from flows.steps.service.service_readings import PartRead

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
VOID = {"meta", "br", "img"}


class Reader(HTMLParser):
    """Reads titles and rows of panels, and sees that every tag is closed where it was opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.panels: dict[str, list[list[str]]] = {}
        self._title = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.panels[self._title].append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h3":
            self._title = data
            self.panels[data] = []
        elif self.open and self.open[-1] in ("th", "td") and data.strip():
            self.panels[self._title][-1].append(data)


def flow_runs(flow: str, state: str, count: float) -> Reading:
    return Reading("neocube_flow_runs_last_day", count, {"flow": flow, "state": state})


RUNS = [flow_runs("ingest", "failed", 1), flow_runs("ingest", "completed", 3), flow_runs("tend", "completed", 24)]


def panel(title: str) -> Panel:
    (found,) = [each for panels in ROWS.values() for each in panels if each.title == title]
    return found


def test_values_of_other_labels_are_joined() -> None:
    metric = "neocube_flow_runs_last_day"
    assert Figures(metric, ("flow",)).values(RUNS, 0) == {("ingest",): 4, ("tend",): 24}
    assert Figures(metric, (), "max").values(RUNS, 0) == {(): 24}
    assert Figures(metric, ("flow",), where={"state": ("failed",)}).values(RUNS, 0) == {("ingest",): 1}
    assert Figures(metric, ("flow",)).query == "sum by (flow) (neocube_flow_runs_last_day)"


def test_a_share_is_nought_where_nothing_failed_and_absent_where_there_is_nothing_to_share() -> None:
    (share,) = panel("Share of failed runs").figures
    assert share.values([*RUNS, flow_runs("retire", "failed", 0)], 0) == {("ingest",): 0.25, ("tend",): 0}


def test_an_age_counts_from_the_last_instant() -> None:
    days = {"here": 3, "there": 1}
    readings = [
        Reading(
            "neocube_scene_newest_timestamp_seconds",
            NOW.timestamp() - 86400 * age,
            {"archive": archive, "collection": "a"},
        )
        for archive, age in days.items()
    ]
    (newest,) = panel("Age of the newest scene").figures
    assert newest.values(readings, NOW.timestamp()) == {("a",): 86400}
    assert newest.query == "time() - max by (collection) (neocube_scene_newest_timestamp_seconds)"


def test_a_legend_has_the_values_of_its_labels_also_where_they_look_like_labels() -> None:
    named = Figures("neocube_cells", ("product", "family"), name="{{product}} ({{family}})")
    assert named.named(("{{family}}", "map")) == "{{family}} (map)"
    assert Figures("neocube_gpu_utilization_ratio", ("instance", "gpu")).named(("", "0")) == "0"


def test_every_figure_of_a_panel_is_a_metric_of_ours_by_labels_that_it_has() -> None:
    for each in (figures for panels in ROWS.values() for panel in panels for figures in panel.figures):
        for asked in (each, *([each.whole] if each.whole else [])):
            labels = set(METRICS[asked.metric].labels)
            assert {*asked.by, *asked.where} - {"instance"} <= labels, asked
            assert not asked.or_zero or {*asked.by} <= set(METRICS[asked.or_zero].labels), asked


@pytest.mark.parametrize(
    ("unit", "value", "words"),
    [
        ("yes or no", 1, "yes"),
        ("yes or no", 0, "no"),
        ("share", 0.123, "12.3%"),
        ("count", 1234, "1,234"),
        ("count", 0.5, "0.50"),
        ("seconds", 12.34, "12.3 s"),
        ("seconds", 90, "1.5 min"),
        ("seconds", 86400 * 3, "3.0 d"),
        ("bytes", 2.5e6, "2.5 MB"),
        ("bytes", 12, "12.0 B"),
    ],
)
def test_values_are_read_in_their_unit(unit: Unit, value: float, words: str) -> None:
    assert in_unit(unit, value) == words


def test_bars_are_shares_of_the_largest_and_a_share_is_its_own_bar() -> None:
    runs = panel_values(panel("Runs of 24 hours"), RUNS, 0)["values"]
    assert [(each["name"], each["shown"], each["share"]) for each in runs] == [
        ("ingest completed", "3", 3 / 24),
        ("ingest failed", "1", 1 / 24),
        ("tend completed", "24", 1),
    ]
    shares = panel_values(panel("Share of failed runs"), RUNS, 0)["values"]
    assert [(each["shown"], each["share"]) for each in shares] == [("25.0%", 0.25), ("0.0%", 0)]
    none = panel_values(panel("Runs of 24 hours"), [flow_runs("tend", "failed", 0)], 0)["values"]
    assert [each["share"] for each in none] == [0]


def test_the_page_has_every_panel_with_its_values_and_what_does_not_answer() -> None:
    up = [Reading("neocube_up", 1, {"part": "index"}), Reading("neocube_up", 0, {"part": "prefect"})]
    hostile = Reading("neocube_cubes", 2, {"product": "<script>alert(1)</script>"})
    page = dashboard_page([PartRead("index", (up[0], hostile)), PartRead("prefect", (up[1],), "refused <here>")], NOW)
    panels = Reader(page).panels
    assert list(panels) == [panel.title for panels in ROWS.values() for panel in panels]
    assert panels["Parts that answer"] == [["index", "yes"], ["prefect", "no"]]
    assert panels["Cubes"] == [["<script>alert(1)</script>", "2"]]
    assert panels["Models"] == []
    assert "<script" not in page
    assert "prefect does not answer: refused &lt;here&gt;" in page
    assert "<title>neocube: 1 parts do not answer</title>" in page
    assert "Read at <time>2026-11-26 12:00:00 UTC</time>" in page
