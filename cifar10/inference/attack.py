"""Searches for minimum-norm adversarial perturbations. The norm is the mean Delta E 1976 over the pixels."""

from collections.abc import Callable
from math import cos, inf, pi

import torch
from torch import Tensor

from cifar10.color.delta_e import to_lab, to_rgb
from cifar10.networks.base import Network, to_unit


def minimum_perturbation(
    network: Network, images: Tensor, labels: Tensor, steps: int = 100, restarts: int = 1
) -> Tensor:
    """Returns the norm of the smallest perturbation found that makes each image misclassified, (N,) float32.

    images: (N, 3, 32, 32) uint8 or float in [0, 1]; labels: (N,) int64. Adversarial examples are in sRGB, float in
    [0, 1]. The norm is 0 if the image itself is misclassified, inf if no perturbation was found. The result is an upper
    bound of the minimum: a longer search can find a smaller perturbation.
    """
    with torch.no_grad():
        correct = network(images).argmax(1) == labels
    found = torch.zeros(len(images), device=labels.device)
    lab = to_lab(to_unit(images[correct]))
    found[correct] = attack(lambda lab: network(to_rgb(lab)), lab, labels[correct], steps, restarts, _to_gamut)
    return found


def _to_gamut(lab: Tensor) -> Tensor:
    return to_lab(to_rgb(lab))


def attack(
    logits: Callable[[Tensor], Tensor],
    lab: Tensor,
    labels: Tensor,
    steps: int = 100,
    restarts: int = 1,
    constrain: Callable[[Tensor], Tensor] = lambda lab: lab,
) -> Tensor:
    """Implements `minimum_perturbation` for any classifier of L*a*b* images.

    Projected gradient descent on the margin of the label's logit. The radius of the ball shrinks after each success and
    grows otherwise (Pintor et al., "Fast minimum-norm adversarial attacks through adaptive norm constraints", 2021),
    here for the mean of the pixels' Euclidean norms. The first start is the image, each restart a random perturbation.
    constrain: maps a perturbed image to an allowed one.
    """
    generator = torch.Generator(lab.device).manual_seed(0)
    best = torch.full((len(lab),), inf, device=lab.device)
    for restart in range(restarts):
        start = torch.randn(lab.shape, generator=generator, device=lab.device) if restart else torch.zeros_like(lab)
        best = _search(logits, lab, labels, steps, constrain, best, start)
    return best


def _search(
    logits: Callable[[Tensor], Tensor],
    lab: Tensor,
    labels: Tensor,
    steps: int,
    constrain: Callable[[Tensor], Tensor],
    best: Tensor,
    perturbation: Tensor,
) -> Tensor:
    """Returns the smaller of `best` and the smallest perturbation found from one start."""
    radius = best
    for step in range(steps):
        variable = constrain(lab + perturbation).detach().requires_grad_()
        perturbation = variable.detach() - lab
        margin = _margin(logits(variable), labels)
        (gradient,) = torch.autograd.grad(margin.sum(), variable)
        margin, distance, decay = margin.detach(), mean_norm(perturbation), (1 + cos(pi * step / steps)) / 2
        success = margin < 0
        best = torch.where(success & (distance < best), distance, best)
        # Until the first success, the radius is where the linearized margin is zero.
        slope = gradient.norm(dim=1).amax((1, 2)) * lab.shape[2:].numel()
        linear = distance + margin.clamp(min=0) / slope.clamp(min=1e-12)
        grown = torch.where(best.isinf(), linear.maximum(radius.nan_to_num(posinf=0)), radius * (1 + 0.05 * decay))
        radius = torch.where(success, radius.minimum(best) * (1 - 0.05 * decay), grown)
        length = radius * (0.01 + decay) / mean_norm(gradient).clamp(min=1e-12)
        perturbation = project(perturbation - gradient * length[:, None, None, None], radius)
    return best


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the label's logit minus the highest other one, (N,): negative if another class is predicted."""
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    return logits[own] - logits.masked_fill(own, -inf).amax(1)


def mean_norm(perturbation: Tensor) -> Tensor:
    """Returns the mean over pixels of the Euclidean norms of (N, 3, H, W), (N,): Delta E 1976 in L*a*b*."""
    return perturbation.norm(dim=1).mean((1, 2))


def project(perturbation: Tensor, radius: Tensor) -> Tensor:
    """Projects perturbations (N, 3, H, W) to the balls of `mean_norm` at most `radius`, (N,).

    Shortens the pixels' norms as in a projection to the l1 ball (Duchi et al., ICML 2008).
    """
    norms = perturbation.norm(dim=1, keepdim=True)
    ordered = norms.flatten(1).sort(descending=True).values
    excess = ordered.cumsum(1) - radius[:, None] * ordered.shape[1]
    thresholds = excess / torch.arange(1, ordered.shape[1] + 1, device=perturbation.device)
    threshold = thresholds.amax(1).clamp(min=0)[:, None, None, None]
    return perturbation * ((norms - threshold).clamp(min=0) / norms.clamp(min=1e-12))
