"""The flow `assess-map`: accuracy and areas of a map from its interpreted sample."""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.assess_here import estimate_map
from flows.run_artifacts import leave_picture, leave_table


@flow(name="assess-map", flow_run_name="assess-{name}")
def assess_map(name: str, sample: str) -> dict[str, Any]:
    """Estimate accuracy and areas of a map; returns `areas`, `accuracy` and the error matrix."""
    document = estimate_map(name, sample)
    leave_table(
        "map-assessment", table_rows(document), f"{document['map']}: {document['score']} and areas, 95 % intervals"
    )
    leave_picture(
        "map-assessment-picture", Path(document["picture"]).read_bytes(), f"{document['map']}: {document['score']}"
    )
    return document


def table_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each class, as the artifact shows them."""
    per_class = document["accuracy"]["per_class"]
    return [
        {"class": each["class"], "pixel count": each["pixel_count"], "area, ha": each["area"]["estimate"]}
        | {"95 % interval": each["area"]["interval_95"]}
        | {
            kind: per_class[each["class"]][kind] and per_class[each["class"]][kind]["interval_95"]
            for kind in ("users", "producers")
        }
        for each in document["areas"]
    ]
