"""Schedules of a Prefect server that the file of its deployments does not list any more: `prefect deploy` adds and changes, and takes none away."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from flows.steps.service.prefect_figures import all_rows
from flows.steps.service.prefect_processes import PrefectDidNotStart

WAITS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)


def end_unlisted_schedules(client: httpx.Client, declared: Sequence[Mapping[str, Any]], pool: str) -> list[str]:
    """Delete the schedules that a declared deployment has on the server and not in the file, with the runs planned of them; what was done, in words.

    A deployment on `pool` that the file does not declare may be somebody's own: it is left, and told where its schedule is on.
    """
    slugs = {
        (each["entrypoint"], each["name"]): {row.get("slug") for row in each.get("schedules") or ()}
        for each in declared
    }
    said = []
    for row in all_rows(client, "/deployments/filter", {}):
        listed, name = slugs.get((row["entrypoint"], row["name"])), _full_name(client, row)
        for schedule in row["schedules"]:
            if listed is None:
                if schedule["active"] and row["work_pool_name"] == pool:
                    said.append(
                        f"the file does not list the deployment {name}, and a schedule of it is on: `prefect deployment delete '{name}'` ends it"
                    )
            elif schedule["slug"] not in listed:
                _delete(client, f"/deployments/{row['id']}/schedules/{schedule['id']}")
                said.append(
                    f"the file does not list a schedule of {name}, {schedule['slug'] or 'without a slug'}: deleted"
                )
    return said


def _delete(client: httpx.Client, path: str) -> None:
    """Delete what has a path, also where the database of the server is locked for a while, which it says as 503."""
    for wait_s in WAITS_S:
        answer = client.delete(path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            answer.raise_for_status()
            return
        time.sleep(wait_s)
    raise PrefectDidNotStart(
        "the database of the Prefect server stays locked, and a schedule that the file does not list is still on: start it again"
    )


def _full_name(client: httpx.Client, deployment: Mapping[str, Any]) -> str:
    """FLOW/NAME, as `prefect deployment` takes it."""
    flow = client.get(f"/flows/{deployment['flow_id']}").raise_for_status().json()
    return f"{flow['name']}/{deployment['name']}"
