"""A small network learned from arrays: it learns, ends the same after a kill, refuses what does not fit, and says what went wrong."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from products.errors import RequestError
from products.learning.network_spec import UnetSpec
from products.learning.splits import within_buffer
from tests.flows.broken_off import Broken, breaking_off
from tests.flows.network_training_data import (
    FEATURES,
    SPEC,
    STAGES,
    X,
    Y,
    features,
    split,
    trained,
    training_data,
    truth,
)

REPOSITORY = Path(__file__).parents[2]
REASON = "the packages of the extra deep are not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("lightning", reason=REASON)
pytest.importorskip("segmentation_models_pytorch", reason=REASON)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return *trained(folder), folder


def test_the_loss_falls_and_blocks_never_trained_on_are_known(undisturbed: tuple[Any, dict[str, Any], Path]) -> None:
    network, told, folder = undisturbed
    losses = [each["train"] for each in told["losses"]]
    assert told["epochs"] == 3 and losses[-1] < 0.8 * losses[0]
    assert told["patches_per_s"] > 0 and told["reader_patches_per_s"] > told["patches_per_s"]
    shares = network.probabilities_of_window(features())
    test = split().test_rows(split().holdout).reshape(truth().shape) & np.isfinite(shares[0])
    assert (shares.argmax(axis=0) + 1 == truth())[test].mean() > 0.6
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]


def test_statistics_come_from_free_ground_only(undisturbed: tuple[Any, dict[str, Any], Path]) -> None:
    network, parts = undisturbed[0], split()
    held = np.unique(parts.block[(parts.fold == 0) | (parts.fold == parts.holdout)])
    columns, rows = (axis.ravel() for axis in np.meshgrid(X, Y))
    free = ~within_buffer(columns, rows, held, parts.block_m, parts.buffer_m)
    np.testing.assert_allclose(network.mean, np.nanmean(features().reshape(3, -1)[:, free], axis=1), rtol=1e-5)
    assert network.feature_names == FEATURES


def test_training_again_gives_the_same_weights_and_another_seed_gives_others(
    undisturbed: tuple[Any, dict[str, Any], Path], tmp_path: Path
) -> None:
    assert trained(tmp_path / "again")[0].digest() == undisturbed[0].digest()
    from flows.steps.networks.train_network import train_network
    from flows.steps.networks.training_loop import TrainerOptions

    other = replace(training_data(epochs=1), seed=2)
    assert train_network(other, TrainerOptions(tmp_path / "other"), "other")[0].digest() != undisturbed[0].digest()


def killed(stage: str, folder: Path) -> None:
    program = [sys.executable, "-m", "tests.flows.network_training_data", stage, str(folder)]
    assert subprocess.run(program, cwd=REPOSITORY, check=False, stderr=subprocess.DEVNULL).returncode == -9


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_training_that_broke_off_ends_with_the_weights_of_an_undisturbed_one(
    epoch: int, undisturbed: tuple[Any, dict[str, Any], Path], tmp_path: Path
) -> None:
    from flows.steps.networks.train_network import train_network
    from flows.steps.networks.training_loop import TrainerOptions

    with pytest.raises(Broken, match=r"^$"):
        train_network(training_data(), TrainerOptions(tmp_path), "coast", breaking_off(epoch))
    network, how = trained(tmp_path)
    assert how["losses"] == undisturbed[1]["losses"] and network.digest() == undisturbed[0].digest()


@pytest.mark.full
@pytest.mark.parametrize("stage", STAGES)
def test_a_training_that_was_killed_ends_with_the_weights_of_an_undisturbed_one(
    stage: str, undisturbed: tuple[Any, dict[str, Any], Path], tmp_path: Path
) -> None:
    killed(stage, tmp_path)
    said = torch.load(tmp_path / "last.ckpt", weights_only=True)["neocube"]
    assert len(said["history"]) == (2 if stage == "after an epoch" else 1) and not said["is_done"]
    network, told = trained(tmp_path)
    assert told["losses"] == undisturbed[1]["losses"]
    assert network.digest() == undisturbed[0].digest()


def test_a_training_that_was_done_is_not_run_again(undisturbed: tuple[Any, dict[str, Any], Path]) -> None:
    network, told = trained(undisturbed[2])
    assert network.digest() == undisturbed[0].digest()
    assert told["patches_per_s"] is None and told["losses"] == undisturbed[1]["losses"]


def test_a_checkpoint_of_another_training_and_a_broken_one_are_refused(
    undisturbed: tuple[Any, dict[str, Any], Path], tmp_path: Path
) -> None:
    with pytest.raises(
        RequestError,
        match=r"last.ckpt belongs to the training coast, this is reef: another recipe, other cells or labels",
    ):
        trained(undisturbed[2], "reef")
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(
        RequestError, match="last.ckpt is no checkpoint of neocube .* remove it to train from the beginning"
    ):
        trained(tmp_path)


def test_training_stops_early_where_validation_gets_no_better(tmp_path: Path) -> None:
    told = trained(tmp_path, learning_rate=1e-12, patience=1, epochs=30)[1]
    assert told["epochs"] < 30


class Fails(torch.nn.Module):  # type: ignore[misc]
    """A network whose answer is no number, or that finds the GPU full."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error, self.layer = error, torch.nn.Conv2d(2, 3, 1)

    def forward(self, bands: Any) -> Any:
        if self.error:
            raise self.error
        return self.layer(bands) * float("nan")


class OneBatch:
    """An epoch."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(2, 2, 16, 16), torch.zeros(2, 16, 16, dtype=torch.int64)


def classifier(network: Any, **changed: Any) -> Any:
    from flows.steps.networks.lightning_module import PixelClassifier

    spec = UnetSpec.model_validate(SPEC | changed)
    return PixelClassifier(network, spec, lambda *_: OneBatch(), torch.ones(3), 1, "coast")


@pytest.mark.parametrize(("precision", "more"), [("32", ""), ("bf16-mixed", ", or precision bf16-mixed .*: take 32")])
def test_a_loss_that_is_no_number_is_told_with_step_and_likely_cause(precision: str, more: str, tmp_path: Path) -> None:
    from flows.steps.networks.training_loop import TrainerOptions, fit

    learning = classifier(Fails(), learning_rate=0.5, precision=precision)
    message = (
        r"the loss is no number at step 1 of epoch 1: the learning rate of 0.5 is likely too high: lower it" + more
    )
    with pytest.raises(RequestError, match=message):
        fit(learning, TrainerOptions(tmp_path))


def test_the_learning_rate_of_one_cycle_goes_up_and_down_to_nearly_nothing_broken_off_or_not(tmp_path: Path) -> None:
    from flows.steps.networks.training_loop import TrainerOptions, fit

    def rates(folder: Path, ends: int | None = None) -> list[float]:
        found: list[float] = []

        def tell(_: str) -> None:
            saved = torch.load(folder / "last.ckpt", weights_only=True)
            found.append(saved["optimizer_states"][0]["param_groups"][0]["lr"])
            if len(found) == ends:
                raise Broken

        learning = classifier(torch.nn.Conv2d(2, 3, 1), learning_rate=0.5, schedule="one_cycle", epochs=20, patience=20)
        with contextlib.suppress(Broken):
            fit(learning, TrainerOptions(folder), tell)
        return found

    whole = rates(tmp_path / "whole")
    assert len(whole) == 20 and max(whole) == whole[3] > 0.4 and whole[0] < 0.2 and 0 <= whole[-1] < 0.01
    assert rates(tmp_path / "parts", ends=7) + rates(tmp_path / "parts") == whole


@pytest.mark.parametrize("n_steps", range(1, 8))
def test_a_cycle_of_few_steps_reaches_the_highest_rate_at_the_second(n_steps: int) -> None:
    from flows.steps.networks.lightning_module import one_cycle

    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], 0.5)
    cycle, rates = one_cycle(optimiser, 0.5, n_steps), []
    for _ in range(n_steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cycle.step()
    assert rates[0] == pytest.approx(0.02) and all(0 < rate <= 0.5 for rate in rates)
    assert n_steps == 1 or (rates[1] == pytest.approx(0.5) and rates[1:] == sorted(rates[1:], reverse=True))


def test_a_full_gpu_is_told_with_what_to_lower(tmp_path: Path) -> None:
    from flows.steps.networks.training_loop import TrainerOptions, fit

    full = classifier(Fails(torch.cuda.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(RequestError, match="the GPU is full: a batch of 4 patches of 16 px does not fit; lower batch"):
        fit(full, TrainerOptions(tmp_path))


def test_a_place_that_cannot_be_is_refused_and_several_processes_work_by_ddp(tmp_path: Path) -> None:
    from flows.steps.networks.training_loop import TrainerOptions

    assert [TrainerOptions(tmp_path, "cpu", *each).strategy for each in ((1, 1), (2, 1), (1, 2))] == [
        "auto",
        "ddp",
        "ddp",
    ]
    with pytest.raises(RequestError, match="expected at least one device and one node, got 0 and 1"):
        TrainerOptions(tmp_path, "cpu", 0)
    with pytest.raises(RequestError, match=r"1000 GPUs are asked for, this machine has \d+: lower the number"):
        TrainerOptions(tmp_path, "gpu", 1000)
