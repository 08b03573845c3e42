"""Runs of a Prefect server, asked for through its API."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class PrefectDidNotAnswer(RuntimeError):
    """The Prefect API gave no usable answer; the message says which and why."""


class PrefectRefused(PrefectDidNotAnswer):
    """The Prefect API will not take this, now or later; the message says why."""


@dataclass(frozen=True, slots=True)
class RunState:
    """The type of a run's state, such as RUNNING, and what it says."""

    type: str
    message: str


def start_run(api: str, deployment: str, parameters: Mapping[str, Any], key: str) -> str:
    """Ask for a run of FLOW/DEPLOYMENT; returns its id. The same `key` asks for the same run."""
    found = _asked(api, "GET", f"/deployments/name/{deployment}")
    body = {"parameters": dict(parameters), "idempotency_key": key, "state": {"type": "SCHEDULED"}}
    return str(_asked(api, "POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])


def run_state(api: str, run_id: str) -> RunState | None:
    """The state of a run; None where the server does not know it any more."""
    found = _asked(api, "GET", f"/flow_runs/{run_id}", missing=True)
    if found is None:
        return None
    return RunState(found["state_type"] or "PENDING", (found["state"] or {}).get("message") or "")


def cancel_run(api: str, run_id: str) -> None:
    """Have a run ended by the worker that it runs on."""
    body = {"state": {"type": "CANCELLING", "message": "the request was cancelled"}}
    _asked(api, "POST", f"/flow_runs/{run_id}/set_state", body)


def _asked(api: str, method: str, path: str, body: object = None, *, missing: bool = False) -> Any:  # noqa: ANN401, JSON
    try:
        answer = httpx.request(method, f"{api}{path}", json=body, headers=_authorization(), timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        raise PrefectDidNotAnswer(f"the Prefect API at {api} cannot be reached: {error}") from error
    if missing and answer.status_code == httpx.codes.NOT_FOUND:
        return None
    if answer.status_code in (httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY):
        raise PrefectRefused(f"the Prefect API refuses {path}: {answer.text[:200]}")
    if answer.is_error:
        raise PrefectDidNotAnswer(f"the Prefect API answers {path} with {answer.status_code}: {answer.text[:200]}")
    return answer.json()


def _authorization() -> dict[str, str]:
    """What a server with a login wants, of Prefect's own variable USER:PASSWORD."""
    said = os.environ.get("PREFECT_API_AUTH_STRING")
    return {"Authorization": f"Basic {base64.b64encode(said.encode()).decode()}"} if said else {}
