"""The figures of the service by HTTP: as Prometheus reads them, and as a page; read anew for each request."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from flows.steps.service.dashboard_page import dashboard_page
from flows.steps.service.service_metrics import METRICS, Reading
from flows.steps.service.service_readings import PartRead
from products.errors import RequestError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Read = Callable[[], list[PartRead]]
Refuse = Callable[[str], tuple[int, str] | None]
ASKS_WHO = [("WWW-Authenticate", 'Basic realm="neocube", charset="UTF-8"'), ("WWW-Authenticate", "Bearer")]
PAGE_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
]


class PartsCollector(Collector):
    """Reads the parts of the service when it is collected."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """One family for each metric that has a reading; what does not answer is told on stderr."""
        parts = self._read()
        for part in parts:
            if part.silence:
                sys.stderr.write(f"neocube: {part.part} does not answer: {part.silence}\n")
        return families(parts)


def families(parts: Iterable[PartRead]) -> list[Metric]:
    """The readings as gauges, by metric, in the order of METRICS."""
    by_metric: dict[str, list[Reading]] = {name: [] for name in METRICS}
    for part in parts:
        for reading in part.readings:
            by_metric[reading.metric].append(reading)
    return [_family(name, readings) for name, readings in by_metric.items() if readings]


def metrics_text(parts: list[PartRead]) -> str:
    """The readings in Prometheus' text format."""
    return generate_latest(PartsCollector(lambda: parts)).decode()


@contextmanager
def metrics_endpoint(read: Read, host: str, port: int, refuse: Refuse | None = None) -> Iterator[str]:
    """The URL where HTTP requests are answered for the block, the page at / and the metrics at /metrics; RequestError where nothing can listen.

    It reads anew for each request, one reading at a time. `refuse` says of the Authorization header of a request with what status and words it is refused.
    """
    alone, registry = threading.Lock(), CollectorRegistry()

    def read_alone() -> list[PartRead]:
        with alone:
            return read()

    registry.register(PartsCollector(read_alone))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise RequestError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}: choose another --port or --host"
        ) from error
    answered = _with_page(server.get_app(), read_alone)
    server.set_app(_guarded(answered, refuse) if refuse else answered)
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _with_page(metrics: "WSGIApplication | None", read: Read) -> "WSGIApplication":
    """The page at /, what `metrics` answers at /metrics, and 404 elsewhere."""
    assert metrics is not None

    def answer(request: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if request["PATH_INFO"] == "/metrics":
            return metrics(request, start)
        if request["PATH_INFO"] != "/":
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there are / and /metrics\n"]
        if request["REQUEST_METHOD"] != "GET":
            start("405 Method Not Allowed", [("Allow", "GET")])
            return [b""]
        page = dashboard_page(read(), datetime.now(UTC))
        start("200 OK", [*PAGE_HEADERS])  # a list of its own: the server adds the length of this page to it
        return [page.encode()]

    return answer


def _guarded(answered: "WSGIApplication", refuse: Refuse) -> "WSGIApplication":
    """The application for who is not refused; others get the status and the words of the refusal."""

    def answer(request: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        refused = refuse(request.get("HTTP_AUTHORIZATION", ""))
        if refused is None:
            return answered(request, start)
        status, words = refused
        asks = ASKS_WHO if status == HTTPStatus.UNAUTHORIZED else []
        start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "text/plain; charset=utf-8"), *asks])
        return [f"{words}\n".encode()]

    return answer


def _family(name: str, readings: Iterable[Reading]) -> Metric:
    family = Metric(name, METRICS[name].says, "gauge")
    for reading in readings:
        family.add_sample(name, dict(reading.labels), reading.value)
    return family
