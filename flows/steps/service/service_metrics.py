"""The metrics of the service: their names, what they say and their labels; and one reading of one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class Meaning:
    """What a metric says, and the names of its labels."""

    def __init__(self, says: str, *labels: str) -> None:
        self.says, self.labels = says, labels


# names and units: https://prometheus.io/docs/practices/naming
METRICS = {
    "neocube_up": Meaning("Whether a part answered now: index, storage (it can be read); prefect, gpu and reconcile (its file) where there is one.", "part"),
    "neocube_read_seconds": Meaning("How long the figures of a part took to read now.", "part"),
    "neocube_scenes": Meaning("Scenes in the index; state: active, archived.", "collection", "state"),
    "neocube_scenes_last_day": Meaning("Scenes added to the index in the last 24 hours.", "collection"),
    "neocube_scene_newest_timestamp_seconds": Meaning("Sensing time of the newest indexed item.", "archive", "collection"),
    "neocube_scene_added_timestamp_seconds": Meaning("When a scene was last added.", "collection"),
    "neocube_archive_items": Meaning("Items of archives: indexed, archived, part (of a scene), quarantined, missing, gone.", "archive", "collection", "state"),
    "neocube_archive_harvested_timestamp_seconds": Meaning("When a harvest last went on or ended.", "archive", "collection"),
    "neocube_quarantine_items": Meaning("Items that could not be taken.", "archive", "collection"),
    "neocube_quarantine_oldest_timestamp_seconds": Meaning("Since when the oldest of them waits.", "archive", "collection"),
    "neocube_provider_closed_until_timestamp_seconds": Meaning("Until when a provider asked not to be asked.", "provider"),
    "neocube_reconcile_alarms": Meaning("Thresholds that the last reconciliation of an archive found passed.", "archive"),
    "neocube_reconcile_finished_timestamp_seconds": Meaning("When that reconciliation ended.", "archive"),
    "neocube_cells": Meaning("Cells; family: features, map, samples, kinds of rasters; state: active, archived.", "product", "family", "state"),
    "neocube_cells_last_day": Meaning("Cells published in the last 24 hours.", "product", "family"),
    "neocube_cell_newest_timestamp_seconds": Meaning("When a cell was last published.", "product", "family"),
    "neocube_cells_stale": Meaning("Active cells of which a source is archived.", "product", "family"),
    "neocube_cells_unread": Meaning("Active cells of which an asset could not be read.", "product", "family"),
    "neocube_cell_failures_last_day": Meaning("Cells that failed in flow runs of the last 24 hours; each attempt counts.", "recipe"),
    "neocube_cell_build_seconds": Meaning("Seconds that a cell of the last 24 hours took, its row included; statistic: median, p95.", "product", "statistic"),
    "neocube_cell_stage_seconds": Meaning("Median seconds of a stage (loading, computing) of the same cells.", "product", "stage"),
    "neocube_cell_decoded_bytes": Meaning("Bytes of source pixels decoded for a cell, of the same cells.", "product", "statistic"),
    "neocube_cell_stored_bytes": Meaning("Bytes in the store of the cell of a product that was published last.", "product"),
    "neocube_cells_last_day_core_seconds": Meaning("Seconds of the cells of the last 24 hours times the threads that each had.", "product"),
    "neocube_cells_last_day_cost": Meaning("The same at the price of a core hour.", "product", "currency"),
    "neocube_cubes": Meaning("Current cubes of a product, one an area and CRS.", "product"),
    "neocube_cube_updated_timestamp_seconds": Meaning("When a cube of the product last changed.", "product"),
    "neocube_models": Meaning("Models in the index; state: active, archived.", "product", "state"),
    "neocube_model_newest_timestamp_seconds": Meaning("When a model was last published.", "product"),
    "neocube_follow_ups": Meaning("Trainings and maps that standing orders lack, and answers that subscriptions do.", "kind"),
    "neocube_follow_up_oldest_timestamp_seconds": Meaning("Since when the oldest of them is due.", "kind"),
    "neocube_subscription_answers_last_month": Meaning("Answers of a subscription in the last 30 days.", "subscription"),
    "neocube_subscription_answer_seconds": Meaning("From a scene's arrival to its answer, of the same; statistic: median, p95.", "subscription", "statistic"),
    "neocube_storage_free_bytes": Meaning("Free bytes where the store is a folder."),
    "neocube_storage_size_bytes": Meaning("Size of the file system where the store is a folder."),
    "neocube_gpu_utilization_ratio": Meaning("Share of the last moment in which a GPU of this machine computed.", "gpu"),
    "neocube_gpu_memory_used_bytes": Meaning("Memory of the GPU in use.", "gpu"),
    "neocube_gpu_memory_size_bytes": Meaning("Memory of the GPU.", "gpu"),
    "neocube_flow_runs": Meaning("Flow runs that are due and not ended; state: scheduled, pending, running, paused, cancelling.", "flow", "state"),
    "neocube_flow_run_due_timestamp_seconds": Meaning("Since when the oldest run that has not begun is due.", "flow"),
    "neocube_flow_runs_last_day": Meaning("Flow runs that began in the last 24 hours; state: completed, failed, crashed and so on.", "flow", "state"),
    "neocube_flow_completed_timestamp_seconds": Meaning("When a run of the flow last completed.", "flow"),
    "neocube_workers": Meaning("Prefect workers of a work pool; status: online, offline.", "pool", "status"),
    "neocube_schedules_without_run": Meaning("Deployments with a schedule that is on, of which the Prefect server has planned no run."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a metric of METRICS, with a value for each of its labels."""

    metric: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(
                f"expected a metric of METRICS, got {self.metric!r}: add it there and to docs/operations.md"
            )
        if self.labels.keys() != set(METRICS[self.metric].labels):
            raise ValueError(
                f"{self.metric}: expected the labels {METRICS[self.metric].labels}, got {tuple(self.labels)}"
            )
