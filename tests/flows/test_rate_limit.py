"""One token bucket per provider: shared by threads and processes, closed for all when the provider says so."""

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, create_engine, text

from datacube_config.connection import Index, database_url
from datacube_config.settings import Settings
from flows.steps.archives.rate_limit import (
    LocalBucket,
    ProviderClosed,
    TokenBucket,
    bucket_of,
    retry_after_s,
    take_turn,
)

URL = "https://stac.example.org/v1"
WORKER = """
import sys, time
from sqlalchemy import create_engine
from flows.steps.archives.rate_limit import bucket_of, take_turn
bucket = bucket_of("https://stac.example.org/other", 20.0, create_engine(sys.argv[1]))
for _ in range(10):
    take_turn(bucket, 60)
    print(time.time(), flush=True)
"""


@pytest.fixture(params=["shared", "local"])
def bucket(request: pytest.FixtureRequest) -> TokenBucket:
    engine: Engine | None = request.getfixturevalue("index").engine if request.param == "shared" else None
    return bucket_of(URL, 20.0, engine)


def test_turns_come_at_the_rate_whatever_the_number_of_threads(bucket: TokenBucket) -> None:
    times: list[float] = []

    def work() -> None:
        for _ in range(5):
            take_turn(bucket, 60)
            times.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 20
    assert max(times) - min(times) >= 19 / 20 * 0.95
    times.sort()
    for start in range(15):
        assert times[start + 5] - times[start] > 3.5 / 20


def test_processes_share_a_bucket_by_the_host_of_the_provider(index: Index, embedded_settings: Settings) -> None:
    with database_url(embedded_settings) as url:
        command = [sys.executable, "-c", WORKER, url]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        times = sorted(float(line) for worker in workers for line in worker.communicate()[0].split())
    assert len(times) == 30
    assert times[-1] - times[0] >= 29 / 20 * 0.95


def test_a_closed_provider_lets_nobody_through_until_it_opens(index: Index) -> None:
    another = create_engine(index.engine.url)
    mine, theirs = bucket_of(URL, 50.0, index.engine), bucket_of(URL, 50.0, another)
    take_turn(theirs, 1)
    mine.close(0.6, "answered 429: slow down")
    closed_at = time.monotonic()
    with pytest.raises(ProviderClosed, match=r"stac.example.org is closed for another 1 s after it answered 429: slow"):
        take_turn(theirs, 0.1)
    mine.close(0.1, "answered 503: still")
    take_turn(theirs, 5)
    assert time.monotonic() - closed_at >= 0.6
    another.dispose()
    with index.engine.connect() as connection:
        (row,) = connection.execute(text("select * from neocube.rate_limit"))
    assert (row.provider, row.closed_because) == ("stac.example.org", "answered 503: still")


def test_nobody_closes_a_provider_for_longer_than_an_hour(bucket: TokenBucket) -> None:
    bucket.close(1e9, "answered 429: never come back")
    wait_s, words = bucket.try_take()
    assert 3590 < wait_s <= 3600
    assert words == "answered 429: never come back"


def test_a_bucket_without_an_index_is_of_its_process() -> None:
    bucket = bucket_of(URL, 20.0)
    assert isinstance(bucket, LocalBucket)
    assert bucket.provider == "stac.example.org"


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    now = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)
    assert retry_after_s({"retry-after": "120"}) == 120
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, now) == 30
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2026 07:00:00 GMT"}, now) == 0
    assert [retry_after_s(headers) for headers in ({}, {"retry-after": "soon"}, {"retry-after": "-1"})] == [None] * 3
