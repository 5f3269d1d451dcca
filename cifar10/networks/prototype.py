"""Nearest-prototype classifier in a perceptual color space."""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn

from cifar10.color.delta_e import Delta, difference_function, mean_difference, to_color_space
from cifar10.color.kernels import can_compile, compiled_mean_difference, compiled_to_color_space
from cifar10.data.augment import augmentations
from cifar10.errors import UserError
from cifar10.networks.base import CIFAR10_CLASSES, Network, to_unit

FLOAT32 = 2.0**-24
"""Unit roundoff of float32."""
LAB_ROUNDING = 2e-3
"""Bound on the rounding error of a color in L*a*b*, in Delta E 1976; derived in docs/models.md."""


class PrototypeNetwork(Network):
    """Nearest-prototype classifier: compares an image with K prototypes per class.

    prototypes: parameter (C * K, 3, 32, 32), sRGB in [0, 1], grouped by class; initialized with uniform noise. K is
    `prototypes_per_class`. The distance of two images is the mean color difference (`delta`) over their pixels.
    `tta_flip` also compares the flipped image. In evaluation mode, `tta_shift_px` averages the logits over shifts of
    the image by up to this many pixels. `pixel_weights` multiplies the differences at each pixel by a learned weight,
    the same for all prototypes (relevance: Hammer and Villmann, Neural Networks 15, 2002).
    The logit of a class is the negative distance to its nearest prototype. With `discriminative` it is the log-sum-exp
    of the negative distances to its prototypes, times an inverse temperature exp(`log_temperature`), as in
    robust soft learning vector quantization (Seo and Obermayer, Neural Computation 15, 2003).
    compile: allows compiled kernels, several times as fast; results differ by rounding. See `use_compiled`.
    """

    def __init__(
        self,
        class_names: Sequence[str] = CIFAR10_CLASSES,
        delta: Delta = "cie76",
        discriminative: bool = False,
        prototypes_per_class: int = 1,
        tta_flip: bool = False,
        tta_shift_px: int = 0,
        pixel_weights: bool = False,
        compile: bool = False,
    ) -> None:
        arguments = {"prototypes_per_class": prototypes_per_class, "tta_flip": tta_flip, "tta_shift_px": tta_shift_px}
        arguments |= {"pixel_weights": pixel_weights, "compile": compile}
        super().__init__(class_names, delta=delta, discriminative=discriminative, **arguments)
        difference_function(delta)  # raises ValueError if unknown
        self.delta, self.discriminative, self.per_class = delta, discriminative, prototypes_per_class
        self.tta_flip, self.tta_shift_px = tta_flip, tta_shift_px
        self.compiled: bool | None = False  # None: decide at the next batch
        self.prototypes = nn.Parameter(torch.rand(len(class_names) * prototypes_per_class, 3, 32, 32))
        if discriminative:
            self.log_temperature = nn.Parameter(torch.zeros(()))
        self.weight_logits = nn.Parameter(torch.zeros(32, 32)) if pixel_weights else None

    def use_compiled(self, enabled: bool) -> None:
        """Enables compiled kernels if `compile` allows them, or disables them, the default. Compiling takes seconds."""
        self.compiled = None if enabled and self.arguments["compile"] else False

    def weights(self) -> Tensor | None:
        """Returns the weight of each pixel, (32, 32), with mean 1; None without `pixel_weights`."""
        logits = self.weight_logits
        return None if logits is None else logits.flatten().softmax(0).view_as(logits) * logits.numel()

    def forward(self, images: Tensor) -> Tensor:
        if self.training or not self.tta_shift_px:
            return self._logits(images)
        shifted = augmentations(images, flip=False, shift_px=self.tta_shift_px)
        return torch.stack([self._logits(augmented) for augmented in shifted]).mean(0)

    def _logits(self, images: Tensor) -> Tensor:
        distances = self._distances(images)
        if self.discriminative:
            return (-distances * self.log_temperature.exp()).logsumexp(2)
        return -distances.amin(2)

    def embed(self, images: Tensor) -> Tensor:
        """Returns the distance to every prototype, (N, C * K), or (N, 2 C * K) with `tta_flip`."""
        return self._distances(images).flatten(1)

    def _distances(self, images: Tensor) -> Tensor:
        """Returns the distance to every prototype, (N, C, K), or (N, C, 2 K) with `tta_flip`."""
        if self.compiled is None:  # at the first batch, so that timers include the compilation
            self.compiled = self.arguments["compile"] = can_compile(self.prototypes, self.delta, self.weights())
        measure = compiled_mean_difference if self.compiled else mean_difference
        colors, prototypes = self._colors(images)
        augmented = [colors, colors.flip(-1)] if self.tta_flip else [colors]
        weights = self.weights()
        distances = torch.stack([measure(batch, prototypes, self.delta, weights) for batch in augmented], 2)
        return distances.unflatten(1, (len(self.class_names), -1)).flatten(2)

    def _colors(self, images: Tensor) -> tuple[Tensor, Tensor]:
        convert = compiled_to_color_space if self.compiled else to_color_space
        return convert(to_unit(images), self.delta), convert(self.prototypes, self.delta)

    @torch.no_grad()
    def certified_radius(self, images: Tensor) -> Tensor:
        """Returns the certified radius of each prediction, (N,) float32, >= 0, in mean Delta E 1976 over the pixels.

        images: as in `forward`. Every image at a smaller distance has the same prediction, in float32. The radius is
        half the margin between the two highest logits, divided by their slope, less a bound on rounding
        (docs/models.md; Saralajew, Holdijk and Villmann, NeurIPS 2020). Raises UserError unless delta is cie76.
        """
        if self.delta != "cie76":
            raise UserError(f"a certified radius needs model.delta=cie76, got {self.delta}, which is not a norm")
        first, second = self(images).topk(2).values.unbind(1)
        scale = float(self.log_temperature.exp()) if self.discriminative else 1.0
        terms, shifts = self.per_class * (1 + self.tta_flip), (2 * self.tta_shift_px + 1) ** 2
        operations = self.prototypes[0, 0].numel() + terms + shifts + 16  # sums in any order, and what surrounds them
        largest = torch.maximum(first.abs(), second.abs()) + 2 * log(terms) + 1
        rounding = scale * LAB_ROUNDING + FLOAT32 * operations * largest
        return (((first - second) / 2 - 2 * rounding) / (scale * self._slope())).clamp(min=0)

    @torch.no_grad()
    def _slope(self) -> float:
        """Returns the largest change of a distance per mean Delta E: the largest mean weight of a pixel over shifts."""
        weights = self.weights()
        weights = torch.ones_like(self.prototypes[0, 0]) if weights is None else weights
        weights = torch.maximum(weights, weights.flip(-1)) if self.tta_flip else weights
        pixels = torch.arange(weights.numel(), device=weights.device).view(1, 1, *weights.shape)
        total, shifted = torch.zeros_like(weights).flatten(), list(augmentations(pixels, False, self.tta_shift_px))
        for positions in shifted:
            total.index_add_(0, positions.flatten(), weights.flatten())
        return float(total.max()) / len(shifted)

    @torch.no_grad()
    def difference_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the weighted difference to every prototype at each pixel, (N, C * K, 32, 32), and a mask (N, C * K).

        images: as in `forward`. The mean of a map is the distance. The mask is true where the flipped prototype is
        nearer, with `tta_flip` only.
        """
        colors, prototypes = self._colors(images)
        difference = difference_function(self.delta)
        weights = self.weights()
        weights = torch.ones_like(prototypes[0, 0]) if weights is None else weights
        maps = difference(colors[:, None], prototypes) * weights
        flipped = difference(colors[:, None], prototypes.flip(-1)) * weights.flip(-1) if self.tta_flip else maps
        nearer = flipped.mean((2, 3)) < maps.mean((2, 3))
        return torch.where(nearer[..., None, None], flipped, maps), nearer

    def prototype_images(self) -> Tensor:
        return self.prototypes.detach()
