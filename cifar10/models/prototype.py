"""Trains class prototypes by gradient descent."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from cifar10.color.delta_e import Delta
from cifar10.errors import UserError
from cifar10.models.classifier import Classifier, Rate, training_data
from cifar10.networks.base import CIFAR10_CLASSES, to_unit
from cifar10.networks.prototype import PrototypeNetwork


class Prototype(Classifier):
    """Trains the study's first model: an image belongs to the class whose prototype ("typical image") is nearest.

    See `PrototypeNetwork` for `delta`, `tta_flip` and `compile`. One prototype is initialized as uniform noise, several
    as training images of their class, drawn at random.
    objective: `typical` prototypes minimize the mean distance to the images of their class (`train/loss`, in units of
    the difference), `discriminative` ones the cross-entropy.
    solver, tolerance: for the class `Weiszfeld`, which `build_model` chooses instead for solver=weiszfeld.
    """

    network: PrototypeNetwork

    def __init__(
        self,
        class_names: Sequence[str] = CIFAR10_CLASSES,
        learning_rate: Rate = 10.0,
        delta: Delta = "cie76",
        objective: Literal["typical", "discriminative"] = "typical",
        solver: Literal["gradient", "weiszfeld"] = "gradient",
        prototypes_per_class: Annotated[int, Gt(0)] = 1,
        tta_flip: bool = False,
        tolerance: Annotated[float, Gt(0)] = 1e-3,
        compile: bool = False,
    ) -> None:
        if solver != "gradient":
            raise UserError(f"model.solver={solver} is the class cifar10.models.weiszfeld.Weiszfeld, not Prototype")
        if compile and delta == "ciede2000":
            raise UserError("model.compile=true: there is no fast kernel for ciede2000; set compile=false")
        discriminative = objective == "discriminative"
        super().__init__(PrototypeNetwork(class_names, delta, discriminative, prototypes_per_class, tta_flip, compile))
        self.save_hyperparameters(logger=False)
        self.learning_rate = learning_rate

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.network.discriminative:
            return F.cross_entropy(logits, labels)
        return -logits.gather(1, labels[:, None]).mean()

    def setup(self, stage: str) -> None:
        self.network.use_compiled(True)
        if stage == "fit" and self.network.per_class > 1:
            with torch.no_grad():
                self.network.prototypes.copy_(to_unit(self._random_images()))

    def teardown(self, stage: str) -> None:
        self.network.use_compiled(False)

    def _random_images(self) -> Tensor:
        """Returns K different training images of each class, (C * K, 3, 32, 32)."""
        data, wanted = training_data(self.trainer), self.network.per_class
        fewest, label = data.train_labels.bincount(minlength=len(self.class_names)).min(0)
        if fewest < wanted:
            name = self.class_names[int(label)]
            raise UserError(f"model.prototypes_per_class={wanted}: class {name} has only {fewest} training images")
        shuffled = torch.randperm(len(data.train_labels)).to(data.train_labels.device)
        labels = data.train_labels[shuffled]
        chosen = [shuffled[labels == label][:wanted] for label in range(len(self.class_names))]
        return data.train_images[torch.cat(chosen)]

    def configure_optimizers(self) -> Any:
        kind = torch.optim.Adam if self.network.discriminative else torch.optim.SGD
        optimizer = kind(self.parameters(), lr=self.learning_rate)
        # Batches stand in for the study's full-batch steps: as the rate falls to zero, so does their noise.
        schedule = CosineAnnealingLR(optimizer, T_max=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_step_end(self) -> None:
        with torch.no_grad():
            self.network.prototypes.clamp_(0, 1)  # a prototype is an image
