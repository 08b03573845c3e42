"""The request page in a real Chromium: by keyboard, by touch on a phone, by mouse on the map, without scripts; and what each element is called."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zipfile import ZipFile

import pytest

from datacube_config.accounts import Account, hashed_password
from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.requesting import finish
from flows.steps.service.request_rows import ledger
from tests.flows.served_page import served_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PASSWORD = "correct horse"
PHONE = {"width": 360, "height": 640}
# WCAG 2.2, success criterion 1.4.3 and the definition of relative luminance
CONTRASTS = """() => {
  const light = (rgb) => { const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = numbers(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255]; };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
    if (!own || node.closest("svg, script") || !node.getClientRects().length) continue;
    const a = light(numbers(getComputedStyle(node).color).slice(0, 3)), b = light(behind(node).slice(0, 3));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${node.tagName} ${node.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return found;
}"""
UNNAMED = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a, img, progress")].filter((node) =>
  !(node.labels && [...node.labels].some((each) => each.textContent.trim())) && !node.textContent.trim() && !node.alt && !node.ariaLabel
).map((node) => node.outerHTML.slice(0, 80))"""
LOADED = (
    "((which) => [...document.querySelectorAll(which)].filter((each) => each.complete && each.naturalWidth > 0).length)"
)
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """Debian's Chromium, without a window."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(asked_settings: Settings) -> Iterator[str]:
    """The page of an index with the small archive, served on loopback."""
    account = {
        "name": "ana",
        "role": "researcher",
        "projects": ["coast"],
        "password_hash": hashed_password(PASSWORD, b"salt"),
    }
    settings = asked_settings.model_copy(update={"accounts": (Account.model_validate(account),)})
    with served_page(settings) as url:
        yield url


OpenPage = Callable[..., "Page"]


@pytest.fixture
def opened(chromium: "Browser", address: str, asked_index: Index) -> Iterator[OpenPage]:
    """Opens a signed-in page; at the end, nothing was asked of another host, no script failed, and what was not had is a store's fault."""
    problems: list[str] = []
    contexts = []

    def open_page(**options: Any) -> "Page":
        context = chromium.new_context(base_url=address, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda asked: None if asked.url.startswith(address) else problems.append(asked.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: (
                problems.append(said.text) if said.type == "error" and "status of 503" not in said.text else None
            ),
        )
        page.goto("/sign-in")
        page.get_by_label("Name").fill("ana")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="New request").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def wait_for_script(page: "Page", what: str) -> None:
    """Return once a script says true; the page's own policy forbids what `wait_for_function` does."""
    for _ in range(300):
        if page.evaluate(what):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"waited 30 s for {what}")


def test_a_product_is_asked_for_with_the_keyboard_alone(opened: OpenPage) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = []
    for _ in range(120):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "document.activeElement.id || document.activeElement.value || document.activeElement.textContent"
        )
        reached.append(name)
        if name == "area":
            page.keyboard.type("demo")
        if name == "ask":
            break
    assert {"recipe", "map", "area", "west", "period", "project", "plan"} <= set(reached)
    assert page.get_by_label("Known area").input_value() == "demo"
    page.locator("#plan").get_by_text("to build").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/requests/.+"))
    assert page.locator("#state").inner_text() == "approved"


def test_the_plan_follows_what_is_filled_in_and_says_what_is_wrong(opened: OpenPage) -> None:
    page = opened()
    page.get_by_label("Known area").select_option("demo")
    page.locator("#plan").get_by_text("to build").wait_for()
    page.get_by_label("Period", exact=True).fill("20200")
    page.locator("#plan").get_by_text("expected a period").wait_for()
    page.get_by_label("Recipe", exact=True).select_option("own")
    assert page.get_by_label("grid tile px").is_visible()


def test_an_area_is_drawn_on_the_map_with_the_mouse_and_moved_with_keys(opened: OpenPage) -> None:
    page = opened()
    page.locator("#map").focus()
    page.keyboard.press("Home")
    place = page.locator("#map").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] * 0.5, place["y"] + place["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.75, place["y"] + place["height"] * 0.5)
    page.mouse.up()
    edges = [float(page.locator(f"#{edge}").input_value()) for edge in ("west", "south", "east", "north")]
    assert edges == pytest.approx([0, 0, 90, 45], abs=2)
    assert page.locator("#map .drawn").count() == 1
    assert page.locator("#map .scenes").count() >= 1
    page.locator("#map").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    x, _, width, _ = view_of(page)
    assert (x, width) == (-54, 180)


def test_the_map_begins_at_the_scenes_with_the_coasts_around_which_a_near_look_hides(opened: OpenPage) -> None:
    page = opened()
    west, north, width, height = view_of(page)
    assert width == 30
    assert west < 100.8 < 100.9 < west + width
    assert -north - height < 4.9 < 5.0 < -north
    wait_for_script(page, "document.getElementById('land').getBBox().width > 350")
    assert page.locator("#land").is_visible()
    assert page.locator("#map text").count() == 0
    page.locator("#map").scroll_into_view_if_needed()
    scenes = page.locator("#map .scenes").first.bounding_box()
    assert scenes is not None
    page.mouse.move(scenes["x"] + scenes["width"] / 2, scenes["y"] + scenes["height"] / 2)
    for _ in range(12):
        page.mouse.wheel(0, -100)
    wait_for_script(page, "document.getElementById('land').style.display === 'none'")
    west, north, width, height = view_of(page)
    assert width < 1
    assert west < 100.8 < 100.9 < west + width
    assert page.locator("#map text").all_text_contents() == ["demo", "matang"]


def view_of(page: "Page") -> tuple[float, ...]:
    """Left, top, width and height of the map in degrees, south positive."""
    return tuple(map(float, str(page.locator("#map").get_attribute("viewBox")).split()))


def test_an_area_comes_from_a_geojson_file(opened: OpenPage, tmp_path: Path) -> None:
    page = opened()
    square = {"type": "Polygon", "coordinates": [[[1, 1], [1.1, 1], [1.1, 1.1], [1, 1.1], [1, 1]]]}
    (tmp_path / "square.geojson").write_text(json.dumps(square))
    page.get_by_text("Area from GeoJSON").click()
    page.get_by_label("GeoJSON file").set_input_files(tmp_path / "square.geojson")
    page.locator("#plan").get_by_text("no scene of").wait_for()
    assert json.loads(page.get_by_label("Or its text").input_value()) == square


def test_it_fits_a_phone_every_element_has_a_name_and_every_text_its_contrast(opened: OpenPage) -> None:
    page = opened(viewport=PHONE, has_touch=True, is_mobile=True)
    page.get_by_label("Known area").select_option("demo")
    page.locator("#plan").get_by_text("to build").wait_for()
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for path in ("", "ask", "/requests"):
        if path == "ask":
            page.get_by_role("button", name="Ask for it").tap()
            page.wait_for_url(re.compile("/requests/.+"))
        elif path == "/requests":
            page.goto(path)
        assert page.evaluate(OVERFLOW) <= 0, path
        assert page.evaluate(UNNAMED) == [], path
        assert page.evaluate(CONTRASTS) == [], path


def test_it_works_without_scripts(opened: OpenPage) -> None:
    page = opened(java_script_enabled=False)
    page.get_by_label("Known area").select_option("demo")
    page.get_by_role("button", name="Show the plan").click()
    assert "to build" in page.locator("#plan").inner_text()
    page.get_by_role("button", name="Ask for it").click()
    assert page.locator("#state").inner_text() == "approved"


def running_request(page: "Page", index: Index) -> UUID:
    """Ask for the area `demo`, and say that it is being built; the page is that of the request from then on."""
    page.get_by_label("Known area").select_option("demo")
    page.get_by_role("button", name="Ask for it").click()
    page.wait_for_url(re.compile("/requests/.+"))
    number = UUID(page.url.rpartition("/")[2])
    with ledger(index) as requests:
        requests.start(number, "run")
    return number


def test_a_product_is_watched_being_built_then_seen_as_a_map_and_downloaded(
    opened: OpenPage, asked_index: Index, asked_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened()
    number = running_request(page, asked_index)
    page.locator("#state", has_text="running").wait_for()
    monkeypatch.setenv("NEOCUBE_HOME", str(asked_settings.home))
    report = build("mangrove_features", "demo", "2020", workers=1)
    page.locator("#cells", has_text=f"{report['built']} of {report['built']}").wait_for()
    finish(asked_index, number, "done", None, {"built": {"cube": report["asked_cube"]}})
    page.locator("#state", has_text="done").wait_for()
    page.get_by_alt_text("Clear observations").scroll_into_view_if_needed()
    wait_for_script(page, f"{LOADED}('.pictures img') === 2")
    page.locator("#tiles").scroll_into_view_if_needed()
    wait_for_script(page, f"{LOADED}('#tiles img') >= 1")
    page.locator("#tiles").focus()
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    page.locator("#passport", has_text="recipe mangrove_features version 1").wait_for()
    assert page.locator("#passport li").count() > 3
    page.locator("#citation").get_by_text("Simulated data made by neocube").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the cube").click()
    download.value.save_as(tmp_path / "cube.zip")
    assert "mangrove_features.zarr/zarr.json" in ZipFile(tmp_path / "cube.zip").namelist()


def test_in_place_of_pictures_and_map_that_cannot_be_had_the_page_says_why(
    opened: OpenPage, asked_index: Index, unreadable_cube: Path
) -> None:
    page = opened()
    number = running_request(page, asked_index)
    finish(asked_index, number, "done", None, {"built": {"cube": str(unreadable_cube), "alone": True}})
    page.locator("#state", has_text="done").wait_for()
    page.locator(".pictures").scroll_into_view_if_needed()
    said = f"cannot read the cube {unreadable_cube}: "
    for number_said, place in ((2, ".pictures .problem"), (1, "main > div > .problem"), (1, "#citation p")):
        wait_for_script(page, f"document.querySelectorAll('{place}').length === {number_said}")
        assert all(text.startswith(said) for text in page.locator(place).all_text_contents()), place
    assert page.locator(".pictures img, #tiles").count() == 0
