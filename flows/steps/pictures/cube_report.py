"""A page (HTML) about how a cube was made: seconds by stage, what could not be read, what became of the observations, pictures."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jinja2

from datacube_config.connection import Index
from flows.steps.cubes.cells import SECONDS, THREADS
from flows.steps.cubes.open_cube import asked_stored
from flows.steps.pictures.cube import (
    COVERAGE_PX,
    QUICKLOOK_PX,
    coverage_picture,
    quicklook_picture,
    sites_for_picture,
)
from products.errors import RequestError
from products.pixel.causes import ACCOUNT_NAMES

YEAR_S = 365.25 * 86400
TEMPLATE = Path(__file__).with_name("cube_report.html")


@dataclass(frozen=True, slots=True)
class Rates:
    """What an hour of a core costs and what a core takes (W); 0 where nobody said."""

    price_per_core_hour: float = 0.0
    currency: str = "GBP"
    core_power_w: float = 0.0


def cube_report(index: Index, url: str, options: Mapping[str, Any], rates: Rates) -> str:
    """The page about the snapshot at a URL, with its pictures in it, whole in itself. RequestError where there is none, or no scenes were read."""
    attributes = asked_stored(url, options).attrs
    facts = _facts(index, [UUID(each) for each in attributes["neocube:cells"]])
    if not any(each["accounts"] for each in facts):
        raise RequestError(
            f"expected a cube that was built from scenes, got {url}: none of its cells says what was read"
        )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=attributes["title"],
        product=f"{attributes['neocube:product']} version {attributes['neocube:version']}",
        area=attributes["neocube:area"],
        url=url,
        missing=attributes["neocube:missing"],
        cells=facts,
        stages=_stages(facts),
        spent=_spent(facts, rates),
        unread=[{"cell": each["cell"], **failure} for each in facts for failure in each["manifest"]["failed"]],
        accounts=_accounts(facts),
        pictures=_pictures(url, options),
    )


def _facts(index: Index, numbers: Sequence[UUID]) -> list[dict[str, Any]]:
    """What the index has of each cell, in the order of the cube."""
    documents = (row.metadata_doc for row in index.dc.index.datasets.bulk_get(numbers))
    rows = {UUID(document["id"]): document for document in documents}
    known = [(number, rows[number], rows[number]["properties"]) for number in numbers if number in rows]
    return [
        {
            "cell": f"{said['neocube:period']} {said['neocube:tile']}",
            "id": str(number),
            "at": said["odc:processing_datetime"],
            "device": said.get("neocube:device", ""),
            "code": said["neocube:code"]["version"],
            "seconds": {"total": 0.0, **said.get(SECONDS, {})},
            "threads": said.get(THREADS, 0),
            "square_km_years": _square_km_years(document),
            "decoded_mb": said.get("neocube:decoded_bytes", 0) / 1e6,
            "manifest": {"expected": 0, "read": 0, "retried": 0, "failed": [], **said.get("neocube:manifest", {})},
            "accounts": said.get("neocube:accounts", {}),
        }
        for number, document, said in known
    ]


def _stages(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Seconds of all cells together and share by stage; `publishing and the rest` is what the others leave of the total."""
    sums: Counter[str] = Counter()
    for each in facts:
        for name, seconds in each["seconds"].items():
            sums[name] += seconds
    total = sums.pop("total", 0)
    stages = {**sums, "publishing and the rest": total - sum(sums.values())} if total else {}
    return [{"name": name, "seconds": seconds, "share": seconds / total} for name, seconds in stages.items()]


def _spent(facts: Sequence[Mapping[str, Any]], rates: Rates) -> list[dict[str, Any]]:
    """Core hours, cost and energy of all cells, and per square kilometre and year; only what somebody said the rate of."""
    core_h = sum(each["seconds"]["total"] * each["threads"] for each in facts) / 3600
    size = sum(each["square_km_years"] for each in facts if each["threads"])
    if not size:
        return []
    cost, energy_kwh = core_h * rates.price_per_core_hour, core_h * rates.core_power_w / 1000
    named = {"core hours": core_h, f"cost, {rates.currency}": cost, "energy, kWh": energy_kwh}
    return [{"name": name, "all": value, "each": value / size} for name, value in named.items() if value]


def _square_km_years(document: Mapping[str, Any]) -> float:
    """The pixels of a cell on the ground of its projection, times its period; a year has 365.25 days."""
    (height, width), (xx, _, _, _, yy, *_) = (
        document["grids"]["default"]["shape"],
        document["grids"]["default"]["transform"],
    )
    start, end = (datetime.fromisoformat(document["properties"][f"dtr:{name}_datetime"]) for name in ("start", "end"))
    return abs(height * width * xx * yy) / 1e6 * (end - start).total_seconds() / YEAR_S


def _accounts(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Observations of pixels by what became of them, and their share of those expected; causes that nothing had are left out."""
    sums = {name: sum(each["accounts"].get(name, 0) for each in facts) for name in ACCOUNT_NAMES}
    expected = max(sums.get("expected", 0), 1)
    return [{"name": name, "count": count, "share": count / expected} for name, count in sums.items() if count]


def _pictures(url: str, options: Mapping[str, Any]) -> list[dict[str, str]]:
    coverage = coverage_picture(*sites_for_picture(url, options, COVERAGE_PX))
    quicklook = quicklook_picture(*sites_for_picture(url, options, QUICKLOOK_PX))
    named = {"Clear observations used, per pixel": coverage, "The last period": quicklook}
    return [
        {"says": says, "source": f"data:image/png;base64,{base64.b64encode(png).decode()}"}
        for says, png in named.items()
    ]
