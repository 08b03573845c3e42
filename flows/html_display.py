"""Plans, passports and requests as HTML for notebooks. Every text in it is escaped: titles and causes come from strangers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment

MOST_ROWS = 30
_PAGE = Environment(autoescape=True).from_string(
    """<div class="neocube"><p><strong>{{ title }}</strong></p>
<table>{% for name, value in facts %}<tr><th style="text-align:left">{{ name }}</th><td style="text-align:left">{{ value }}</td></tr>{% endfor %}</table>
{% if rows %}<table><thead><tr>{% for name in rows[0] %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr>{% for value in row.values() %}<td>{{ value }}</td>{% endfor %}</tr>{% endfor %}</tbody></table>{% endif %}
{% for note in notes %}<p>{{ note }}</p>{% endfor %}</div>"""
)


_BAR = Environment(autoescape=True).from_string(
    "<progress{% if share is not none %} value='{{ share }}'{% endif %}></progress> {{ said }}"
)


def progress_html(share: float | None, said: str) -> str:
    """A bar as the browser draws it, and words; None as a share where nobody knows how much there is."""
    return _BAR.render(share=None if share is None else round(share, 3), said=said)


def plan_html(title: str, document: Mapping[str, Any], core_hours: float) -> str:
    """What a plan says, its cells in a table."""
    cells, price = document["cells"], document["price"]
    states = Counter(cell["state"] for cell in cells)
    counted = ", ".join(f"{states[state]} {state}" for state in ("fresh", "stale", "missing"))
    facts = {
        "cells": f"{len(cells)}: {counted}",
        "scenes to read": document["scenes"],
        "decoded": size(document["bytes_read"]),
        "memory": size(document["host_bytes"]),
        "time": f"about {document['seconds']} s on the {document['device']}, {core_hours:.4f} core-hours",
        "price": f"{price['amount']} {price['currency']}",
    }
    rows = [{name: cell[name] for name in ("period", "tile", "state", "scenes")} for cell in cells]
    return _html(title, facts, rows, document["notes"])


def passport_html(document: Mapping[str, Any]) -> str:
    """What a pixel is made of, its scenes in a table."""
    cell, recipe, model = document["cell"], document["recipe"], document["model"]
    facts = {
        "cell": f"{cell['product']} {cell['period']} {cell['tile']}",
        "id": cell["id"],
        "recipe": f"{recipe['name']} version {recipe['version']}, {recipe['digest'][:12]}",
        **({"model": model["id"]} if model else {}),
        "observations here": ", ".join(f"{n} {name}" for name, n in document["counts"].items() if n),
    }
    rows = [
        {"day": scene["datetime"][:10], "platform": scene["platform"], "fate": scene["fate"] or "unknown", "item": scene["item_id"]}
        for scene in document["scenes"]
    ]  # fmt: skip
    return _html(f"Passport of a pixel of {cell['product']}", facts, rows)


def request_html(document: Mapping[str, Any]) -> str:
    """A request as it stands."""
    cells, price = document["cells"], document["price"]
    facts = {
        "state": document["state"] + (f": {document['cause']}" if document["cause"] else ""),
        "cells": f"{cells['built']} of {cells['to_build']} built",
        "price": f"{price['planned']} {price['currency']}",
        "project": document["project"],
        "cube": document["cube"] or "not yet",
    }
    return _html(f"{document['product']} over {document['area']}, {document['period']}", facts)


def size(n_bytes: float) -> str:
    """Bytes in MB or GB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def _html(
    title: str, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] = (), notes: Sequence[str] = ()
) -> str:
    left_out = [f"and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else []
    return _PAGE.render(title=title, facts=facts.items(), rows=rows[:MOST_ROWS], notes=[*left_out, *notes])
