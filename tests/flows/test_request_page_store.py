"""What the request page says where the store that holds a cube does not answer, or refuses: at once, and in one sentence."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from datacube_config.accounts import Account, hashed_token
from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.request_page.app import create_app
from flows.requesting import finish
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.request_rows import ledger
from tests.flows.loopback_server import Silent, answering

ANA = Account(name="ana", role="researcher", projects=("coast",), token_hash=hashed_token("ana-token"))
SAID = {"Authorization": "Bearer ana-token"}
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
PROMPT_S = 15.0
PARTS = (
    "quicklook.png", "coverage.png", "citation", "tiles.json", "tiles/0/0/0.png", "passport?longitude=100&latitude=5"
)  # fmt: skip


class Denying(Silent, BaseHTTPRequestHandler):
    """A bucket whose keys are not good for it."""

    def do_GET(self) -> None:
        """A refusal."""
        self.answer(403, DENIED, {"Content-Type": "application/xml"})

    def do_HEAD(self) -> None:
        """The same."""
        self.do_GET()


@contextmanager
def nobody() -> Iterator[str]:
    """An endpoint at which nothing listens."""
    yield f"http://127.0.0.1:{free_port()}"


@contextmanager
def mute() -> Iterator[str]:
    """One that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def denying() -> Iterator[str]:
    """One that refuses."""
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Denying)) as url:
        yield url


Answers = Callable[[str], Any]  # httpx has two names here


@contextmanager
def answers_about(cube: str, settings: Settings, index: Index, endpoint: str) -> Iterator[Answers]:
    """What the page, its store at an S3 endpoint, answers about the parts of a request that made a cube."""
    s3 = Settings(
        s3_endpoint_url=endpoint, s3_access_key_id="who", s3_secret_access_key="secret", s3_region="eu-west-1"
    )
    kept = {name: getattr(s3, name) for name in s3.model_fields_set}
    application = create_app(settings.model_copy(update={**kept, "accounts": (ANA,)}))
    with TestClient(application, raise_server_exceptions=False, headers=SAID) as page:
        asked = {"recipe": "mangrove_features", "area": "demo", "period": "2020", "project": "coast"}
        number = page.post("/api/requests", json=asked).json()["id"]
        with ledger(index) as requests:
            requests.start(UUID(number), "run")
        finish(index, UUID(number), "done", None, {"built": {"cube": cube, "alone": True}})
        yield lambda part: page.get(f"/api/requests/{number}/{part}")


@pytest.mark.parametrize(
    ("endpoint", "reason", "parts"),
    [
        (nobody, "Could not connect", PARTS),
        (mute, "Read timeout", ("quicklook.png", "tiles.json")),
        (denying, "Access Denied", PARTS),
    ],
)
def test_a_store_that_gives_no_answer_or_refuses_is_said_at_once_in_one_sentence(
    endpoint: Callable[[], AbstractContextManager[str]], reason: str, parts: tuple[str, ...],
    asked_settings: Settings, asked_index: Index,
) -> None:  # fmt: skip
    cube = f"s3://cubes/{endpoint.__name__}.zarr"
    with endpoint() as url, answers_about(cube, asked_settings, asked_index, url) as answers:
        for part in parts:
            begun = time.monotonic()
            answer = answers(part)
            assert time.monotonic() - begun < PROMPT_S, part
            assert answer.status_code == 503, (part, answer.text)
            said = answer.json()["detail"]
            assert said.startswith(f"cannot read the cube {cube}: {reason}"), (part, said)
            assert said.endswith("; check NEOCUBE_STORE_URL and its permissions") and "\n" not in said


def test_a_cube_in_a_folder_that_cannot_be_read_is_said_too(
    asked_settings: Settings, asked_index: Index, unreadable_cube: Path
) -> None:
    with answers_about(unreadable_cube.as_uri(), asked_settings, asked_index, "http://127.0.0.1:1") as answers:
        for part in ("cube.zip", *PARTS):
            answer = answers(part)
            assert answer.status_code == 503, (part, answer.text)
            assert answer.json()["detail"].startswith(f"cannot read the cube {unreadable_cube}: "), answer.text


def test_a_cube_that_is_not_there_any_more_is_gone(
    asked_settings: Settings, asked_index: Index, tmp_path: Path
) -> None:
    cube = tmp_path / "none.zarr"
    with answers_about(cube.as_uri(), asked_settings, asked_index, "http://127.0.0.1:1") as answers:
        for part in ("cube.zip", *PARTS):
            said = {"detail": f"no cube at {cube} any more: ask for it again"}
            assert (answers(part).status_code, answers(part).json()) == (410, said), part
