"""The figures of the service as Prometheus reads them: text, and an HTTP endpoint that reads them anew for each scrape."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from flows.steps.service.service_metrics import METRICS, Reading
from flows.steps.service.service_readings import PartRead
from products.errors import RequestError

Read = Callable[[], list[PartRead]]


class PartsCollector(Collector):
    """Reads the parts of the service when it is collected, one collection at a time."""

    def __init__(self, read: Read) -> None:
        self._read, self._alone = read, threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """One family for each metric that has a reading; what does not answer is told on stderr."""
        with self._alone:
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
def metrics_endpoint(read: Read, host: str, port: int) -> Iterator[str]:
    """The URL of an endpoint that reads anew for each request, for the block; RequestError where nothing can listen there."""
    registry = CollectorRegistry()
    registry.register(PartsCollector(read))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise RequestError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}: choose another --port or --host"
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _family(name: str, readings: Iterable[Reading]) -> Metric:
    family = Metric(name, METRICS[name].says, "gauge")
    for reading in readings:
        family.add_sample(name, dict(reading.labels), reading.value)
    return family
