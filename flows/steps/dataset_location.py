"""Where an ODC dataset lies, on either index driver."""

from datacube.model import Dataset


def dataset_location(dataset: Dataset) -> str:
    """The one location of a dataset, or an empty string."""
    uri = dataset.uri
    return "" if uri is None else str(uri)
