"""What the two networks share: Keras's initialisation and optimizer, which the study used, and what recipes change."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from cifar10.data.augment import Pixels, flip_and_shift
from cifar10.data.batches import TrainBatches
from cifar10.errors import UserError
from cifar10.models.classifier import Classifier, Rate, to_unit


class Network(Classifier):
    """A classifier that is one `torch.nn.Sequential` from scaled images (N, 3, 32, 32) to logits (N, C).

    layers: with PyTorch's own initialisation; weights become Glorot uniform, biases zero, as in Keras.
    optimizer: `adam` as in Keras, `adamw`, or `sgd` with Nesterov momentum 0.9.
    warmup_fraction: share of the steps over which the learning rate rises to `learning_rate`, from a 25th of it, then
    falls to nearly 0, both linearly. Without it the rate is constant.
    label_smoothing: probability that is spread over all classes, in training only.
    Losses of validation stay comparable.
    tta_flip, tta_shift_px: evaluation averages the logits over mirrored images, and over shifts by up to so many px.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        layers: nn.Sequential,
        learning_rate: Rate = 1e-3,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        weight_decay: Annotated[float, Ge(0)] = 0.0,
        warmup_fraction: Annotated[float, Interval(gt=0, lt=1)] | None = None,
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        tta_flip: bool = False,
        tta_shift_px: Pixels = 0,
    ) -> None:
        super().__init__(class_names)
        self.layers = layers
        self.learning_rate, self.optimizer, self.weight_decay = learning_rate, optimizer, weight_decay
        self.warmup_fraction, self.label_smoothing = warmup_fraction, label_smoothing
        self.tta_flip, self.tta_shift_px = tta_flip, tta_shift_px
        self.example_input_array = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)  # for TensorBoard's graph
        for layer in layers.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def scale(self, images: Tensor) -> Tensor:
        """Raw images as the first layer wants them, float32."""
        return to_unit(images)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            return self.layers(self.scale(images))
        logits = [self.layers(self.scale(view)) for view in self._views(images)]
        return torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]

    def _views(self, images: Tensor) -> Iterator[Tensor]:
        """The images as they are, then what else evaluation looks at."""
        yield images
        steps = range(-self.tta_shift_px, self.tta_shift_px + 1)
        others = list(product((0, 1) if self.tta_flip else (0,), steps, steps))
        others.remove((0, 0, 0))
        still = images.new_zeros(images.shape[:1], dtype=torch.int64)
        for mirrored, row, column in others:
            yield flip_and_shift(images, still + mirrored, torch.stack([still + row, still + column], 1))

    def embed(self, images: Tensor) -> Tensor:
        """What the last layer sees, (N, D): 150 numbers in the MLP, 64 in the CNN; of the images as they are."""
        return self.layers[:-1](self.scale(images))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing if self.training else 0.0)

    def first_layer(self) -> Tensor:
        weight = next(layer.weight for layer in self.layers if isinstance(layer, nn.Linear | nn.Conv2d)).detach()
        return weight if weight.ndim == 4 else weight.unflatten(1, (3, 32, 32))

    def on_train_start(self) -> None:
        """Raises UserError where a process would have to normalise over a single image, which has no deviation."""
        batches = self.trainer.train_dataloader
        alone = self.device.type == "cpu"  # on GPUs PyTorch normalises over all processes
        normalised = any(isinstance(layer, nn.BatchNorm1d) for layer in self.modules())
        if alone and normalised and self.processes > 1 and isinstance(batches, TrainBatches):
            smallest = min(batches.size(batch) for batch in (0, len(batches) - 1))
            if smallest < 2 * self.processes:
                raise UserError(
                    f"model.batch_norm=true: a batch of {smallest} images is too small for {self.processes} processes, "
                    "each needs two of it; choose another batch_size, or fewer processes with trainer.devices=N"
                )

    def configure_optimizers(self) -> torch.optim.Optimizer | dict[str, Any]:
        # Fused: one kernel for all parameters. Lightning cannot clip gradients before it in mixed precision.
        clipped = self._trainer is not None and self.trainer.gradient_clip_val is not None
        settings = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "fused": not clipped}
        match self.optimizer:
            case "adam":
                optimizer = torch.optim.Adam(self.parameters(), eps=1e-7, **settings)  # Keras's epsilon, not 1e-8
            case "adamw":
                optimizer = torch.optim.AdamW(self.parameters(), **settings)
            case "sgd":
                optimizer = torch.optim.SGD(self.parameters(), momentum=0.9, nesterov=True, **settings)
        if self.warmup_fraction is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        if self.warmup_fraction * steps <= 1:
            raise UserError(
                f"model.warmup_fraction={self.warmup_fraction} of {steps} steps is not more than one; train longer, "
                "in smaller batches, or at a constant rate with model.warmup_fraction=null"
            )
        schedule = OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=steps,
            pct_start=self.warmup_fraction,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def dense(inputs: int, outputs: int, activation: type[nn.Module], batch_norm: bool) -> Iterator[nn.Module]:
    """A hidden dense layer up to its activation."""
    yield nn.Linear(inputs, outputs, bias=not batch_norm)
    if batch_norm:
        yield nn.BatchNorm1d(outputs)
    yield activation()
