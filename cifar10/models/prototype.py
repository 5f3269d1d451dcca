"""Trains class prototypes by gradient descent."""

from collections.abc import Sequence
from math import log
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from cifar10.color.delta_e import Delta
from cifar10.compat import has_trainer
from cifar10.data.datamodule import ImageData, Pixels
from cifar10.errors import UserError
from cifar10.models.classifier import Classifier, Rate, training_data
from cifar10.networks.base import CIFAR10_CLASSES, to_unit
from cifar10.networks.prototype import PrototypeNetwork

PAIRS_TO_COMPILE = 5_000_000
"""Pairs (training image, prototype) in a run from which compiled kernels save more time than compiling takes."""

KMEANS_STEPS = 20
WEIGHTS_LR_FACTOR = 3
"""Learning rate of the pixel weights, relative to that of the prototypes."""

TOLERANCE = 1e-3
"""Default of the duality gap at which `Weiszfeld` stops, in Delta E 1976."""


class Prototype(Classifier):
    """Trains the study's first model: an image belongs to the class whose prototype ("typical image") is nearest.

    See `PrototypeNetwork` for `delta`, `tta_flip`, `tta_shift_px` and `pixel_weights`.
    init: initial prototypes of a class: uniform `noise`, random training `images`, or `means`: the mean of its training
    images, and for several prototypes the centers of 20 steps of k-means from random ones. None chooses noise for one
    prototype and images for several.
    objective: `typical` prototypes minimize the mean distance to the images of their class (`train/loss`, in units of
    the difference), `discriminative` ones the cross-entropy.
    inverse_temperature: fixed inverse temperature of the discriminative class scores; None learns it. With a low value,
    the cross-entropy does not saturate at small margins, which increases the certified radii.
    compile: train with compiled kernels; `auto` does so on a CPU if the run is long enough to save the seconds that
    compiling takes. The choice is part of the checkpoint, so that it is the same in a resumed run.
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
        tta_shift_px: Pixels = 0,
        pixel_weights: bool = False,
        inverse_temperature: Annotated[float, Gt(0)] | None = None,
        init: Literal["noise", "images", "means"] | None = None,
        tolerance: Annotated[float, Gt(0)] = TOLERANCE,
        compile: bool | Literal["auto"] = "auto",
    ) -> None:
        if solver != "gradient":
            raise UserError(f"model.solver={solver} is the class cifar10.models.weiszfeld.Weiszfeld, not Prototype")
        if tolerance != TOLERANCE:
            raise UserError(f"model.tolerance={tolerance} needs model.solver=weiszfeld; set it, or omit tolerance")
        if compile is True and delta == "ciede2000":
            raise UserError("model.compile=true: model.delta=ciede2000 has no compiled kernel; set model.compile=auto")
        discriminative = objective == "discriminative"
        if pixel_weights and not discriminative:
            raise UserError("model.pixel_weights=true needs model.objective=discriminative; set both")
        if inverse_temperature is not None and not discriminative:
            raise UserError("model.inverse_temperature needs model.objective=discriminative; set both")
        tta: dict[str, Any] = {"tta_flip": tta_flip, "tta_shift_px": tta_shift_px}
        learned: dict[str, Any] = {"pixel_weights": pixel_weights, "compile": compile is True}
        super().__init__(PrototypeNetwork(class_names, delta, discriminative, prototypes_per_class, **tta, **learned))
        self.save_hyperparameters(logger=False)
        if inverse_temperature is not None:
            nn.init.constant_(self.network.log_temperature.requires_grad_(False), log(inverse_temperature))
        self.init = init or ("noise" if prototypes_per_class == 1 else "images")
        self.learning_rate, self.compile_if_worth = learning_rate, compile == "auto" and delta != "ciede2000"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.network.discriminative:
            return F.cross_entropy(logits, labels)
        return -logits.gather(1, labels[:, None]).mean()

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.compile_if_worth and self.trainer.strategy.root_device.type == "cpu":
            data = getattr(self.trainer, "datamodule", None)
            images = len(data.train_labels) * (self.trainer.max_epochs or 0) if isinstance(data, ImageData) else 0
            self.network.arguments["compile"] = images * len(self.network.prototypes) >= PAIRS_TO_COMPILE
        self.network.use_compiled(True)
        if stage == "fit" and self.init != "noise":
            with torch.no_grad():
                first = to_unit(self._random_images())
                self.network.prototypes.copy_(first if self.init == "images" else self._class_means(first))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.network.arguments["compile"] = checkpoint["network"]["arguments"]["compile"]
        if has_trainer(self):
            self.network.use_compiled(True)

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

    def _class_means(self, means: Tensor) -> Tensor:
        """Returns the k-means centers of each class's training images, starting from `means`; (C * K, 3, 32, 32)."""
        data, per_class = training_data(self.trainer), self.network.per_class
        found = []
        for label, centers in enumerate(means.flatten(1).split(per_class)):
            images = to_unit(data.train_images[data.train_labels == label]).flatten(1)
            for _ in range(KMEANS_STEPS if per_class > 1 else 1):
                nearest = (centers.square().sum(1) - 2 * images @ centers.T).argmin(1)
                members = F.one_hot(nearest, per_class).T.to(images.dtype)
                centers = torch.where(members.any(1, keepdim=True), members @ images, centers)
                centers = centers / members.sum(1, keepdim=True).clamp(min=1)
            found.append(centers)
        return torch.cat(found).view_as(means)

    def configure_optimizers(self) -> Any:
        kind = torch.optim.Adam if self.network.discriminative else torch.optim.SGD
        logits = self.network.weight_logits
        groups = [{"params": [p for p in self.parameters() if p is not logits], "lr": self.learning_rate}]
        if logits is not None:
            groups.append({"params": [logits], "lr": WEIGHTS_LR_FACTOR * self.learning_rate})
        optimizer = kind(groups)
        # Batches replace the study's full-batch steps. Their noise decays to zero with the learning rate.
        schedule = CosineAnnealingLR(optimizer, T_max=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_step_end(self) -> None:
        with torch.no_grad():
            self.network.prototypes.clamp_(0, 1)  # a prototype is an image
