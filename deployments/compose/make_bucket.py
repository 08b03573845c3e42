"""Make the bucket of NEOCUBE_STORE_URL where it is missing: an object store that was just started has none."""

import time

from botocore.exceptions import EndpointConnectionError

from datacube_config.settings import get_settings
from flows.steps.storage import open_storage

PATIENCE_S = 60.0


def main() -> None:
    """Ask until the store answers, a minute at most."""
    storage = open_storage(get_settings())
    bucket = storage.root.removeprefix("s3://").partition("/")[0]
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            storage.filesystem.makedirs(bucket, exist_ok=True)
            return
        except EndpointConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


if __name__ == "__main__":
    main()
