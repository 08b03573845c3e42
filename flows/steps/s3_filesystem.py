"""S3 through s3fs, and how long it is waited for."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import fsspec

ONE_TRY_OF_SECONDS: Final = MappingProxyType(
    {"connect_timeout": 3, "read_timeout": 5, "retries": {"total_max_attempts": 1, "mode": "standard"}}
)


def s3_filesystem(options: Mapping[str, Any], **more: Any) -> Any:  # noqa: ANN401
    """The s3fs filesystem of some options, which tries as often as they tell botocore to: by itself it tries each of botocore's tries up to 25 times."""
    found = fsspec.filesystem("s3", **options, **more)
    found.retries = options.get("config_kwargs", {}).get("retries", {}).get("total_max_attempts", found.retries)
    return found
