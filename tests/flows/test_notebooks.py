"""The notebooks of docs/notebooks run, in order, in one kernel, on the small archive, and are stored as they ran.

With NEOCUBE_STORE_NOTEBOOKS=1 the test stores what it ran.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from datacube_config.accounts import Account, hashed_token
from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.request_page.app import create_app
from flows.requesting import finish, turn_of
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.request_rows import ledger

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
TOKEN = "a token of ana"
MOST_BYTES = 200_000
HERE = f"/{Path(__file__).resolve().parts[1]}/"  # where this checkout lies


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The address of a request page, and somebody who does what is asked there as runs of Prefect do."""
    account = {"name": "ana", "role": "researcher", "projects": ["coast"], "token_hash": hashed_token(TOKEN)}
    app = create_app(settings.model_copy(update={"accounts": (Account.model_validate(account),)}))
    port, stop = free_port(), threading.Event()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    with open_index(settings) as index:
        threads = [threading.Thread(target=server.run), threading.Thread(target=work, args=(index, settings, stop))]
        for thread in threads:
            thread.start()
        while not server.started:
            assert threads[0].is_alive()
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            stop.set()
            server.should_exit = True
            for thread in threads:
                thread.join()


def work(index: Index, settings: Settings, stop: threading.Event) -> None:
    """Build what was asked for, one after the other."""
    while not stop.wait(0.2):
        with ledger(index) as requests:
            number = turn_of(requests, settings.requests)
            row = requests.get(number) if number else None
            if number:
                requests.start(number, "run")
        if number and row:
            report = build(row.recipe, row.area, row.period)
            finish(index, number, "done", None, {"built": report})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, ingested_home: Path, small_archive: Path) -> dict[str, Any]:
    """Every notebook as it ran, by its name."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    folder = tmp_path_factory.mktemp("notebooks")
    subprocess.run(["cp", "-a", str(ingested_home), str(folder / "var")], check=True)
    (folder / "var" / "coast").symlink_to(small_archive)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NEOCUBE_")}
    forget = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%reset -f")])
    books = {path.name: nbformat.read(path, as_version=4) for path in NOTEBOOKS}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NEOCUBE_HOME", str(folder / "var"))
        with served(Settings(home=folder / "var")) as page:
            own = {"NEOCUBE_PAGE_URL": page, "NEOCUBE_TOKEN": TOKEN, "IPYTHONDIR": str(folder / "ipython")}
            environment = kept | own
            client = nbclient.NotebookClient(
                next(iter(books.values())), timeout=120, resources={"metadata": {"path": str(folder)}},
                store_widget_state=False, record_timing=False, coalesce_streams=True,
            )  # fmt: skip
            with client.setup_kernel(env=environment):
                for book in books.values():
                    for client.nb in (book, forget):
                        client.execute(cleanup_kc=False)
    for book in books.values():
        tidy(book)
    if os.environ.get("NEOCUBE_STORE_NOTEBOOKS"):
        for path in NOTEBOOKS:
            nbformat.write(books[path.name], path)
    return books


def tidy(book: Any) -> None:
    """Without progress bars and what differs from run to run."""
    number = 0
    for cell in book.cells:
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            cell.outputs = [each for each in cell.outputs if each.get("data", {}).get("text/html") != ""]
            for each in cell.outputs:
                if each.output_type == "execute_result":
                    each.execution_count = number
    book.metadata = {"kernelspec": book.metadata.kernelspec, "language_info": {"name": "python"}}


def shown(book: Any) -> list[list[list[str]]]:
    """The kinds of each output of each code cell."""
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    return [
        [sorted(each.get("data", {each.get("name", each.output_type): 0})) for each in cell.outputs] for cell in code
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored_of_it(path: Path, ran: dict[str, Any]) -> None:
    import nbformat

    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert shown(ran[path.name]) == shown(stored)
    assert any("image/png" in kinds for cell in shown(stored) for kinds in cell)
    assert not any(kinds == ["stderr"] or kinds == ["error"] for cell in shown(stored) for kinds in cell)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_small_and_names_no_place_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    for place in ("/tmp/", HERE, "/home/", "/root/", "file://", TOKEN):
        assert place not in text
    assert len(NOTEBOOKS) == 4
