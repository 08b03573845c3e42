"""The loop that trains a network: Lightning's, in a working folder, resumed where it was killed."""

import logging
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from torch.utils import deterministic

from flows.steps.networks.lightning_module import KEY, PixelClassifier
from products.devices import Device
from products.errors import RequestError

CHECKPOINT = "last.ckpt"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """Where the loop runs: `folder` holds its checkpoint and nothing else is written; several `devices` and `nodes` work by DDP, under Slurm as well."""

    folder: Path
    device: Device = "cpu"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        if self.devices < 1 or self.nodes < 1:
            raise RequestError(f"expected at least one device and one node, got {self.devices} and {self.nodes}")
        if self.device == "gpu" and self.devices > (held := torch.cuda.device_count()):
            raise RequestError(
                f"{self.devices} GPUs are asked for, this machine has {held}: lower the number of devices"
            )

    @property
    def strategy(self) -> str:
        """Lightning's name for how the processes share the work."""
        return "ddp" if self.devices * self.nodes > 1 else "auto"


def fit(classifier: PixelClassifier, options: TrainerOptions, tell: Tell | None = None) -> None:
    """Train until validation stops getting better or the epochs are over, from the last checkpoint in the folder if there is one.

    RequestError where the loss is no number, a GPU is full, or the checkpoint belongs to another training.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / CHECKPOINT
    begun = _checked(path, classifier.training_id) if path.exists() else None
    if begun and begun["is_done"]:
        classifier.history, classifier.best = begun["history"], begun["best"]
        return
    try:
        with _quiet_and_deterministic():
            _trainer(classifier, options, tell).fit(
                classifier, ckpt_path=str(path) if begun else None, weights_only=True
            )
    except torch.cuda.OutOfMemoryError as error:
        raise RequestError(f"the GPU is full: {classifier.spec.what_is_full}, or train with --device cpu") from error


def _trainer(classifier: PixelClassifier, options: TrainerOptions, tell: Tell | None) -> lightning.Trainer:
    spec = classifier.spec
    callbacks: list[Callback] = [
        EarlyStopping("validation", patience=spec.patience, check_finite=False),
        LastCheckpoint(options.folder / CHECKPOINT, tell),
    ]
    return lightning.Trainer(
        accelerator=options.device, devices=options.devices, num_nodes=options.nodes, strategy=options.strategy, precision=spec.precision,
        max_epochs=spec.epochs, callbacks=callbacks, default_root_dir=options.folder, deterministic=options.device == "cpu",
        reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0, use_distributed_sampler=False, benchmark=False,
        logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


class LastCheckpoint(Checkpoint):
    """After each epoch one file, which takes the place of the last whole: Lightning writes it beside and moves it there."""

    def __init__(self, path: Path, tell: Tell | None) -> None:
        self.path, self.tell = path, tell

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves, and tells the losses."""
        trainer.save_checkpoint(self.path)
        if self.tell and isinstance(pl_module, PixelClassifier):
            losses = pl_module.history[-1]
            self.tell(
                f"epoch {len(pl_module.history)}, loss {losses['train']:.4f}, validation {losses['validation']:.4f}"
            )


def _checked(path: Path, training_id: str) -> dict[str, Any]:
    """What a checkpoint says besides Lightning's own; RequestError if it is not of this training."""
    try:
        found: dict[str, Any] = torch.load(path, "cpu", weights_only=True)[KEY]
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"{path} is no checkpoint of neocube ({reason}): remove it to train from the beginning"
        ) from error
    if found["training"] != training_id:
        raise RequestError(
            f"the checkpoint {path} belongs to the training {found['training']}, this is {training_id}: another recipe, other cells or "
            "labels; remove it, or give another folder"
        )
    return found


@contextmanager
def _quiet_and_deterministic() -> Iterator[None]:
    """Lightning says nothing but warnings, new memory is not filled, which costs a third of the time, and what is set of torch is put back."""
    logger, was = logging.getLogger("lightning.pytorch"), torch.are_deterministic_algorithms_enabled()
    memory: Any = deterministic
    level, fills = logger.level, memory.fill_uninitialized_memory
    logger.setLevel(logging.WARNING)
    memory.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec")  # Lightning 2.6 calls what torch 2.15 replaces
            warnings.filterwarnings("ignore", ".*does not have many workers")
            warnings.filterwarnings("ignore", ".*GPU available but not used")
            warnings.filterwarnings("ignore", ".*`srun` command is available")  # on any machine of a cluster
            yield
    finally:
        logger.setLevel(level)
        torch.use_deterministic_algorithms(was)
        memory.fill_uninitialized_memory = fills
