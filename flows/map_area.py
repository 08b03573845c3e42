"""The flow `map-area`: map an area with a trained model."""

from typing import Any

from prefect import flow

from datacube_config.settings import get_settings
from flows.failed_work import cell_causes, end_failed
from flows.index_retry import outlasting
from flows.map_here import make_map
from flows.run_artifacts import leave_map, logged_flow, progress_bar
from products.devices import DeviceChoice


@flow(name="map-area", flow_run_name="map-{area}-{period}-{model}")
@logged_flow
@outlasting
def map_area(model: str, area: str, period: str, device: DeviceChoice = "auto") -> dict[str, Any]:
    """Map an area with a trained model; returns `cube`, `cogs`, `pixel_area` and what lies beside them; WorkFailed where a cell failed."""
    move = progress_bar("map-progress", "cells mapped")
    document = make_map(model, area, period, lambda step: move(step.share), device).document()
    move(1.0)
    leave_map(document, get_settings())
    end_failed(document, cell_causes(document))
    return document
