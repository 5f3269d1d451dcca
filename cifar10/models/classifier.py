"""Implements what all models share: training loop, metrics, evaluation and checkpoints."""

from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Self

import torch
from annotated_types import Gt, Lt
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import CatMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from cifar10.compat import count_batches, has_trainer
from cifar10.data.batches import TrainBatches
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError
from cifar10.models.test_predictions import TestPredictions
from cifar10.networks.base import Network
from cifar10.networks.checkpoint import read_checkpoint

Batch = tuple[Tensor, Tensor]
SECONDS_PER_CALL = 0.1
"""Duration of a call of `training_step`: long compared with Lightning's overhead, short enough to react to signals."""
Rate = Annotated[float, Gt(0), Lt(inf)]
"""A learning rate."""


class Classifier(LightningModule):
    """Trains and tests a network from raw images to logits; subclasses implement `configure_optimizers`.

    A batch is images as in `Network.forward` and labels (N,) int64. Logged per epoch: `train/loss`, `train/accuracy`,
    `val/loss`, `val/accuracy`, `lr`; accuracies are in [0, 1]. A checkpoint within an epoch holds the epoch's sums so
    far, and each checkpoint what `load_network` needs.
    """

    gradient_clip_val: float | None = None
    """Largest norm of the gradient, which `make_trainer` sets: Lightning does not clip in manual optimization."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.automatic_optimization = False  # `training_step` runs several optimizer steps
        self.network = network
        keep_nan: dict[str, Any] = {"nan_strategy": "disable"}  # else NaN losses and probabilities would be left out
        self.accuracy = MulticlassAccuracy(len(self.class_names), average="micro")
        self.mean_loss = MeanMetric(**keep_nan)
        self.probabilities, self.labels = CatMetric(**keep_nan), CatMetric(**keep_nan)
        # The epoch so far, counted by hand: metric objects take as long as the whole step of the small models.
        self.loss_sum, self.correct, self.num_examples = 0.0, 0, 0
        self.uncounted: list[tuple[Tensor, Tensor, int]] = []  # (loss, correct predictions, images) of each step
        self.test_results: dict[str, Any] = {}
        self.test_predictions: TestPredictions | None = None

    @property
    def class_names(self) -> list[str]:
        return self.network.class_names

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean loss of a batch, a scalar. logits: (N, C), labels: (N,)."""
        return F.cross_entropy(logits, labels)

    def training_step(self, dataloader_iter: Iterator[Any]) -> Tensor | None:
        """Runs optimizer steps until a callback needs to act, for SECONDS_PER_CALL at most; returns the last loss.

        Returns None at the end of a loader without length: Lightning calls once more than there are batches.
        Lightning's overhead occurs once per call. Results do not depend on the number of steps in a call. Under DDP it
        is one: gradients of further backward passes in the same call are not all reduced.
        """
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        needs_step, steps, end = self._needs_step(), 0, monotonic() + SECONDS_PER_CALL
        first, loss = self.trainer.fit_loop.epoch_loop.batch_idx, None
        for (images, labels), _, _ in dataloader_iter:
            loss = self._train_loss(images.to(self.device), labels.to(self.device), first + steps)
            with torch.autocast(self.device.type, enabled=False):  # Lightning enables it for this whole method
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            self.on_step_end()
            if schedule is not None:
                schedule.step()
            steps += 1
            if sum(needed(self.trainer.global_step) for needed in needs_step) or monotonic() >= end:
                break
        count_batches(self.trainer, steps - 1)  # Lightning counts one per call
        return loss if loss is None else loss.detach()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.gradient_clip_val is not None:
            self.clip_gradients(optimizer, self.gradient_clip_val, "norm")

    def _needs_step(self) -> list[Callable[[int], bool]]:
        """Returns functions that return whether `training_step` has to end after a step.

        Callbacks have one as `needs_step`. A callback that acts on batches and has none needs each step, as do
        `max_steps` and a validation within the epoch.
        """
        trainer = self.trainer
        if trainer.world_size > 1 or trainer.max_steps != -1 or trainer.val_check_batch != trainer.num_training_batches:
            return [lambda step: True]
        hooks = "on_train_batch_start", "on_train_batch_end"
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by one of Lightning's connectors
        acting = [c for c in callbacks if any(is_overridden(hook, c, Callback) for hook in hooks)]
        return [getattr(callback, "needs_step", lambda step: True) for callback in acting]

    def _train_loss(self, images: Tensor, labels: Tensor, batch_idx: int) -> Tensor:
        """Returns the loss to minimize; keeps the batch's loss and correct predictions for the epoch's means."""
        logits = self(images)
        loss = self.loss(logits, labels)
        self.uncounted.append((loss.detach(), (logits.argmax(1) == labels).sum(), len(labels)))
        if self.trainer.world_size > 1 and isinstance(batches := self.trainer.train_dataloader, TrainBatches):
            # Each image counts the same, also where a batch splits unevenly over the ranks.
            loss = loss * (len(labels) * self.trainer.world_size / batches.size(batch_idx))
        return loss

    def on_step_end(self) -> None:
        """Called after each optimizer step; for subclasses."""

    def update_train_totals(self) -> list[float]:
        """Adds the steps since the last call to the epoch's totals; returns their losses. Waits for the accelerator."""
        if not self.uncounted:
            return []
        losses, correct = (torch.stack(values).tolist() for values in list(zip(*self.uncounted, strict=True))[:2])
        counts = [count for _, _, count in self.uncounted]
        self.uncounted.clear()
        for loss, count in zip(losses, counts, strict=True):
            self.loss_sum += loss * count
        self.correct, self.num_examples = self.correct + sum(correct), self.num_examples + sum(counts)
        return losses

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def _evaluate(self, batch: Batch) -> Tensor:
        images, labels = batch
        logits = self(images)
        self.accuracy.update(logits, labels)
        self.mean_loss.update(self.loss(logits, labels), len(labels))
        return logits

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.probabilities.update(self._evaluate(batch).float().softmax(1))
        self.labels.update(batch[1])

    def _compute_and_reset(self) -> dict[str, float]:
        values = {"loss": self.mean_loss.compute().item(), "accuracy": self.accuracy.compute().item()}
        self.mean_loss.reset()
        self.accuracy.reset()
        return values

    def on_validation_epoch_end(self) -> None:
        self.log_epoch({f"val/{name}": value for name, value in self._compute_and_reset().items()}, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        loss_sum, correct, count = self.reduce_train_metrics()
        lr = max(self.trainer.optimizers[0].param_groups[0]["lr"], 0.0)  # OneCycleLR extrapolates after its last step
        self.log_epoch({"train/loss": loss_sum / count, "train/accuracy": correct / count, "lr": lr})

    def on_test_epoch_end(self) -> None:
        self.finish_test()
        self.log_epoch({f"test/{name}": self.test_results[name] for name in ("loss", "accuracy")})

    def finish_test(self) -> None:
        """Computes `test_results` and `test_predictions` of the test steps so far, and resets the metrics."""
        probabilities, labels = (metric.compute().cpu().numpy() for metric in (self.probabilities, self.labels))
        self.probabilities.reset()
        self.labels.reset()
        self.test_predictions = TestPredictions(probabilities, labels.astype("int64"))
        confusion = self.test_predictions.confusion(len(self.class_names))
        shares = confusion.diagonal().astype("float32") / confusion.sum(1).clip(min=1).astype("float32")
        class_accuracy = dict(zip(self.class_names, shares.tolist(), strict=True))
        per_class = {"class_accuracy": class_accuracy, "confusion": confusion.tolist()}
        self.test_results = {**self._compute_and_reset(), **per_class}

    def log_epoch(self, values: dict[str, float], prog_bar: bool = False) -> None:
        """Logs values of the whole epoch immediately: Lightning would wait until after the epoch's checkpoint.

        The x axis is the number of completed epochs, so that runs of any batch size can be compared.
        """
        self.log_dict(values, prog_bar=prog_bar, logger=False, batch_size=1)  # values of an epoch need no weights
        epoch = self.current_epoch + (not self.trainer.testing)  # in testing all epochs are complete
        for logger in self.loggers:
            logger.log_metrics(values, step=epoch)
            logger.save()

    def reduce_train_metrics(self) -> tuple[float, float, float]:
        """Returns sum of losses, correct predictions and images of the epoch over all ranks, and resets them."""
        self.update_train_totals()
        totals = torch.tensor([self.loss_sum, self.correct, self.num_examples], device=self.device)
        self.loss_sum, self.correct, self.num_examples = 0.0, 0, 0
        loss_sum, correct, count = self.trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        return loss_sum, correct, count

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model"] = type(self).__name__
        checkpoint["network"] = {"class": type(self.network).__name__, "arguments": self.network.arguments}
        self.update_train_totals()
        totals = self.loss_sum, self.correct, self.num_examples
        checkpoint["train_totals"] = all_gather_object(totals, self.trainer.world_size)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Loads weights-only. Raises UserError as `read_checkpoint`, and for the checkpoint of another model."""
        cls._check_is_own(read_checkpoint(Path(checkpoint_path)))
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs | {"weights_only": True})

    @classmethod
    def _check_is_own(cls, checkpoint: dict[str, Any]) -> None:
        if (saved := checkpoint["model"]) != cls.__name__:
            raise UserError(f"got a checkpoint of {saved}, expected one of {cls.__name__}; load it with {saved}")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_is_own(checkpoint)
        if has_trainer(self) and self.trainer.training:
            self.loss_sum, self.correct, self.num_examples = checkpoint["train_totals"][self.trainer.global_rank]


def all_gather_object(value: Any, world_size: int) -> list[Any]:
    """Returns the `value` of each rank, in the order of ranks."""
    values = [value] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def training_data(trainer: Trainer) -> ImageData:
    """Returns the data module. Raises UserError if the Trainer has a loader instead."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageData):
        raise UserError("this model needs all training images: call fit with datamodule=, from cifar10.data")
    return data
