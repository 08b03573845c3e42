"""The file of a network of any kind, read."""

from flows.steps.networks.chip_network import KIND, ChipNetwork, chip_network_of
from flows.steps.networks.network import Network, network_of
from flows.steps.networks.temporal_network import TemporalNetwork, temporal_of
from flows.steps.networks.weights_file import read
from products.learning.temporal_spec import TEMPORAL_SPECS


def saved_network(content: bytes, origin: str) -> Network | TemporalNetwork | ChipNetwork:
    """The network of a file, whichever it says that it is; RequestError for anything else."""
    header, arrays = read(content, origin)
    kind = header.get("kind")
    if kind == KIND:
        return chip_network_of(header, arrays, origin)
    made = temporal_of if kind in list(TEMPORAL_SPECS) else network_of
    return made(header, arrays, origin)
