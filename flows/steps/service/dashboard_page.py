"""The panels as a page (HTML, no script) with the figures of this moment, for sites without Grafana and for a screen on a wall."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from flows.steps.service.panels import ROWS, Panel, Unit
from flows.steps.service.service_metrics import Reading
from flows.steps.service.service_readings import PartRead

TEMPLATE = Path(__file__).with_name("dashboard_page.html")
REFRESH_S = 60
SECONDS = ((86400, "d"), (3600, "h"), (60, "min"))
BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def dashboard_page(parts: Sequence[PartRead], now: datetime) -> str:
    """The page: each panel with its values, and what does not answer with what it says. It asks for itself again each minute."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    readings = [reading for part in parts for reading in part.readings]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        at=f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        refresh_s=REFRESH_S,
        silent=[part for part in parts if part.silence],
        rows={
            title: [panel_values(panel, readings, now.timestamp()) for panel in panels]
            for title, panels in ROWS.items()
        },
    )


def panel_values(panel: Panel, readings: Iterable[Reading], now: float) -> dict[str, Any]:
    """The title of a panel and its `values`: `name`, `shown` in its unit, `share` of the largest (of 1 where they are shares)."""
    every = list(readings)
    found = [
        (figures.named(place), value)
        for figures in panel.figures
        for place, value in figures.values(every, now).items()
    ]
    most = 1.0 if panel.unit in ("share", "yes or no") else max((value for _, value in found), default=0.0)
    values = [
        {"name": name, "shown": in_unit(panel.unit, value), "share": min(max(value / most, 0.0), 1.0) if most > 0 else 0.0}
        for name, value in found
    ]  # fmt: skip
    return {"title": panel.title, "unit": panel.unit, "values": values}


def in_unit(unit: Unit, value: float) -> str:
    """A value as people read it."""
    if unit == "yes or no":
        return "yes" if value else "no"
    if unit == "share":
        return f"{value:.1%}"
    if unit == "count":
        return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
    scales = SECONDS if unit == "seconds" else BYTES
    size, name = next((scale for scale in scales if abs(value) >= scale[0]), (1.0, "s" if unit == "seconds" else "B"))
    return f"{value / size:,.1f} {name}"
