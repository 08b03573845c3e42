"""A Dask cluster, connected, and its workers looked at before they are handed work."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datacube_config.settings import Settings
from flows.steps.cubes.dask_files import is_address, read_cluster, started
from products.devices import FEATURES, Device, gpu_absence
from products.errors import RequestError

WAIT_SECONDS = 60.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# the nanny of a worker ends it at this share of its limit (distributed.worker.memory.terminate)
MEMORY_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class ProcessView:
    """What a process sees: the running kernel, the home (device, inode) and whether the folder of the store is there."""

    kernel: str
    home: tuple[int, int] | None
    has_store: bool


def place_of(home: str, store_url: str) -> ProcessView:
    """The place of this process."""
    kernel = BOOT_ID.read_text().strip() if BOOT_ID.is_file() else ""
    seen = Path(home).stat() if Path(home).is_dir() else None
    has_store = store_url.startswith("s3://") or Path(store_url).is_dir()
    return ProcessView(kernel, (seen.st_dev, seen.st_ino) if seen else None, has_store)


@contextmanager
def dask_client(dask: str, settings: Settings, peak_bytes: int, device: Device) -> Iterator[Any]:
    """A distributed.Client, for the block, of a scheduler or of a cluster that is started for the block; RequestError where its workers cannot do the work."""
    with ExitStack() as stack:
        address, wait_s = dask, WAIT_SECONDS
        if not is_address(dask):
            cluster = read_cluster(dask)
            address, wait_s = stack.enter_context(started(cluster)), cluster.wait_s
        client = stack.enter_context(_connected(address))
        try:
            client.wait_for_workers(1, timeout=wait_s)
        except TimeoutError as error:
            raise RequestError(f"the Dask scheduler at {address} has no worker after {wait_s:g} s") from error
        asked = str(settings.home), settings.store_url
        places = client.run(place_of, *asked)
        check_workers(
            client.scheduler_info(n_workers=-1)["workers"],
            places,
            place_of(*asked),
            settings.index_url is None,
            peak_bytes,
        )
        if device == "gpu":
            check_gpus(client.run(gpu_absence, FEATURES))
        yield client


def _connected(address: str) -> Any:  # noqa: ANN401, distributed.Client
    from distributed import Client

    try:
        return Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"expected a Dask scheduler at {address}, such as tcp://HOST:8786: {str(error) or type(error).__name__}"
        ) from error


def check_gpus(lacks: Mapping[str, str]) -> None:
    """RequestError unless each worker can use a GPU."""
    for name, lack in lacks.items():
        if lack:
            raise RequestError(
                f"the device gpu was asked for, but on the Dask worker {name} {lack}; use --device cpu, or workers with a GPU"
            )


def check_workers(
    workers: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, ProcessView],
    here: ProcessView,
    is_embedded: bool,
    peak_bytes: int,
) -> None:
    """RequestError unless each worker has one thread, sees index and store, and may take the planned peak."""
    for name, place in places.items():
        if is_embedded and (place.kernel, place.home) != (here.kernel, here.home):
            raise RequestError(
                f"the Dask worker {name} is not on this host, where the embedded index is: set NEOCUBE_INDEX_URL to a server that every worker reaches"
            )
        if not place.has_store:
            raise RequestError(
                f"the Dask worker {name} does not see the folder of the store: set NEOCUBE_STORE_URL to s3:// or a folder that all machines share"
            )
    for name, worker in workers.items():
        if worker["nthreads"] != 1:
            raise RequestError(
                f"the Dask worker {name} has {worker['nthreads']} threads: expected 1 (dask worker --nthreads 1), cells use threads of their own"
            )
        limit = int(worker["memory_limit"] * MEMORY_SHARE)
        if 0 < limit < peak_bytes:
            raise RequestError(
                f"a cell is planned with {peak_bytes / 1e9:.2f} GB, the Dask worker {name} may take {limit / 1e9:.2f} GB: "
                f"set NEOCUBE_MEMORY_LIMIT_BYTES={limit}"
            )
