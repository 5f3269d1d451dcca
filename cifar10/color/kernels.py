"""`mean_difference` as one kernel forward and one backward, made by torch.compile: about ten times as fast.

A kernel keeps each pair of pixels in registers, where PyTorch's own operations write every step to memory. Making one
takes seconds and needs a C++ compiler with OpenMP (on CPU) or Triton. Not for CIEDE2000, of which PyTorch makes no fast
gradient.
"""

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from cifar10.color.delta_e import Delta, difference_of, full_precision, mean_of_pairs, same_sized

log = logging.getLogger(__name__)

# What several results need is computed for each of them rather than written to memory, as the distance of a pair is for
# the gradient's three channels. By PyTorch's own choice both kernels take five times as long.
NOTHING_BETWEEN: dict[str, str | int | bool | Callable[..., Any]] = {
    "realize_reads_threshold": 64,
    "realize_opcount_threshold": 2000,
    "realize_acc_reads_threshold": 64,
}


def can_compile(prototypes: Tensor, delta: Delta) -> bool:
    """Makes the kernels for prototypes (P, 3, H, W), the gradient's too if there is one to take; warns where it fails.

    Only making them tells: a compiler may be there, but no headers of Python or OpenMP, or a GPU that Triton does not
    know.
    """
    images, prototypes = prototypes.new_zeros(16, *prototypes.shape[1:]), prototypes.detach()
    try:
        with full_precision(images.device.type):  # else the gradient's would be made again, outside
            means = compiled_mean_difference(images, prototypes.requires_grad_(torch.is_grad_enabled()), delta)
            if means.requires_grad:
                means.sum().backward()
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line for line in lines if "error:" in line), lines[0])  # a compiler's own, or PyTorch's first
        log.warning("model.compile=true has no effect, no kernel can be made here: %s", reason)
        return False
    return True


def compiled_mean_difference(images: Tensor, prototypes: Tensor, delta: Delta) -> Tensor:
    """As `cifar10.color.delta_e.mean_difference` to within rounding; differentiable in the prototypes alone."""
    if delta == "ciede2000":
        raise ValueError("there is no fast kernel for ciede2000; use mean_difference")
    return _MeanDifference.apply(*same_sized(images, prototypes), delta)


class _MeanDifference(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, prototypes: Tensor, delta: Delta) -> Tensor:
        ctx.save_for_backward(images, prototypes)
        ctx.delta = delta
        with full_precision(images.device.type):
            return _kernels(delta)[0](_of_any_number(images), prototypes.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        images, prototypes = ctx.saved_tensors
        return None, _kernels(ctx.delta)[1](_of_any_number(images), prototypes.detach(), _of_any_number(gradient)), None


def _of_any_number(images: Tensor) -> Tensor:
    """One kernel for all numbers of images from 2 on; otherwise each would have its own."""
    images = images.detach().contiguous()
    torch._dynamo.maybe_mark_dynamic(images, 0)
    return images


@cache
def _kernels(delta: Delta) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    forward = partial(mean_of_pairs, difference_of(delta))

    def backward(images: Tensor, prototypes: Tensor, gradient: Tensor) -> Tensor:
        return torch.func.vjp(lambda moved: forward(images, moved), prototypes)[1](gradient)[0]

    return torch.compile(forward, options=NOTHING_BETWEEN), torch.compile(backward, options=NOTHING_BETWEEN)
