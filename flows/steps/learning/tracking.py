"""Trainings as runs of MLflow, where the settings name a place: a folder with a database file, or a server."""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datacube_config.errors import StorageLost, StorageUnavailable
from flows.steps.storage import Storage
from products.errors import RequestError

MODEL_TAG = "neocube.model"
DATABASE, ARTIFACTS = "mlflow.db", "artifacts"
MOST_CHARACTERS = 500  # of a value of a parameter: what all versions of MLflow take
NOT_IN_A_NAME = re.compile(r"[^\w.\- :]")  # MLflow takes "/" too, but reads it as a path
LONGEST_NAME = 240  # of 250 characters; the rest is for a number
AT_ONCE = 100
SHOWN = (".md", ".json", ".png")


@dataclass(frozen=True)
class Tracker:
    """Where runs go: a folder, or the http(s) URL of a server."""

    place: str

    def log(self, storage: Storage, document: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
        """The id of the run of a trained model, in the experiment of its name; a model that has one gets no second. StorageLost.

        `document` has `model`, `name`, `metrics` and `card`, the path of the card in the store, whose folder's cards and pictures become artifacts. Each
        trial of a tuning is a run below it.
        """
        try:
            return self._logged(storage, document, recipe)
        except Exception as error:  # whatever a store or a server raises, the model is there and says so
            reason = " ".join(str(error).split())[:300]
            raise StorageLost(
                f"the model {document['model']} is trained and published, but MLflow at {self.place} did not take its run: {reason}; "
                "mend it, or unset NEOCUBE_MLFLOW_URI, and train again: the run is then logged without learning anew"
            ) from error

    def check(self) -> None:
        """StorageUnavailable unless the place answers, before hours of training."""
        try:
            self._client.search_experiments(max_results=1)
        except Exception as error:  # the same
            reason = " ".join(str(error).split())[:300]
            raise StorageUnavailable(
                f"NEOCUBE_MLFLOW_URI: MLflow at {self.place} cannot be used: {reason}; mend it, or unset it"
            ) from error

    def _logged(self, storage: Storage, document: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
        client, metrics = self._client, document["metrics"]
        settings, told = taken(flattened(recipe)), taken(dict(numbers(metrics)))
        experiment = self._experiment(document["name"])
        wanted = f"tags.`{MODEL_TAG}` = '{document['model']}' and attributes.status = 'FINISHED'"
        if found := client.search_runs([experiment], filter_string=wanted, max_results=1):
            return str(found[0].info.run_id)
        tags = {MODEL_TAG: document["model"], "neocube.version": str(recipe["version"])}
        run = client.create_run(experiment, tags=tags, run_name=document["model"]).info.run_id
        try:
            self._batch(run, settings, [(*each, 0) for each in told.items()] + list(losses(metrics)))
            self._fill(run, experiment, storage, document)
        except Exception:  # the same: a run that is not whole says so, where the place can still be told
            with suppress(Exception):
                client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run)
        return str(run)

    def _fill(self, run: str, experiment: str, storage: Storage, document: Mapping[str, Any]) -> None:
        """Cards and pictures of a run, and the runs of the trials below it."""
        client = self._client
        with tempfile.TemporaryDirectory(prefix="neocube-mlflow-") as folder:
            for path in storage.files(document["card"].rpartition("/")[0]):
                if path.endswith(SHOWN):
                    (Path(folder) / path.rpartition("/")[2]).write_bytes(storage.read_bytes(path))
            client.log_artifacts(run, folder)
        for number, trial in enumerate(document["metrics"].get("tuning", {}).get("trials", []), start=1):
            named = {"mlflow.parentRunId": run}
            below = client.create_run(experiment, tags=named, run_name=f"trial {number}").info.run_id
            self._batch(below, trial["settings"], [("agreement", trial["agreement"], 0)])
            client.set_terminated(below)

    def _batch(self, run: str, settings: Mapping[str, Any], values: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        params = [Param(name, str(value)[:MOST_CHARACTERS]) for name, value in settings.items()]
        told = [Metric(name, float(value), now, step) for name, value, step in values]
        for start in range(0, max(len(params), len(told)), AT_ONCE):
            self._client.log_batch(run, told[start : start + AT_ONCE], params[start : start + AT_ONCE])

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known:
            return str(known.experiment_id)
        folder = None if self._is_server else (Path(self.place) / ARTIFACTS / name).as_uri()
        return str(self._client.create_experiment(name, artifact_location=folder))

    @property
    def _is_server(self) -> bool:
        return self.place.startswith(("http://", "https://"))

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would tell its makers what is called
        from mlflow import MlflowClient

        if self._is_server:
            return MlflowClient(tracking_uri=self.place)
        Path(self.place).mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=f"sqlite:///{quote(str(Path(self.place) / DATABASE))}")


def tracker_at(place: str | None) -> Tracker | None:
    """Where trainings are tracked, ready; None where no place is named, and then nothing of MLflow is imported."""
    if place is None:
        return None
    if find_spec("mlflow") is None:
        raise RequestError(
            "NEOCUBE_MLFLOW_URI is set, which needs the package mlflow: install neocube[track], or unset it"
        )
    found = Tracker(place)
    found.check()
    return found


def flattened(document: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Values of a nested document by their path, such as `split.block_m`; of lists those of plain values."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found |= flattened(value, f"{name}.")
        elif not isinstance(value, list | tuple) or all(isinstance(each, str | int | float) for each in value):
            found[name] = value
    return found


def taken(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values by names that MLflow takes: what it does not is `_`, and of two names that are then the same the second ends in `_2`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        plain = NOT_IN_A_NAME.sub("_", name)[:LONGEST_NAME]
        names = (plain if number == 1 else f"{plain}_{number}" for number in count(1))
        found[next(each for each in names if each not in found)] = value
    return found


def numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of the metrics by their path."""
    for name, value in flattened(metrics).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def losses(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """The losses of a network by epoch, from 1; of several trainings those of the last, which learned from all."""
    told = metrics.get("training", {})
    last = told[-1] if isinstance(told, list) else told
    for epoch, by_part in enumerate(last.get("losses", []), start=1):
        for part, value in by_part.items():
            yield f"loss.{part}", value, epoch
