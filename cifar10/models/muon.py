"""Muon: SGD whose updates of the hidden layers' weights are orthogonal matrices."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.6
"""Momentum of the orthogonalized updates, as in airbench94_muon (Jordan, github.com/KellerJordan/cifar10-airbench,
2024). docs/recipes.md compares it with 0.9."""
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, from the reference below. Five steps take all singular values to about [0.7, 1.2]."""


class Muon(torch.optim.SGD):
    """Adds orthogonalized updates to SGD, for the weights of hidden layers that batch normalization follows.

    hidden: weights of two or more dimensions, as matrices (outputs, inputs); their norm is kept at the square root of
    `outputs`, since batch normalization makes it irrelevant. others: trained by SGD, with `settings`. Source: Jordan et
    al., "Muon: an optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon, 2024).
    dtype: data type of the matrix products; bfloat16 is sufficient.
    """

    def __init__(self, hidden: Sequence[Tensor], others: Sequence[Tensor], dtype: torch.dtype, **settings: Any) -> None:
        plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        groups = [{"params": others, "hidden": False}, {"params": hidden, "hidden": True, **plain}]
        super().__init__(groups, **settings)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for weight in (p for group in self.param_groups if group["hidden"] for p in group["params"]):
            if weight.grad is None:
                continue
            state = self.state[weight]
            momentum = state["momentum_buffer"] = state.get("momentum_buffer", 0.0) * MOMENTUM + weight.grad
            update = weight.grad.add(momentum, alpha=MOMENTUM).flatten(1)  # Nesterov momentum
            weight.mul_(len(weight) ** 0.5 / weight.norm())
            weight.grad.copy_(orthogonalize(update, self.dtype).view_as(weight))
        super().step()
        return loss


def orthogonalize(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns about U V^T for a matrix U S V^T, by five steps of a Newton-Schulz iteration in `dtype`."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = (wide / wide.norm().clamp(min=1e-7)).to(dtype)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide is matrix else x.T).to(matrix.dtype)
