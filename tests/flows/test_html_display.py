"""Plans, passports and requests show themselves in notebooks, and nothing that strangers wrote becomes markup."""

from typing import Any

import pytest

from flows.html_display import MOST_ROWS, passport_html, plan_html, request_html

HOSTILE = "<script>alert('x')</script><img src=x onerror=y>"
ESCAPED = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;img src=x onerror=y&gt;"


def plan_document(n_cells: int = 1) -> dict[str, Any]:
    cell = {"id": "1", "tile": "32647_r1_c2", "period": "2020", "state": "missing", "scenes": 3}
    return {
        "cells": [cell] * n_cells, "scenes": 3, "bytes_read": 123_400_000, "host_bytes": 5_000_000, "seconds": 12.5,
        "device": "cpu", "price": {"amount": 0.25, "currency": "GBP"}, "notes": [HOSTILE],
    }  # fmt: skip


def request_document(**more: Any) -> dict[str, Any]:
    return {
        "product": "p", "area": "demo", "period": "2020", "state": "failed", "cause": None, "project": "coast", "cube": None,
        "cells": {"built": 1, "to_build": 4}, "price": {"planned": 0.5, "currency": "EUR"}, **more,
    }  # fmt: skip


def passport_document() -> dict[str, Any]:
    scene = {"datetime": "2020-01-02T03:04:05", "platform": "landsat-8", "fate": None, "item_id": HOSTILE}
    return {
        "cell": {"product": "p", "period": "2020", "tile": "t", "id": "7"},
        "recipe": {"name": "p", "version": 2, "digest": "abcdef0123456789"}, "model": {"id": "m"},
        "counts": {"expected": 5, "used": 3, "cloud": 2, "unread": 0}, "scenes": [scene],
    }  # fmt: skip


def test_a_plan_shows_its_cells_size_time_and_price() -> None:
    shown = plan_html("a title", plan_document(), 0.125)
    for words in ("1: 0 fresh, 0 stale, 1 missing", "0.12 GB", "5.0 MB", "about 12.5 s on the cpu, 0.1250 core-hours"):
        assert words in shown
    assert "0.25 GBP" in shown and "<td>32647_r1_c2</td>" in shown


def test_of_many_cells_the_first_are_shown_and_the_others_counted() -> None:
    shown = plan_html("a title", plan_document(MOST_ROWS + 12), 0.1)
    assert shown.count("<td>32647_r1_c2</td>") == MOST_ROWS
    assert "and 12 more" in shown


@pytest.mark.parametrize(
    "shown",
    [
        plan_html(HOSTILE, plan_document(), 0.1),
        passport_html(passport_document()),
        request_html(request_document(cause=HOSTILE)),
        request_html(request_document(area=HOSTILE, project=HOSTILE, cube=HOSTILE)),
    ],
)
def test_hostile_words_do_not_become_markup(shown: str) -> None:
    assert ESCAPED in shown
    assert "<script" not in shown and "<img" not in shown


def test_a_passport_shows_the_fate_of_each_scene_and_the_counts_that_are_not_zero() -> None:
    shown = passport_html(passport_document())
    assert "5 expected, 3 used, 2 cloud" in shown and "0 unread" not in shown
    assert "p version 2, abcdef012345" in shown and "<td>2020-01-02</td><td>landsat-8</td><td>unknown</td>" in shown


def test_a_request_shows_how_far_it_is_and_why_it_failed() -> None:
    shown = request_html(request_document(cause="no room"))
    assert "failed: no room" in shown and "1 of 4 built" in shown and "0.5 EUR" in shown and "not yet" in shown
