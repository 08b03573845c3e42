"""The flow `simulate`: an archive with known truth."""

from typing import Any

from prefect import flow

from flows.steps.areas import find_area
from flows.steps.simulation.archive import FaultLevel, Simulation, local_directory, write_archive
from products.period import parse_period


@flow(name="simulate", flow_run_name="simulate-{area}-{period}")
def simulate(
    directory: str,
    area: str = "demo",
    period: str = "2020",
    seed: int = 0,
    size_px: int = 160,
    faults: FaultLevel = "none",
    max_scenes_per_platform: int | None = 10,
) -> dict[str, Any]:
    """Write a Landsat and Sentinel-2 archive of a made-up coast; returns `items`, `truth` and `faults`."""
    simulation = Simulation(find_area(area), parse_period(period), seed, size_px, faults, max_scenes_per_platform)
    return write_archive(local_directory(directory), simulation)
