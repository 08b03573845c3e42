"""The whole way once: simulate an archive, ingest it, build the cube, train the model, map the area."""

from typing import Any

from prefect import flow

from datacube_config.settings import get_settings
from flows.build_cube import build_cube
from flows.ingest import ingest
from flows.map_area import map_area
from flows.simulate import simulate
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.simulation.archive import local_directory
from flows.train_model import train_model


@flow(name="demo", flow_run_name="demo-{area}-{period}")
def demo(
    directory: str,
    features: str = "mangrove_features",
    model: str = "mangrove_extent",
    area: str = "demo",
    period: str = "2020",
    seed: int = 0,
    size_px: int = 160,
) -> dict[str, Any]:
    """From nothing to a scored map; returns `archive`, `cube`, `model`, `score`, `metrics`, `map` and `quicklooks`."""
    archive = local_directory(directory).absolute() / "archive"
    init_index(get_settings(), PRODUCT_DEFINITIONS)
    if not (archive / "catalog.json").is_file():
        simulate(str(archive), area, period, seed, size_px)
    ingested = ingest(str(archive))
    built = build_cube(features, area, period)
    trained = train_model(model, area, period, str(archive / "truth" / "labels.geojson"))
    mapped = map_area(trained["model"], area, period)
    return {
        "archive": str(archive),
        "scenes": ingested["found"],
        "cube": built["cube"],
        "model": trained["model"],
        "score": trained["metrics"]["score"],
        "metrics": trained["metrics"],
        "map": mapped["cube"],
        "quicklooks": mapped["quicklooks"],
        "pixel_area": mapped["pixel_area"],
    }
