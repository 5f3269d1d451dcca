"""Computes color differences, vectorised over images and prototypes, as pure differentiable functions.

The CIE differences (Delta E) are defined on L*a*b* (here D65, 2 degrees), the study's redmean on RGB. A difference of
equal colors has a kink, like |x| at 0; its gradient is defined as 0.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from math import inf
from typing import Any, Literal

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cifar10.color.ciede2000 import squared_ciede2000

Delta = Literal["cie76", "cie94", "ciede2000", "redmean"]
Difference = Callable[[Tensor, Tensor], Tensor]
ROUNDING = 1e-3
"""Tolerance of the range [0, 1]: resizing overshoots."""


def to_lab(images: Tensor) -> Tensor:
    """Returns CIE L*a*b* (D65, 2 degrees) of sRGB images (..., 3, H, W), float in [0, 1], in float32 at least.

    L* is in [0, 100], a* and b* in about [-108, 99]. Disables autocast: errors in bfloat16 reach 2.7.
    """
    with full_precision(images.device.type):
        return rgb_to_lab(images if images.dtype == torch.float64 else images.float())


def to_rgb(lab: Tensor) -> Tensor:
    """Inverts `to_lab`: returns sRGB, clamped to [0, 1], of float32 or float64 L*a*b*."""
    with full_precision(lab.device.type):
        return lab_to_rgb(lab)


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Disables autocast to bfloat16 and, on a GPU, TF32 in convolutions."""
    # On GPUs, Kornia implements its matrix products as convolutions.
    cudnn = torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device_type == "cuda" else nullcontext()
    with torch.autocast(device_type, enabled=False), cudnn:
        yield


def to_color_space(images: Tensor, delta: Delta) -> Tensor:
    """Converts RGB (..., 3, H, W), float in [0, 1], to the difference's color space: RGB for redmean, else L*a*b*.

    Raises ValueError for other shapes, integers and an unknown delta. On the CPU, also for NaN and values out of
    range, unless they require a gradient.
    """
    difference_function(delta)
    _colors(images)
    exporting = torch.compiler.is_exporting()  # a graph cannot depend on values
    if not exporting and images.device.type == "cpu" and images.numel() and not images.requires_grad:
        low, high = (float(value) for value in images.aminmax())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise ValueError(f"colors: got values in [{low:g}, {high:g}], expected [0, 1]; divide 8-bit values by 255")
    return images if delta == "redmean" else to_lab(images)


def delta_e_76(first: Tensor, second: Tensor) -> Tensor:
    """Computes Delta E 1976, the Euclidean distance in L*a*b* (CIE 15:2004, 8.2.1); black and white are 100 apart.

    All differences take floats (..., 3, H, W), broadcast over leading axes, and return (..., H, W), >= 0, in float32 at
    least. They raise ValueError for integers and for a channel axis of a length other than 3.
    """
    (lightness1, a1, b1), (lightness2, a2, b2) = _colors(first).unbind(-3), _colors(second).unbind(-3)
    return _safe_sqrt(_sum_of_squares(lightness1 - lightness2, a1 - a2, b1 - b2))


def delta_e_94(first: Tensor, second: Tensor) -> Tensor:
    """Computes Delta E 1994 for graphic arts: kL = 1, K1 = 0.045, K2 = 0.015 (CIE 116-1995).

    Not symmetric: the chroma of the first color (the reference) sets the weights of chroma and hue.
    """
    (lightness1, a1, b1), (lightness2, a2, b2) = _colors(first).unbind(-3), _colors(second).unbind(-3)
    chroma1, chroma2 = _safe_sqrt(_sum_of_squares(a1, b1)), _safe_sqrt(_sum_of_squares(a2, b2))
    chroma_weight, hue_weight = (1 + 0.045 * chroma1) ** -2, (1 + 0.015 * chroma1) ** -2
    # dC^2 + dH^2 = da^2 + db^2: the hue difference needs no angle.
    squares = torch.addcmul((lightness1 - lightness2).square(), hue_weight, _sum_of_squares(a1 - a2, b1 - b2))
    return _safe_sqrt(torch.addcmul(squares, chroma_weight - hue_weight, (chroma1 - chroma2).square()))


def delta_e_2000(first: Tensor, second: Tensor) -> Tensor:
    """Computes CIEDE2000 with kL = kC = kH = 1 (CIE 142-2001; Sharma, Wu and Dalal 2005). Symmetric.

    Has small discontinuities between opposite hues. Gradients are finite, but can be large between saturated blues and
    neutral gray, where the slope is unbounded.
    """
    return _safe_sqrt(squared_ciede2000(_colors(first).unbind(-3), _colors(second).unbind(-3)))


def redmean(first: Tensor, second: Tensor) -> Tensor:
    """Computes the study's difference on RGB in [0, 1]. Symmetric; black and white are 3 apart.

    sqrt((2 + Rm) dR^2 + 4 dG^2 + (3 - Rm) dB^2), where Rm is the mean of both reds (T. Riemersma, "Color metric",
    compuphase.com/cmetric.htm, with channels in [0, 1]).
    """
    (red1, green1, blue1), (red2, green2, blue2) = _colors(first).unbind(-3), _colors(second).unbind(-3)
    red_weight = (2 + red1 / 2) + red2 / 2
    squares = torch.addcmul((2 * green1 - 2 * green2).square(), red_weight, (red1 - red2).square())
    return _safe_sqrt(torch.addcmul(squares, 5 - red_weight, (blue1 - blue2).square()))


FUNCTIONS = {"cie76": delta_e_76, "cie94": delta_e_94, "ciede2000": delta_e_2000, "redmean": redmean}


def difference_function(delta: str) -> Difference:
    """Returns the function for `delta`. Raises ValueError for an unknown name."""
    if delta not in FUNCTIONS:
        raise ValueError(f"delta={delta!r}: expected one of {', '.join(FUNCTIONS)}")
    return FUNCTIONS[delta]


def mean_difference(
    images: Tensor, prototypes: Tensor, delta: Delta, weights: Tensor | None = None, block: int | None = None
) -> Tensor:
    """Returns the difference between each image and each prototype, averaged over pixels, (N, P), >= 0.

    images: (N, 3, H, W), the reference of cie94; prototypes: (P, 3, H, W); both from `to_color_space(..., delta)`.
    weights: (H, W), multiply the differences at each pixel.
    block: maximum pixel pairs processed at once, at least one image's; bounds the memory. The default depends on the
    difference and the device. With several blocks, the backward pass recomputes the intermediates.
    """
    images, prototypes = check_shapes(images, prototypes)
    means: Callable[..., Tensor] = partial(mean_of_pairs, difference_function(delta))
    if torch.compiler.is_exporting():  # a graph cannot depend on the number of images
        return means(images, prototypes, weights)
    learning = torch.is_grad_enabled() and (images.requires_grad or prototypes.requires_grad)
    if block is None:  # a CPU's cache has room for the few dozen numbers that a pair takes
        on_cpu = 2**19 if learning else 2**17  # each block adds to the whole gradient: fewer blocks, fewer sums
        block = on_cpu if images.device.type == "cpu" else 2**22
    size = max(1, block // max(1, prototypes[:, 0].numel()))
    if delta == "cie76" and weights is None and not images.requires_grad:
        return _MeanDeltaE76.apply(images, prototypes, size)
    blocks = images.split(size)
    if len(blocks) > 1 and learning:
        means = partial(checkpoint, means, use_reentrant=False)
    return torch.cat([means(part, prototypes, weights) for part in blocks])


def mean_of_pairs(difference: Difference, images: Tensor, prototypes: Tensor, weights: Tensor | None = None) -> Tensor:
    """Computes `mean_difference` by broadcasting, with unbounded memory."""
    differences = difference(images[:, None], prototypes)
    return (differences if weights is None else differences * weights).mean((-2, -1))


class _MeanDeltaE76(torch.autograd.Function):
    """Computes `mean_difference` for cie76 in blocks of `size` images, differentiable in the prototypes alone.

    The backward pass recomputes each block while it is in the cache: autograd would write all its steps to memory.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, prototypes: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(images, prototypes)
        ctx.size = size
        return torch.cat([_distance(some, prototypes)[0].mean((-2, -1)) for some in images.split(size)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        images, prototypes = ctx.saved_tensors
        total, pixels = torch.zeros_like(prototypes), prototypes.shape[-2:].numel()
        for some, slopes in zip(images.split(ctx.size), gradient.split(ctx.size), strict=True):
            distance, differences = _distance(some, prototypes)
            weight = slopes[..., None, None] / -pixels / distance.masked_fill_(distance == 0, inf)
            for channel, difference in enumerate(differences):
                total[:, channel] += difference.mul_(weight).sum(0)
        return None, total, None


def _distance(images: Tensor, prototypes: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Returns the distances of all pairs of pixels, and their differences in each channel, all (N, P, H, W)."""
    differences = [images[:, None, channel] - prototypes[:, channel] for channel in range(3)]
    return _sum_of_squares(*differences).sqrt_(), differences


def check_shapes(images: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both in float32 at least. Raises ValueError unless they are floats (N, 3, H, W) and (P, 3, H, W)."""
    if images.ndim != 4 or prototypes.ndim != 4 or images.shape[1:] != prototypes.shape[1:]:
        shapes = f"{tuple(images.shape)} and {tuple(prototypes.shape)}"
        raise ValueError(f"images and prototypes: got shapes {shapes}, expected (N, 3, H, W) and (P, 3, H, W)")
    return _colors(images), _colors(prototypes)


def _colors(colors: Tensor) -> Tensor:
    """Returns the colors in float32 at least. Raises ValueError unless they are floating point (..., 3, H, W)."""
    if colors.ndim < 3 or colors.shape[-3] != 3:
        raise ValueError(f"colors: got shape {tuple(colors.shape)}, expected (..., 3, H, W)")
    if not colors.is_floating_point():
        raise ValueError(f"colors: got dtype {colors.dtype}, expected floating point")
    return colors if colors.dtype == torch.float64 else colors.float()


def _sum_of_squares(first: Tensor, *others: Tensor) -> Tensor:
    total = first.square()
    for other in others:
        total = torch.addcmul(total, other, other)
    return total


def _safe_sqrt(square: Tensor) -> Tensor:
    """Returns the square root; 0 with slope 0 for numbers <= 0, which rounding can produce."""
    # Masked before and after: the slope at 0 is infinite, and inf * 0 is NaN. 1e-15 squared is 1e-30.
    return F.threshold(square.clamp(min=1e-30).sqrt(), 2e-15, 0)
