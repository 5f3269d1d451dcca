"""What the three classifiers share: raw images in, counting while they train, one log per epoch, evaluation."""

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Annotated, Any, Self

import torch
from annotated_types import Gt, Lt
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import CatMetric, MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from cifar10.data.batches import TrainBatches
from cifar10.errors import UserError
from cifar10.models.test_predictions import Predictions
from cifar10.training.rng_state import of_each_rank

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Batch = tuple[Tensor, Tensor]
LOSSES_AT_ONCE = 50
"""How many losses a model keeps, for who watches them."""
Rate = Annotated[float, Gt(0), Lt(inf)]
"""A learning rate."""


def to_unit(images: Tensor) -> Tensor:
    """Raw images as float32 in [0, 1]: uint8 is divided by 255, floating point is taken to be in [0, 1] already."""
    if images.dtype == torch.uint8:
        return images / 255
    return images.float() if images.is_floating_point() else images  # other integers have no range: refused later


class Classifier(LightningModule):
    """A LightningModule from raw images to logits; subclasses bring `forward` and `configure_optimizers`.

    `forward` takes (N, 3, 32, 32), uint8 or float in [0, 1], and returns logits (N, C).
    A batch is such images and labels (N,) int64. Logged per epoch: `train/loss`, `train/accuracy`, `val/loss`,
    `val/accuracy`, `lr`, of which a model without predictions or a rate in training leaves out some; accuracies are in
    [0, 1]. A checkpoint taken within an epoch carries the epoch's counts.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = list(class_names)
        classes = len(self.class_names)
        # Without `disable` a loss or probability that is not a number would be left out, as if it had not been.
        keep_nan: dict[str, Any] = {"nan_strategy": "disable"}
        self.val_accuracy, self.val_loss = MulticlassAccuracy(classes, average="micro"), MeanMetric(**keep_nan)
        self.test_metrics, self.test_loss = (
            MetricCollection(
                {
                    "accuracy": MulticlassAccuracy(classes, average="micro"),
                    "class_accuracy": MulticlassAccuracy(classes, average="none"),
                    "confusion": MulticlassConfusionMatrix(classes),
                }
            ),
            MeanMetric(**keep_nan),
        )
        self.test_probabilities, self.test_labels = CatMetric(**keep_nan), CatMetric(**keep_nan)
        # The epoch so far. Counted by hand: calling and logging metric objects in every step costs as much as the
        # whole step of the small models.
        self.loss_sum: Tensor | float = 0.0
        self.correct: Tensor | int = 0
        self.seen = 0
        self.recent_losses: deque[Tensor] = deque(maxlen=LOSSES_AT_ONCE)
        self.processes = 1  # that share each batch
        self.test_results: dict[str, Any] = {}
        self.test_predictions: Predictions | None = None

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar. logits: (N, C), labels: (N,)."""
        return F.cross_entropy(logits, labels)

    def pictures(self) -> Tensor | None:
        """What a model that has pictures in it learnt: (C * K, 3, H, W) in [0, 1], those of a class together."""
        return None

    def first_layer(self) -> Tensor | None:
        """What a network's first layer multiplies pixels with, (K, 3, h, w)."""
        return None

    def embed(self, images: Tensor) -> Tensor:
        """What the model decides by, one vector for each image, (N, D): here its logits. images: as of `forward`."""
        return self(images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = self.loss(logits, labels)
        self.loss_sum = self.loss_sum + loss.detach() * len(labels)
        self.correct = self.correct + (logits.argmax(1) == labels).sum()
        self.seen += len(labels)
        self.recent_losses.append(loss.detach())
        return loss if self.processes == 1 else loss * self._weight(len(labels), batch_idx)

    def on_fit_start(self) -> None:
        self.processes = self.trainer.world_size

    def _weight(self, own: int, batch_idx: int) -> float:
        """Of this process's mean loss, so that the mean of all processes' gradients is that of the whole batch.

        Without it an image would count for more where a batch does not split evenly.
        """
        batches = self.trainer.train_dataloader
        return own * self.processes / batches.size(batch_idx) if isinstance(batches, TrainBatches) else 1.0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self.val_accuracy, self.val_loss)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self._evaluate(batch, self.test_metrics, self.test_loss)
        self.test_probabilities.update(logits.float().softmax(1))
        self.test_labels.update(batch[1])

    def _evaluate(self, batch: Batch, metrics: Metric | MetricCollection, mean_loss: MeanMetric) -> Tensor:
        images, labels = batch
        logits = self(images)
        metrics.update(logits, labels)
        mean_loss.update(self.loss(logits, labels), len(labels))
        return logits

    def on_validation_epoch_end(self) -> None:
        self.log_epoch(
            {"val/loss": self.val_loss.compute(), "val/accuracy": self.val_accuracy.compute()}, prog_bar=True
        )
        self.val_accuracy.reset()
        self.val_loss.reset()

    def on_train_epoch_end(self) -> None:
        loss, correct, seen = self._totals()
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_epoch({"train/loss": loss / seen, "train/accuracy": correct / seen, "lr": lr})
        self.loss_sum, self.correct, self.seen = 0.0, 0, 0

    def on_test_epoch_end(self) -> None:
        self.finish_test()
        self.log_epoch({f"test/{name}": self.test_results[name] for name in ("loss", "accuracy")})

    def finish_test(self) -> None:
        """Makes `test_results` and `test_predictions` of the test steps so far, and forgets them."""
        results = self.test_metrics.compute()
        self.test_results = {
            "loss": self.test_loss.compute().item(),
            "accuracy": results["accuracy"].item(),
            "class_accuracy": dict(zip(self.class_names, results["class_accuracy"].tolist(), strict=True)),
            "confusion": results["confusion"].tolist(),
        }
        kept = self.test_probabilities, self.test_labels
        probabilities, labels = (metric.compute().cpu().numpy() for metric in kept)
        self.test_predictions = Predictions(probabilities, labels.astype("int64"))
        for metric in (self.test_metrics, self.test_loss, *kept):
            metric.reset()

    def log_epoch(self, values: dict[str, Any], prog_bar: bool = False) -> None:
        """Logs values of the whole epoch, at once: Lightning would wait until after the epoch's checkpoint.

        The x axis counts epochs done, so that runs of any batch size lie over one another.
        """
        values = {name: float(value) for name, value in values.items()}
        self.log_dict(values, prog_bar=prog_bar, logger=False)
        epoch = self.current_epoch + (not self.trainer.testing)  # testing, all epochs count as done
        for logger in self.loggers:
            logger.log_metrics(values, step=epoch)
            logger.save()

    def _totals(self) -> tuple[float, float, int]:
        """Sum of losses, correct predictions and images of the epoch so far, over all ranks."""
        totals = torch.tensor([float(self.loss_sum), float(self.correct), self.seen], device=self.device)
        loss_sum, correct, seen = self.trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        return loss_sum, correct, int(seen)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model"] = type(self).__name__
        counted = float(self.loss_sum), int(self.correct), self.seen
        checkpoint["train_totals"] = of_each_rank(counted, self.trainer.world_size)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As Lightning's, but never runs code of a checkpoint. Raises UserError for the checkpoint of another model."""
        try:
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs | {"weights_only": True})
        except TypeError:  # settings that this model does not have
            cls._check_is_own(torch.load(checkpoint_path, map_location="cpu", weights_only=True))
            raise

    @classmethod
    def _check_is_own(cls, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("model", "another program's model")
        if saved != cls.__name__:
            raise UserError(
                f"this checkpoint is of {saved}, not of {cls.__name__}; choose the model that it was made by"
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_is_own(checkpoint)
        if self._trainer is not None and self.trainer.training:
            self.loss_sum, self.correct, self.seen = checkpoint["train_totals"][self.trainer.global_rank]
