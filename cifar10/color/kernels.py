"""Compiles `mean_difference` into one forward and one backward kernel by torch.compile, several times as fast.

A kernel keeps each pixel pair in registers, whereas eager PyTorch writes every intermediate to memory. Compilation
takes seconds and needs a C++ compiler with OpenMP (CPU) or Triton (GPU). CIEDE2000 is excluded: its compiled gradient
is slow.
"""

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from cifar10.color.delta_e import Delta, check_shapes, difference_function, full_precision, mean_of_pairs
from cifar10.compat import mark_dynamic_batch

log = logging.getLogger(__name__)
# Recomputes shared intermediates instead of writing them to memory, such as a pair's distance for the three channels of
# the gradient. With PyTorch's defaults both kernels take five times as long.
RECOMPUTE: Any = {"realize_reads_threshold": 64, "realize_opcount_threshold": 2000, "realize_acc_reads_threshold": 64}


def can_compile(prototypes: Tensor, delta: Delta, weights: Tensor | None = None) -> bool:
    """Compiles the kernels for prototypes (P, 3, H, W) and weights; logs a warning and returns False if that fails.

    Compiles the backward kernel only if gradients are enabled. Only a trial shows whether the headers of Python and
    OpenMP are installed and whether Triton supports the GPU.
    """
    images, prototypes = prototypes.new_zeros(16, *prototypes.shape[1:]), prototypes.detach()
    try:
        with full_precision(images.device.type):  # else the backward kernel is compiled again outside
            variable = prototypes.requires_grad_(torch.is_grad_enabled())
            means = compiled_mean_difference(images, variable, delta, None if weights is None else weights.detach())
            if means.requires_grad:
                means.sum().backward()
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line for line in lines if "error:" in line), lines[0])
        log.warning("model.compile: cannot compile kernels, so PyTorch's operations are used: %s", reason)
        return False
    return True


def compiled_mean_difference(images: Tensor, prototypes: Tensor, delta: Delta, weights: Tensor | None = None) -> Tensor:
    """Computes `mean_difference` to within rounding; differentiable with respect to the prototypes and the weights."""
    if delta == "ciede2000":
        raise ValueError("delta='ciede2000' has no compiled kernel; use mean_difference")
    images, prototypes = check_shapes(images, prototypes)
    return _MeanDifference.apply(images, delta, prototypes, *([] if weights is None else [weights]))


def compiled_to_color_space(images: Tensor, delta: Delta) -> Tensor:
    """Computes `to_color_space` to within rounding, without its check of the range."""
    if delta == "redmean":
        return images
    with full_precision(images.device.type):
        return _rgb_to_lab()(images if images.requires_grad else _dynamic(images))


@cache
def _rgb_to_lab() -> Callable[[Tensor], Tensor]:
    return torch.compile(rgb_to_lab)


class _MeanDifference(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, delta: Delta, *variables: Tensor) -> Tensor:
        ctx.save_for_backward(images, *variables)
        ctx.delta = delta
        with full_precision(images.device.type):
            return _kernels(delta)[0](_dynamic(images), *(variable.detach() for variable in variables))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, *variables = ctx.saved_tensors
        variables = [variable.detach() for variable in variables]
        return None, None, *_kernels(ctx.delta)[1](_dynamic(images), _dynamic(gradient), *variables)


def _dynamic(images: Tensor) -> Tensor:
    """Returns the images with a dynamic first axis: one kernel serves all batch sizes from 2 on."""
    images = images.detach().contiguous()
    mark_dynamic_batch(images)
    return images


@cache
def _kernels(delta: Delta) -> tuple[Callable[..., Tensor], Callable[..., tuple[Tensor, ...]]]:
    forward = partial(mean_of_pairs, difference_function(delta))

    def backward(images: Tensor, gradient: Tensor, *variables: Tensor) -> tuple[Tensor, ...]:
        return torch.func.vjp(lambda *variables: forward(images, *variables), *variables)[1](gradient)

    return torch.compile(forward, options=RECOMPUTE), torch.compile(backward, options=RECOMPUTE)
