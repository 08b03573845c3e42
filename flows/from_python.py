"""What people call from Python, in scripts and notebooks: the same code as the commands, with progress bars and things that show themselves."""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows import build_here, map_here, train_here
from flows.arguments import AnyArea, AnyPeriod, area_text, period_text, place_at
from flows.html_display import passport_html, progress_html, request_html
from flows.preview_here import Preview, preview_with
from flows.steps.areas import find_area
from flows.steps.cubes.open_cube import as_asked, open_variables
from flows.steps.cubes.passport import passport_of
from flows.steps.loading.raster_access import raster_access
from flows.steps.service.page_client import Page
from flows.steps.storage import open_storage, s3_options
from products.devices import DeviceChoice
from products.errors import RequestError
from products.period import parse_period
from products.registry import YAML, recipe_names, scene_recipe
from products.scene_recipe import SceneRecipe

Move = Callable[[float | None, str], None]  # a share of the work or None, and words
EVERY_S = 2.0
OPEN_STATES = ("asked", "approved", "running")


@contextmanager
def progress(doing: str) -> Iterator[Move]:
    """A progress bar on a terminal or in a notebook, nothing elsewhere."""
    console = Console(stderr=True)
    if console.is_jupyter:
        with _notebook_progress(doing) as move:
            yield move
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(doing, total=None)

        def move(share: float | None, said: str) -> None:
            total = None if share is None else 1.0
            bars.update(task, total=total, completed=share or 0.0, description=f"{doing}: {said}" if said else doing)

        yield move
        bars.update(task, total=1.0, completed=1.0)


@contextmanager
def _notebook_progress(doing: str) -> Iterator[Move]:
    """One output of the cell that runs, which changes and is empty in the end: rich's own wants widgets, which stored notebooks keep without their bars."""
    display: Any = importlib.import_module("IPython.display").display

    def drawn(share: float | None, said: str) -> dict[str, str]:
        return {"text/html": progress_html(share, f"{doing}: {said}" if said else doing)}

    shown = display(drawn(None, ""), raw=True, display_id=True)
    try:
        yield lambda share, said: shown.update(drawn(share, said), raw=True)
    finally:
        shown.update({"text/html": ""}, raw=True)


def build(
    recipe: str, area: AnyArea, period: AnyPeriod, device: DeviceChoice = "auto", workers: int = 1, provisional: bool = False,
    dask: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Build what is missing or stale, as `neocube build` does; its report."""
    with progress(f"building {recipe}") as move:
        return build_here.build(
            recipe, area_text(area), period_text(period), device, workers, provisional, dask,
            progress=lambda done, of: move(done / of, f"{done} of {of} cells"),
        )  # fmt: skip


def train(
    recipe: str,
    area: AnyArea | None = None,
    period: AnyPeriod | None = None,
    labels: str | Path | None = None,
    device: DeviceChoice = "auto",
) -> dict[str, Any]:
    """Learn the model of a recipe, as `neocube train` does; its report."""
    with progress(f"training {recipe}") as move:
        where, when = area if area is None else area_text(area), period if period is None else period_text(period)
        place = None if labels is None else str(labels)
        return train_here.train(recipe, where, when, place, device, lambda said: move(None, said)).document()


def make_map(model: str, area: AnyArea, period: AnyPeriod, device: DeviceChoice = "auto") -> dict[str, Any]:
    """Map an area with a trained model, as `neocube map` does; its report."""
    where, when = area_text(area), period_text(period)
    with progress(f"mapping {where}") as move:
        return map_here.make_map(model, where, when, lambda step: move(step.share, step.key.label), device).document()


@dataclass(frozen=True, slots=True)
class Passport:
    """What a pixel is made of; `document` as `neocube passport --json` prints it."""

    document: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Passport of a pixel of {self.document['cell']['product']}: {len(self.document['scenes'])} scenes"

    def _repr_html_(self) -> str:
        return passport_html(self.document)


def passport(product: str, at: Sequence[float], period: AnyPeriod) -> Passport:
    """The passport of the pixel at a longitude and latitude of a recipe's product, by its name or path, or of a map."""
    is_path = product.endswith(YAML)

    def find_recipe(name: str) -> SceneRecipe | None:
        return scene_recipe(product if is_path else name) if is_path or name in recipe_names() else None

    place, settings, asked = place_at(at), get_settings(), parse_period(period_text(period))
    name = scene_recipe(product).name if is_path else product
    threads, access = settings.decode_thread_count, raster_access(settings)
    with open_index(settings) as index:
        return Passport(passport_of(index, open_storage(settings), name, find_recipe, place, asked, threads, access))


def preview(recipe: str, area: AnyArea, period: AnyPeriod) -> Preview:
    """A quick look at what a recipe would show, as `neocube preview` makes it; a notebook shows its picture."""
    settings, where, asked = get_settings(), area_text(area), parse_period(period_text(period))
    with open_index(settings) as index, progress(f"looking at {where}"):
        return preview_with(index, settings, scene_recipe(recipe), find_area(where), asked)


@dataclass(slots=True)
class Requested:
    """A request at a request page, as it stood when it was last looked at."""

    page: Page
    document: Mapping[str, Any]

    @property
    def state(self) -> str:
        """asked, approved, running, done, failed, cancelled or refused."""
        return str(self.document["state"])

    def refresh(self) -> "Requested":
        """This request, looked at again."""
        self.document = self.page.asked("GET", f"/requests/{self.document['id']}")
        return self

    def wait(self, timeout_s: float = float("inf")) -> "Requested":
        """This request once it has ended, or after some time as it stands then."""
        until = time.monotonic() + timeout_s
        with progress(f"{self.document['product']} over {self.document['area']}") as move:
            while self.refresh().state in OPEN_STATES and time.monotonic() < until:
                cells = self.document["cells"]
                move(cells["built"] / max(cells["to_build"], 1), self.state)
                time.sleep(min(EVERY_S, max(until - time.monotonic(), 0.0)))
        return self

    def cancel(self) -> "Requested":
        """This request, cancelled."""
        self.document = self.page.asked("POST", f"/requests/{self.document['id']}/cancel")
        return self

    def citation(self) -> Mapping[str, Any]:
        """How to cite what it made, and whom to credit."""
        return dict(self.page.asked("GET", f"/requests/{self.document['id']}/citation"))

    def open(self) -> xarray.Dataset:
        """Its cube with the cells that it asked for and no others, as `open_cube` gives it; RequestError while there is none."""
        if not self.document["cube"]:
            raise RequestError(f"the request is {self.state} and has no cube: wait() for it")
        period, is_alone = str(self.document["period"]), bool(self.document.get("cube_alone"))
        return open_variables(
            str(self.document["cube"]),
            s3_options(get_settings()),
            asked=lambda cube: as_asked(cube, period, is_alone),
        )

    def __repr__(self) -> str:
        return f"Request of {self.document['product']} over {self.document['area']}: {self.state}"

    def _repr_html_(self) -> str:
        return request_html(self.document)


def request(
    recipe: str, area: AnyArea, period: AnyPeriod, train: str | None = None, *, project: str, page: str | None = None,
    token: str | None = None,
) -> Requested:  # fmt: skip
    """Ask a request page for a product; recipe and area are names, texts, or the paths of files that hold them.

    The page is NEOCUBE_PAGE_URL and the token NEOCUBE_TOKEN unless given. RequestError with the page's words where it refuses.
    """
    settings = get_settings()
    secret = SecretStr(token) if token else settings.token
    if secret is None:
        raise RequestError("expected a token of the request page: set NEOCUBE_TOKEN; `neocube account` makes one")
    place = Page(page or settings.page_url, secret)
    texts = {"recipe": _text(recipe, ".yaml", ".yml"), "area": _text(area_text(area), ".geojson", ".json")}
    asked = place.asked(
        "POST", "/requests", {**texts, "period": period_text(period), "train": train, "project": project}
    )
    return Requested(place, asked)


def _text(given: str, *suffixes: str) -> str:
    """What a file with one of these endings holds, or what was given."""
    if "\n" in given or not given.endswith(suffixes):
        return given
    path = Path(given)
    if not path.is_file():
        raise RequestError(f"no file {given}: expected a name, a text, or the path of a file that is there")
    return path.read_text(encoding="utf-8")
