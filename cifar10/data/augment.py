"""Random views of training images: mirrored, shifted, with a hole. Whole batches at once, on the images' device.

Views belong to images, not to batches: they are drawn for all images of an epoch before it begins, from (seed, epoch)
alone. So an image gets the same view whatever the batch size, the number of processes or where a run is resumed.
"""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

Pixels = Annotated[int, Interval(ge=0, le=16)]
GREY = 121
"""What a hole is filled with: the mean value of CIFAR-10's training images, 0 to 255."""

FLIP, MOVE = 1, 2  # keys of random numbers, beside those of the order, (seed, epoch)


def generator(*key: int) -> torch.Generator:
    """Random numbers that are a function of the key; keys that differ by zeros at the end alone are the same."""
    state = np.random.SeedSequence(key).generate_state(1, dtype=np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class RandomViews(NamedTuple):
    """Which views to draw; nothing at all by default.

    flip: mirror every image in every second epoch, half of them in the even ones. Over a few epochs that beats a coin
    for each (the alternating flip of Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024).
    shift_px: shift by up to so many pixels in both directions; the border is reflected into the gap.
    cutout_px: cover a square of so many pixels a side, centred anywhere, so that part of it may lie outside
    (DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017).
    """

    flip: bool = False
    shift_px: int = 0
    cutout_px: int = 0

    def draw(self, count: int, seed: int, epoch: int) -> Tensor:
        """The views of `count` images in an epoch: (count, 5) int64, mirrored or not, shift and hole by row, column."""
        first = torch.randint(2, (count,), generator=generator(seed, 0, FLIP))
        shift = 2 * self.shift_px + 1
        random = generator(seed, epoch, MOVE)
        shifts = torch.randint(shift, (count, 2), generator=random) - self.shift_px
        holes = torch.randint(32, (count, 2), generator=random)
        return torch.column_stack([(first + epoch) % 2, shifts, holes])

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        """images: (N, C, H, W), any dtype; views: (N, 5) of `draw`. Returns images of the same kind."""
        if self.flip or self.shift_px:
            images = moved(images, views[:, 0] * self.flip, views[:, 1:3])
        if self.cutout_px:
            images = self._cover(images, views[:, 3:])
        return images

    def _cover(self, images: Tensor, centres: Tensor) -> Tensor:
        def inside(length: int, centre: Tensor) -> Tensor:
            distance = torch.arange(length, device=images.device) - centre + self.cutout_px // 2
            return (distance >= 0) & (distance < self.cutout_px)

        rows, columns = (inside(images.shape[2 + axis], centres[:, axis, None]) for axis in (0, 1))
        hole = (rows[:, :, None] & columns[:, None, :])[:, None]
        return images.masked_fill(hole, GREY if images.dtype == torch.uint8 else GREY / 255)


def moved(images: Tensor, mirrored: Tensor, shifts: Tensor) -> Tensor:
    """Images mirrored where `mirrored` is 1, then seen through a window that is shifted (down, right) by whole pixels.

    images: (N, C, H, W); mirrored: (N,) 0 or 1; shifts: (N, 2), less than H and W. One gather does it all: Kornia's
    RandomHorizontalFlip and RandomCrop interpolate floats instead (docs/benchmark.md has both measured).
    """
    count, channels, height, width = images.shape
    rows = _reflected(torch.arange(height, device=images.device) + shifts[:, :1], height)
    columns = _reflected(torch.arange(width, device=images.device) + shifts[:, 1:], width)
    columns = torch.where(mirrored[:, None] == 1, width - 1 - columns, columns)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, pixels).view_as(images)


def _reflected(positions: Tensor, length: int) -> Tensor:
    """Positions outside 0 ... length - 1 reflected at the border pixel, which is not repeated."""
    return length - 1 - (length - 1 - positions.abs()).abs()
