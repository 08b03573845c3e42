"""How raster files are opened, as plain values."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import rasterio
from rasterio.session import AWSSession

from datacube_config.archives import SigningRule, load_archives
from datacube_config.settings import Settings
from flows.steps.archives.signing import signing_by
from flows.steps.loading.gdal_options import GDAL_OPTIONS
from flows.steps.loading.remote_memory import forget_files
from flows.steps.storage import s3_options


@dataclass(frozen=True, slots=True)
class RasterAccess:
    """How files are opened: GDAL options, rasterio's AWSSession, the rules of hosts that sign, the threads that read over a network, the folder of the
    weights of mask models; and the options of s3fs, for files that are no rasters.

    Plain values, so that it crosses to other processes.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    aws: Mapping[str, str | bool] = field(default_factory=dict, repr=False)
    signing: tuple[SigningRule, ...] = ()
    remote_threads: int = 1
    mask_weights: str | None = None
    s3: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @contextmanager
    def env(self) -> Iterator[None]:
        """The rasterio environment of one read."""
        session = AWSSession(**self.aws) if self.aws else None
        with rasterio.Env(session=session, **{**GDAL_OPTIONS, **self.options}), signing_by(self.signing):
            yield


def raster_access(settings: Settings) -> RasterAccess:
    """The endpoint, credentials and region of the settings, as GDAL and rasterio want them, for one piece of work.

    It begins with the files that are there now: what GDAL remembers of those over a network is forgotten.
    """
    forget_files()
    options: dict[str, str] = {}
    aws: dict[str, str | bool] = {}
    if settings.s3_endpoint_url:
        scheme, _, host = settings.s3_endpoint_url.partition("://")
        options = {"AWS_HTTPS": "YES" if scheme == "https" else "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
        aws["endpoint_url"] = host
    if settings.s3_anonymous:
        aws["aws_unsigned"] = True
    elif settings.s3_access_key_id and settings.s3_secret_access_key:
        aws["aws_access_key_id"] = settings.s3_access_key_id
        aws["aws_secret_access_key"] = settings.s3_secret_access_key.get_secret_value()
    if settings.s3_region:
        aws["region_name"] = settings.s3_region
    weights = str(settings.mask_weights) if settings.mask_weights else None
    signing = load_archives(settings.archives).signing
    return RasterAccess(options, aws, signing, settings.remote_thread_count, weights, s3_options(settings))
