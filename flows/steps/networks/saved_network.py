"""The file of a network of any kind, read."""

from flows.steps.networks.network import Network, network_of
from flows.steps.networks.temporal_network import TemporalNetwork, temporal_of
from flows.steps.networks.weights_file import read
from products.learning.temporal_spec import TEMPORAL_SPECS


def saved_network(content: bytes, origin: str) -> Network | TemporalNetwork:
    """The network of a file, whichever it says that it is; RequestError for anything else."""
    header, arrays = read(content, origin)
    made = temporal_of if header.get("kind") in list(TEMPORAL_SPECS) else network_of
    return made(header, arrays, origin)
