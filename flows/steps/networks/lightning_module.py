"""The loss, the optimiser and the best weights of a network under training, as Lightning calls them."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import lightning
import torch
from torch.nn.functional import cross_entropy

from flows.steps.networks.patch_reader import Batch
from products.errors import RequestError
from products.learning.loop_spec import LoopSpec

KEY = "neocube"  # of a checkpoint
NO_CLASS = -1
RISING = 0.2  # of the steps of one cycle, in which the learning rate goes up


class Reader(Protocol):
    """The batches of an epoch, and how many."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


ReaderOf = Callable[[int | None, int, int], Reader]


class PixelClassifier(lightning.LightningModule):
    """Weighted cross entropy of labelled pixels, AdamW (Loshchilov and Hutter 2019, ICLR); keeps the weights of the lowest validation loss.

    `reader(epoch, rank, world)` gives the batches of an epoch, `reader(None, …)` those of validation. `training` is what the
    checkpoints belong to.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        spec: LoopSpec,
        reader: ReaderOf,
        weights: torch.Tensor,
        seed: int,
        training_id: str,
    ) -> None:
        super().__init__()
        self.network, self.spec, self.reader, self.seed, self.training_id = network, spec, reader, seed, training_id
        self.register_buffer("class_weights", weights, persistent=False)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self._sums = {"train": [0.0, 0.0], "validation": [0.0, 0.0]}

    def told(self) -> dict[str, Any]:
        """How it came to be: how many epochs, which was the best, from 1, and the losses of each."""
        losses = [each["validation"] for each in self.history]
        return {"epochs": len(losses), "best_epoch": losses.index(min(losses)) + 1, "losses": self.history}

    def train_dataloader(self) -> Reader:
        """The batches of the epoch that begins; Lightning asks at each."""
        return self.reader(self.current_epoch, self.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> Reader:
        """The batches of validation, always the same."""
        return self.reader(None, self.global_rank, self.trainer.world_size)

    def configure_optimizers(self) -> Any:  # noqa: ANN401
        """AdamW, and what moves its learning rate after each step, if anything: one cycle over all epochs."""
        spec, rank, world = self.spec, self.global_rank, self.trainer.world_size
        optimiser = torch.optim.AdamW(self.network.parameters(), spec.learning_rate, weight_decay=spec.weight_decay)
        if spec.schedule == "constant":
            return optimiser
        cycle = one_cycle(optimiser, spec.learning_rate, spec.epochs * len(self.reader(0, rank, world)))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Dropout begins each epoch alike, whether or not the process is the same."""
        torch.manual_seed((self.seed * 1_000_003 + self.current_epoch) % 2**63)

    def training_step(self, batch: Batch, step: int) -> torch.Tensor:
        """The loss of a batch; RequestError where it is no number."""
        loss = self._loss(batch, "train")
        if not torch.isfinite(loss):
            raise RequestError(
                f"the loss is no number at step {step + 1} of epoch {self.current_epoch + 1}: {_advice(self.spec)}"
            )
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Adds the loss of a batch to that of the epoch."""
        self._loss(batch, "validation")

    def on_validation_epoch_end(self) -> None:
        """The losses of the epoch, and the weights if they are the best so far."""
        losses = {name: self._mean(name) for name in self._sums}
        if not torch.isfinite(torch.tensor(losses["validation"])):
            raise RequestError(
                f"the validation loss of epoch {self.current_epoch + 1} is {losses['validation']}: {_advice(self.spec)}"
            )
        if not self.history or losses["validation"] < min(each["validation"] for each in self.history):
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        self.history.append({name: round(value, 6) for name, value in losses.items()})
        self.log("validation", losses["validation"])
        self._sums = {name: [0.0, 0.0] for name in self._sums}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning does not know."""
        checkpoint[KEY] = {
            "training": self.training_id,
            "history": self.history,
            "best": self.best,
            "is_done": bool(self.trainer.should_stop) or len(self.history) >= self.spec.epochs,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back."""
        self.history, self.best = checkpoint[KEY]["history"], checkpoint[KEY]["best"]

    def _loss(self, batch: Batch, part: str) -> torch.Tensor:
        bands, numbers = batch
        weights: Any = self.class_weights
        loss = cross_entropy(self.network(bands).float(), numbers, weights, ignore_index=NO_CLASS)
        n = float((numbers != NO_CLASS).sum())
        self._sums[part][0] += float(loss.detach()) * n
        self._sums[part][1] += n
        return loss

    def _mean(self, part: str) -> float:
        """The mean loss of a labelled pixel, over all processes."""
        sums = torch.tensor(self._sums[part], dtype=torch.float64, device=self.device)
        total, n = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        return total / max(n, 1.0)


def _advice(spec: LoopSpec) -> str:
    mixed = f", or precision {spec.precision} holds too small a range: take 32" if spec.precision != "32" else ""
    return f"the learning rate of {spec.learning_rate:g} is likely too high: lower it{mixed}"


def one_cycle(optimiser: torch.optim.Optimizer, highest: float, n_steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
    """One cycle of learning rates (Smith and Topin 2019, SPIE 11006): up over a fifth of the steps, at least one, and down to nothing."""
    n_rates = n_steps + 1
    rising = max(RISING, 2 / n_rates)  # PyTorch divides by the steps that go up, which are one less than it is told
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, highest, n_rates, pct_start=rising)
