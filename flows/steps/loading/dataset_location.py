"""Where an ODC dataset lies, on either index driver."""

from datacube.model import Dataset


def dataset_location(dataset: Dataset) -> str:
    """The one location of a dataset, or an empty string."""
    uri = dataset.uri
    return "" if uri is None else str(uri)


def band_href(base: str, path: str) -> str:
    """The place of a measurement's file: its path, below the folder of the dataset where it is relative."""
    return path if path.startswith("/") or "://" in path else f"{base}/{path}"
