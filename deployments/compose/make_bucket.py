"""Make the bucket of NEOCUBE_STORE_URL where it is missing: an object store that was just started has none."""

import time

import boto3
from botocore.exceptions import EndpointConnectionError

from datacube_config.settings import get_settings

PATIENCE_S = 60.0


def main() -> None:
    """Ask until the store answers, a minute at most."""
    settings = get_settings()
    secret = settings.s3_secret_access_key
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        region_name=settings.s3_region,
    )
    bucket = settings.store_url.removeprefix("s3://").partition("/")[0]
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            if bucket not in {each["Name"] for each in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=bucket)
            return
        except EndpointConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


if __name__ == "__main__":
    main()
