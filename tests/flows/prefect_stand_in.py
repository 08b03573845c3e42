"""A stand-in for the few calls of the Prefect API that the request page makes, on loopback; the real one is served in tests/flows/test_serve_command.py."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.flows.loopback_server import Silent, answering


class StandIn:
    """What was asked for: runs by their key, with their parameters, and their states."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        self.url = ""
        self.is_broken = False
        self.login: str | None = None
        self.refused: str | None = None
        self.when_started: Callable[[], None] = lambda: None

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of a call."""
        if self.is_broken:
            return 500, {"detail": "broken"}
        if path.startswith("/deployments/name/"):
            return 200, {"id": "d1"}
        if path == "/deployments/d1/create_flow_run":
            if body["idempotency_key"] == self.refused:
                return 422, {"detail": "wrong parameters"}
            self.when_started()
            self.runs.setdefault(body["idempotency_key"], body["parameters"])
            number = f"run-{list(self.runs).index(body['idempotency_key'])}"
            self.states.setdefault(number, "SCHEDULED")
            return 201, {"id": number}
        number = path.split("/")[2]
        if number not in self.states:
            return 404, {"detail": "no run"}
        if method == "POST":
            self.states[number] = body["state"]["type"]
        return 200, {
            "id": number,
            "state_type": self.states[number],
            "state": {"message": f"it is {self.states[number]}"},
        }


@contextmanager
def prefect_stand_in() -> Iterator[StandIn]:
    """One that answers for the block."""
    stand_in = StandIn()

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if stand_in.login and self.headers.get("Authorization") != stand_in.login:
                status, document = 401, {"exception_message": "Unauthorized"}
            else:
                status, document = stand_in.answer(self.command, self.path, body)
            self.answer(status, json.dumps(document).encode())

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        stand_in.url = url
        yield stand_in
