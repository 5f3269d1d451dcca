"""Nearest typical image: prototypes of each class, compared in a perceptual colour space."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from cifar10.color.delta_e import Delta, difference_of, full_precision, mean_difference, to_rgb, to_space
from cifar10.color.kernels import can_compile, compiled_mean_difference
from cifar10.errors import UserError
from cifar10.models.classifier import CIFAR10_CLASSES, Batch, Classifier, Rate, to_unit
from cifar10.models.weiszfeld import ExactSolver, training_data


class Prototype(Classifier):
    """The study's first model: an image belongs to the class whose typical image is nearest.

    `prototypes`: (C * K, 3, 32, 32) sRGB in [0, 1], those of a class one after the other; K is `prototypes_per_class`.
    One is begun as uniform noise, several as training images of their class, drawn at random.
    The distance of two images is the mean over their pixels of the colour difference `delta`. With `tta_flip` each
    image is compared both as it is and mirrored.

    objective: `typical` prototypes have the least mean distance to the images of their class (`train/loss`, in units
    of the difference); logits are the negative distances to the nearest one. `discriminative` ones tell classes apart,
    by cross-entropy over negative distances times a learned factor, exp(`log_temperature`), an inverse temperature; all
    of a class's prototypes count, the nearer the more: the logit is the logarithm of the sum of their exponentials, as
    in robust soft learning vector quantization (Seo and Obermayer, Neural Computation 15, 2003).
    solver: `gradient` descent, or `weiszfeld`: the exact minimum of `typical` for cie76, to a gap (`train/gap`) of
    `tolerance` in Delta E at most, from whatever start; for K > 1 a local minimum that depends on the start, see
    `ExactSolver`. `best.ckpt` is of its pass with the lowest validation loss; on few images that can be one before the
    last, which is the exact one.
    compile: train and test by kernels made for the processor, about ten times as fast; results differ by rounding.

    Raises UserError where these exclude each other.
    """

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
        super().__init__(class_names)
        self.save_hyperparameters(logger=False)
        self.learning_rate, self.delta, self.per_class = learning_rate, delta, prototypes_per_class
        self.discriminative = objective == "discriminative"
        self.exact = ExactSolver(prototypes_per_class, tolerance) if solver == "weiszfeld" else None
        self.tta_flip, self.compile_kernels = tta_flip, compile
        self.compiled: bool | None = False  # under a Trainer only: one image alone is not worth the seconds
        if self.exact is not None and (self.discriminative or delta != "cie76" or tta_flip):
            raise UserError(
                "model.solver=weiszfeld finds typical images by a Euclidean difference: it goes with "
                "objective=typical, delta=cie76 and tta_flip=false; choose these, or solver=gradient"
            )
        if compile and delta == "ciede2000":
            raise UserError("model.compile=true: there is no fast kernel for ciede2000; set compile=false")
        self.prototypes = nn.Parameter(torch.rand(len(class_names) * prototypes_per_class, 3, 32, 32))
        if self.discriminative:
            self.log_temperature = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return self._logits(self._distances(images))

    def embed(self, images: Tensor) -> Tensor:
        """The mean difference to every prototype, (N, C * K), or (N, 2 C * K) with mirrored images."""
        return self._distances(images).flatten(1)

    def _distances(self, images: Tensor) -> Tensor:
        """Mean difference to every prototype, (N, C, K), or (N, C, 2 K) with mirrored images."""
        colours, prototypes = to_space(to_unit(images), self.delta), to_space(self.prototypes, self.delta)
        if self.compiled is None:  # not before the first batch, so that its seconds count
            self.compiled = can_compile(prototypes, self.delta)
        measure = compiled_mean_difference if self.compiled else mean_difference
        views = [colours, colours.flip(-1)] if self.tta_flip else [colours]
        distances = torch.stack([measure(view, prototypes, self.delta) for view in views], 2)
        return distances.unflatten(1, (len(self.class_names), -1)).flatten(2)

    @torch.no_grad()
    def difference_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Why it said so: the colour difference to every prototype at each pixel, (N, C * K, 32, 32), and (N, C * K).

        images: as of `forward`. The mean of a map is the distance. The second tells of which prototypes it is the
        mirror image that was compared, where `tta_flip` and nearer.
        """
        colours, prototypes = to_space(to_unit(images), self.delta), to_space(self.prototypes, self.delta)
        difference = difference_of(self.delta)
        maps = difference(colours[:, None], prototypes)
        if not self.tta_flip:
            return maps, torch.zeros(maps.shape[:2], dtype=torch.bool, device=maps.device)
        others = difference(colours[:, None], prototypes.flip(-1))
        nearer = others.mean((2, 3)) < maps.mean((2, 3))
        return torch.where(nearer[..., None, None], others, maps), nearer

    def _logits(self, distances: Tensor) -> Tensor:
        if self.discriminative:
            return (-distances * self.log_temperature.exp()).logsumexp(2)
        return -distances.amin(2)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.discriminative:
            return F.cross_entropy(logits, labels)
        return -logits.gather(1, labels[:, None]).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.exact is None:
            return super().training_step(batch, batch_idx)
        with full_precision(self.device.type):
            self.loss_sum = self.loss_sum + self.exact.count(batch, batch_idx, self.trainer.datamodule)
            self.seen += len(batch[1])
            target = self.prototypes.detach()
            if self.trainer.is_last_batch:
                target = to_rgb(self.exact.finish_pass(self.trainer.strategy))
                self.trainer.should_stop = self.exact.done
            # A step of rate 1 down its gradient leads there, so that Lightning counts and saves as for any model.
            return (self.prototypes - target).square().sum() / 2

    def on_train_epoch_end(self) -> None:
        if self.exact is None:
            super().on_train_epoch_end()
            return
        loss, _, seen = self._totals()
        self.log_epoch({"train/loss": loss / seen, "train/gap": self.exact.gap})
        self.loss_sum, self.seen = 0.0, 0

    def setup(self, stage: str) -> None:
        self.compiled = None if self.compile_kernels else False
        if stage == "fit" and self.exact is not None:
            self.exact.check(self.trainer)
        if stage == "fit" and self.per_class > 1:
            with torch.no_grad():
                self.prototypes.copy_(to_unit(self._drawn_images()))

    def _drawn_images(self) -> Tensor:
        """K different training images of each class, (C * K, 3, 32, 32)."""
        data = training_data(self.trainer)
        shuffled = torch.randperm(len(data.train_labels)).to(data.train_labels.device)
        drawn = []
        for label, name in enumerate(self.class_names):
            members = shuffled[data.train_labels[shuffled] == label]
            if len(members) < self.per_class:
                raise UserError(
                    f"model.prototypes_per_class={self.per_class}: class {name} has only {len(members)} training "
                    "images; choose as many at most"
                )
            drawn.append(members[: self.per_class])
        return data.train_images[torch.cat(drawn)]

    def on_train_start(self) -> None:
        if self.exact is not None:
            self.exact.begin(self.prototypes.detach())
            self.trainer.should_stop = self.exact.done  # resumed after the last epoch

    def on_train_end(self) -> None:
        if self.exact is not None:
            self.exact.warn_if_unfinished(self.trainer)

    def teardown(self, stage: str) -> None:
        self.compiled = False
        if self.exact is not None:
            self.exact.lab_batches = None

    def configure_optimizers(self) -> Any:
        if self.exact is not None:
            return torch.optim.SGD(self.parameters(), lr=1.0)
        kind = torch.optim.Adam if self.discriminative else torch.optim.SGD
        optimizer = kind(self.parameters(), lr=self.learning_rate)
        # Batches stand in for the study's full-batch steps: as the rate falls to zero, so does their noise.
        schedule = CosineAnnealingLR(optimizer, T_max=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:  # of the gradient solver
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            self.prototypes.clamp_(0, 1)  # a typical image can be shown

    def pictures(self) -> Tensor:
        return self.prototypes.detach()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.exact is not None and self.exact.medians is not None:
            checkpoint["exact"] = self.exact.state(self.trainer)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if "exact" in checkpoint and self._trainer is not None:
            self.exact.load(checkpoint["exact"], self.trainer)
