"""GeoJSON files of shapes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_shapes(
    path: Path, shapes: Sequence[Any], properties: Sequence[dict[str, Any]] | None = None, **members: Any
) -> Path:
    """Write shapes (of shapely or odc.geo, in the coordinates that the file is to have) with their properties; the path."""
    features = [
        {"type": "Feature", "properties": facts, "geometry": shape.__geo_interface__}
        for shape, facts in zip(shapes, properties or [{}] * len(shapes), strict=True)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", **members, "features": features}))
    return path
