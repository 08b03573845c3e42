"""The request page under load: users with a think time ask for the plan of a known area, over the API and on the page, on loopback.

`python tests/bench/page_load.py [--users 50] [--think 10] [--seconds 120] [--workers 1]` prints one JSON document; exit code 1 where an answer was wrong, or
the 95th percentile of plans is not under half a second. Page, index and users share the cores of this machine; it stops by itself.
"""

import argparse
import asyncio
import json
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from datacube_config.accounts import hashed_password, hashed_token
from datacube_config.settings import Settings
from flows.steps.service.prefect_processes import free_port

LIMIT_MS = 500.0
PLAN = {"recipe": "mangrove_features", "area": "demo", "period": "2020"}
PASSWORD, PROJECT = "correct horse", "load"
N_ACCOUNTS = 10


def main() -> int:
    """Run it and print what came out."""
    asked = _arguments()
    home = _home(Path(os.environ.get("NEOCUBE_BENCH", "var/bench")).absolute() / "page")
    with _page(home, asked.workers) as address:
        found = asyncio.run(_load(address, asked))
    found |= {"users": asked.users, "think_s": asked.think, "seconds": asked.seconds, "page_processes": asked.workers}
    found["cores"] = len(os.sched_getaffinity(0))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 1 if found["wrong"] or found["plans"]["p95_ms"] >= LIMIT_MS else 0


async def _load(address: str, asked: argparse.Namespace) -> dict[str, Any]:
    """What the users saw, in milliseconds, by what they asked for."""
    took: dict[str, list[float]] = defaultdict(list)
    wrong: list[str] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False, limits=limits) as first:
        await _sent(first, "POST", "/api/plan", json=PLAN, headers=_token(0))
        sessions = [await _signed_in(address, number) for number in range(N_ACCOUNTS)]
        end = time.monotonic() + asked.seconds
        users = [
            _on_the_page(address, sessions[number % N_ACCOUNTS], asked.think, end, took, wrong) if number % 2
            else _over_the_api(first, number % N_ACCOUNTS, asked.think, end, took, wrong)
            for number in range(asked.users)
        ]  # fmt: skip
        await asyncio.gather(*users)
    plans = took["plan over the API"] + took["plan on the page"]
    return {"plans": _summary(plans), **{name: _summary(took[name]) for name in sorted(took)}, "wrong": wrong[:20]}


async def _over_the_api(
    client: httpx.AsyncClient, number: int, think_s: float, end: float, took: dict[str, list[float]], wrong: list[str]
) -> None:
    """A program that asks for plans, and now and then for its requests."""
    await _think(think_s, end, at_first=True)
    while time.monotonic() < end:
        is_plan = random.random() < 0.8
        call = (
            {"method": "POST", "url": "/api/plan", "json": PLAN}
            if is_plan
            else {"method": "GET", "url": "/api/requests"}
        )
        text = await _timed(
            client,
            "plan over the API" if is_plan else "requests over the API",
            took,
            wrong,
            headers=_token(number),
            **call,
        )
        if is_plan and '"missing"' not in text:
            wrong.append(text[:200])
        await _think(think_s, end)


async def _on_the_page(
    address: str,
    session: tuple[dict[str, str], str],
    think_s: float,
    end: float,
    took: dict[str, list[float]],
    wrong: list[str],
) -> None:
    """Somebody with a browser, who changes the form, whose plan follows, and now and then opens a page."""
    cookies, word = session
    async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False, cookies=cookies) as client:
        await _think(think_s, end, at_first=True)
        while time.monotonic() < end:
            draw = random.random()
            if draw < 0.8:
                form = {**PLAN, "csrf": word, "project": PROJECT}
                text = await _timed(client, "plan on the page", took, wrong, method="POST", url="/plan", data=form)
                if "to build" not in text:
                    wrong.append(text[:200])
            elif draw < 0.9:
                await _timed(client, "the form", took, wrong, method="GET", url="/")
            else:
                await _timed(client, "my requests", took, wrong, method="GET", url="/requests")
            await _think(think_s, end)


async def _timed(
    client: httpx.AsyncClient, what: str, took: dict[str, list[float]], wrong: list[str], **call: Any
) -> str:
    start = time.perf_counter()
    try:
        answer = await client.request(**call)
    except httpx.HTTPError as error:
        wrong.append(f"{what}: {error!r}")
        return ""
    took[what].append((time.perf_counter() - start) * 1000)
    if answer.status_code != httpx.codes.OK:
        wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")
    return answer.text


async def _think(seconds: float, end: float, *, at_first: bool = False) -> None:
    """Wait between half and one and a half of the think time; at first any part of it, so that users do not march in step."""
    wanted = random.uniform(0, seconds) if at_first else random.uniform(0.5, 1.5) * seconds
    await asyncio.sleep(max(0.0, min(wanted, end - time.monotonic())))


async def _signed_in(address: str, number: int) -> tuple[dict[str, str], str]:
    """The cookies of a session, and the word that its forms carry."""
    async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False) as client:
        form = {"csrf": _word(await _sent(client, "GET", "/sign-in")), "name": f"user{number}", "password": PASSWORD}
        await _sent(client, "POST", "/sign-in", data=form, follow_redirects=True)
        return dict(client.cookies), _word(await _sent(client, "GET", "/"))


async def _sent(client: httpx.AsyncClient, method: str, url: str, **more: Any) -> str:
    answer = await client.request(method, url, **more)
    return answer.raise_for_status().text


def _word(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None, page[:200]
    return found[1]


def _token(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer token{number}"}


def _summary(times: list[float]) -> dict[str, float]:
    """How many, and the median, 95th percentile and longest in milliseconds."""
    if len(times) < 2:
        return {"n": len(times), "p50_ms": 0.0, "p95_ms": float("inf"), "max_ms": max(times, default=0.0)}
    parts = statistics.quantiles(times, n=20, method="inclusive")
    return {
        "n": len(times),
        "p50_ms": round(parts[9], 1),
        "p95_ms": round(parts[18], 1),
        "max_ms": round(max(times), 1),
    }


def _home(root: Path) -> Path:
    """A home with a simulated year of the area demo."""
    home, archive = root / "home", root / "archive"
    commands = [["init"]]
    if not (archive / "catalog.json").is_file():
        commands.append(["simulate", str(archive), "--area", "demo", "--period", "2020"])
    for command in (*commands, ["ingest", str(archive)]):
        environment = {**os.environ, "NEOCUBE_HOME": str(home)}
        subprocess.run(
            [sys.executable, "-m", "flows.cli", *command], check=True, stdout=subprocess.DEVNULL, env=environment
        )
    return home


@contextmanager
def _page(home: Path, workers: int) -> Iterator[str]:
    """The page in processes of its own, without Prefect."""
    password_hash = hashed_password(PASSWORD, secrets.token_bytes(16))
    accounts = [
        {"name": f"user{number}", "role": "researcher", "projects": [PROJECT], "password_hash": password_hash,
         "token_hash": hashed_token(f"token{number}")}
        for number in range(N_ACCOUNTS)
    ]  # fmt: skip
    assert Settings(home=home).index_url is None, "the index of this bench is the embedded one of its home"
    port = free_port()
    environment = {
        **os.environ, "NEOCUBE_HOME": str(home), "NEOCUBE_ACCOUNTS": json.dumps(accounts),
        "NEOCUBE_SESSION_KEY": secrets.token_urlsafe(32),
    }  # fmt: skip
    environment.pop("PREFECT_API_URL", None)
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "flows.request_page.app:from_settings",
        "--factory",
        "--log-level",
        "warning",
    ]
    process = subprocess.Popen([*command, "--port", str(port), "--workers", str(workers)], env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            try:
                httpx.get(f"{address}/sign-in", trust_env=False).raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--think", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
