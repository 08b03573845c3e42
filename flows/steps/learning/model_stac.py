"""STAC for a model: one item beside its card, described by the MLM, file and projection extensions.

https://github.com/stac-extensions/mlm, version 1.4.0: the fields that it requires, and what `neocube` knows of the others.
"""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePath
from typing import Any, Final

from flows.steps.learning.model_documents import ModelDraft
from products.antimeridian import as_geojson, outline
from products.learning.learned import Learned
from products.learning.recipe import ModelRecipe

STAC_VERSION: Final = "1.1.0"
EXTENSIONS: Final = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
SHA2_256: Final = "1220"  # multihash of 32 bytes: https://github.com/multiformats/multihash
TYPES: Final = {"md": "text/markdown", "json": "application/json", "png": "image/png", "npz": "application/zip"}


def model_item(draft: ModelDraft, learned: Learned, weights: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The item of a model whose files, by name, lie beside it; `weights` is the one that holds what was learned."""
    told = learned.describe()
    geometry, box = as_geojson(outline(draft.geobox))
    start, end = min(p.start for p in draft.periods), max(p.end for p in draft.periods) - timedelta(microseconds=1)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": str(draft.id),
        "geometry": geometry,
        "bbox": list(box),
        "properties": {
            "title": draft.recipe.title or draft.recipe.name,
            "description": " ".join([f"{told[:1].upper()}{told[1:]}.", *draft.card["notes"]]),
            "datetime": None,
            "start_datetime": _utc(start.isoformat()),
            "end_datetime": _utc(end.isoformat()),
            "license": "other",
            "proj:code": str(draft.geobox.crs),
            "proj:shape": list(draft.geobox.shape),
            "proj:transform": list(draft.geobox.affine)[:6],
            **_said_of_model(draft, learned),
            **_said_by_us(draft, learned),
        },
        "links": [],
        "assets": _assets(weights, files),
    }


def _said_of_model(draft: ModelDraft, learned: Learned) -> dict[str, Any]:
    """The fields of the MLM extension."""
    shape = learned.shape()
    asked = {"shape": list(shape.input_axes.values()), "dim_order": list(shape.input_axes), "data_type": "float32"}
    given = {"shape": list(shape.output_axes.values()), "dim_order": list(shape.output_axes), "data_type": "float32"}
    classes = [{"value": code, "name": name} for code, name in enumerate(learned.class_names, start=1)]
    software = draft.card["trained_from"]["software"]
    return {
        "bands": [{"name": name} for name in learned.feature_names],
        "mlm:name": draft.recipe.name,
        "mlm:architecture": shape.architecture,
        "mlm:framework": "neocube",
        **({"mlm:framework_version": software["neocube"]} if "neocube" in software else {}),
        "mlm:tasks": [shape.task],
        "mlm:pretrained": bool(begun := _first_weights(draft)),
        "mlm:pretrained_source": begun,
        "mlm:accelerator": None,
        "mlm:hyperparameters": _hyperparameters(draft),
        "mlm:input": [{"name": draft.recipe.features, "bands": list(learned.feature_names), "input": asked}],
        "mlm:output": [
            {"name": "probabilities", "tasks": [shape.task], "result": given, "classification:classes": classes}
        ],
    }


def _first_weights(draft: ModelDraft) -> str | None:
    """What its recipe says that it begins with, of a file the name."""
    recipe = draft.recipe
    weights = getattr(recipe.estimator.spec, "weights", None) if isinstance(recipe, ModelRecipe) else None
    return PurePath(weights).name if weights else None


def _hyperparameters(draft: ModelDraft) -> dict[str, Any]:
    recipe = draft.recipe
    if not isinstance(recipe, ModelRecipe):
        return {"seed": recipe.seed}
    best = draft.card["metrics"].get("tuning", {}).get("best", {})
    return {recipe.estimator.kind: recipe.estimator.spec.model_dump() | best, "seed": recipe.seed}


def _said_by_us(draft: ModelDraft, learned: Learned) -> dict[str, Any]:
    """What no extension has a word for: from what the model came, how well it agrees, and how it is loaded."""
    card = draft.card
    facts = card["trained_from"]
    return {
        "neocube:model": str(draft.id),
        "neocube:version": draft.recipe.version,
        "neocube:digest": learned.digest(),
        "neocube:simulated": card["simulated"],
        "neocube:cells": list(facts["cells"]),
        "neocube:labels": {"name": facts["labels"], "sha256": facts["labels_digest"], "crs": facts["labels_crs"]},
        "neocube:split": card["recipe"]["split"],
        "neocube:score": card["score"],
        "neocube:metrics": {"holdout": card["metrics"]["holdout"], "folds_mean": card["metrics"]["folds_mean"]},
        "neocube:credits": list(card["credits"]),
        "neocube:load": f"neocube map {draft.id} --area AREA --period PERIOD; "
        f"neocube export {draft.id} DIRECTORY --format onnx for other runtimes",
    }


def _assets(weights: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    model = {
        "title": "What was learned, as arrays that run nothing",
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": weights.rpartition(".")[2],
    }
    others = {name.replace(".", "_"): _asset(name, content) for name, content in files.items() if name != weights}
    return {"model": _asset(weights, files[weights]) | model} | others


def _asset(name: str, content: bytes) -> dict[str, Any]:
    media_type = TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return {
        "href": f"./{name}",
        "type": media_type,
        "roles": ["overview" if media_type == TYPES["png"] else "metadata"],
        "file:size": len(content),
        "file:checksum": SHA2_256 + hashlib.sha256(content).hexdigest(),
    }


def _utc(text: str) -> str:
    return text.replace("+00:00", "Z")
