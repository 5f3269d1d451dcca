"""Computes pixelwise geometric medians of groups of images: exact class prototypes for a Euclidean difference."""

from math import inf

import torch
from torch import Tensor

RELAXATION = 1.5
"""Over-relaxation factor of Weiszfeld's step. Factors below 2 descend; 1.5 takes 9 passes on CIFAR-10, 1 takes 14."""


class GeometricMedians:
    """Over-relaxed Weiszfeld iteration: `update` accumulates sums in a pass over the data, `step` moves the medians.

    The geometric median of colors x is the y that minimizes the mean |x - y|, a convex problem. Weiszfeld's step moves
    y to the mean of x with weights 1 / |x - y| ("Sur le point pour lequel la somme des distances de n points donnes est
    minimum", Tohoku Mathematical Journal 43, 1937). Sums over ranks equal the sums over all images.

    medians: (P, 3, H, W), the current estimate. initialized: if False, the first step replaces it by the means.
    gap, unchanged: `duality_gap` and `assignments_unchanged` of the last complete pass.
    """

    def __init__(self, medians: Tensor, initialized: bool = False) -> None:
        self.medians, self.initialized = medians, initialized
        groups, channels, pixels = medians.flatten(2).shape
        self.count = medians.new_zeros(groups, 1)
        self.weight, self.distance = medians.new_zeros(2, groups, pixels)
        self.weighted, self.total = medians.new_zeros(2, groups, channels, pixels)
        self.previous = self.count.clone(), self.total.clone()  # of the previous pass
        self.gap, self.unchanged = inf, True

    def update(self, colors: Tensor, groups: Tensor) -> Tensor:
        """Adds images to the sums; returns the sum of their distances to their medians, averaged over pixels, a scalar.

        colors: (N, 3, H, W); groups: (N,) int64, the index of each image's median.
        """
        members = torch.zeros(len(self.medians), len(groups), device=colors.device).scatter_(0, groups[None], 1.0)
        x, medians = colors.flatten(2), self.medians.flatten(2)[groups]
        square, rest = (x[:, 0] - medians[:, 0]).square_(), torch.empty_like(x[:, 0])
        for channel in (1, 2):  # in place: one expression takes 1.3 times as long
            torch.sub(x[:, channel], medians[:, channel], out=rest)
            square.addcmul_(rest, rest)
        # The bound keeps the weight of a color that equals its median finite.
        weight = square.clamp_(min=1e-12).rsqrt() if self.initialized else torch.ones_like(square)
        distance = members @ square.sqrt_()
        self.distance += distance
        self.weight.addmm_(members, weight)
        weighted = torch.mul(x, weight[:, None], out=medians)
        self.weighted += (members @ weighted.flatten(1)).view_as(self.weighted)
        self.total += (members @ x.flatten(1)).view_as(self.total)
        self.count += members.sum(1, keepdim=True)
        return distance.sum() / x.shape[2]

    def duality_gap(self) -> float:
        """Returns an upper bound on the excess of the mean distance over its minimum; infinite in the first pass.

        For vectors u with |u| <= 1 that sum to 0, sum |x - y| >= sum u . (x - y) (Boyd and Vandenberghe, "Convex
        Optimization", 5.1.6). Here u are the unit vectors from the median, minus their mean, scaled to |u| <= 1.
        """
        if not self.initialized:
            return inf
        count = self.count.clamp(min=1)
        medians = self.medians.flatten(2)
        mean_direction = (self.weighted - medians * self.weight[:, None]) / count[:, None]
        length = mean_direction.norm(dim=1)
        offset = self.total / count[:, None] - medians
        bound = (self.distance / count - (mean_direction * offset).sum(1)) / (1 + length)
        gaps = (self.distance / count - bound).mean(1, keepdim=True)  # per group
        return float((gaps * self.count).sum() / self.count.sum())

    def assignments_unchanged(self) -> bool:
        """Returns whether each group has the same images as in the previous pass, judged by their number and sum."""
        count, total = self.previous
        # A different image changes a sum by tens, a different order of images by about 1e-6 of it.
        return torch.equal(self.count, count) and bool((self.total - total).abs().max() <= 1e-5 * total.abs().max())

    def step(self) -> None:
        """Updates the medians and starts the next pass. The median of an empty group stays unchanged."""
        self.gap, self.unchanged = self.duality_gap(), not self.initialized or self.assignments_unchanged()
        target = self.weighted / self.weight[:, None].clamp(min=1e-12)
        move = (target - self.medians.flatten(2)) * (RELAXATION if self.initialized else 1.0)
        self.medians = self.medians + (move * (self.count > 0)[:, None]).view_as(self.medians)
        self.initialized, self.previous = True, (self.count.clone(), self.total.clone())
        for sums in self.sums():
            sums.zero_()

    def sums(self) -> list[Tensor]:
        """Returns the sums of the current pass, to be reduced over ranks before calls of the other methods."""
        return [self.count, self.weight, self.weighted, self.total, self.distance]
