"""Random flip, shift and cutout of whole batches, on the images' device.

The parameters of an epoch depend on (seed, epoch) alone: not on batch size, world size, or where a run is resumed.
"""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

Pixels = Annotated[int, Interval(ge=0, le=16)]
GREY = 121  # fill value of cutout: the mean value of CIFAR-10's training images, 0 to 255
FLIP, SHIFT = 1, 2  # keys of random numbers; the order of an epoch has the key (seed, epoch)


def generator(*key: int) -> torch.Generator:
    """Returns a generator seeded by the key. Keys that differ only by zeros at the end are the same."""
    state = np.random.SeedSequence(key).generate_state(1, dtype=np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class RandomAugmentation(NamedTuple):
    """Random augmentation; none by default.

    flip: flip each image horizontally in every second epoch, half of them in the even ones (alternating flip: Jordan,
    "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024). shift_px: largest shift in both directions; the border is
    reflected. cutout_px: side of a grey square, centred anywhere in the image (DeVries and Taylor, "Improved
    regularization of convolutional neural networks with cutout", 2017).
    """

    flip: bool = False
    shift_px: int = 0
    cutout_px: int = 0

    def draw(self, count: int, seed: int, epoch: int) -> Tensor:
        """Returns an epoch's parameters, (count, 5) int64: flipped or not, shift and cutout by row and column."""
        first = torch.randint(2, (count,), generator=generator(seed, 0, FLIP))
        random = generator(seed, epoch, SHIFT)
        shifts = torch.randint(2 * self.shift_px + 1, (count, 2), generator=random) - self.shift_px
        centres = torch.randint(32, (count, 2), generator=random)
        return torch.column_stack([(first + epoch) % 2, shifts, centres])

    def __call__(self, images: Tensor, augmentations: Tensor) -> Tensor:
        """Returns augmented images. images: (N, C, H, W), any dtype; augmentations: (N, 5) of `draw`."""
        if self.flip or self.shift_px:
            images = flip_and_shift(images, augmentations[:, 0] * self.flip, augmentations[:, 1:3])
        if self.cutout_px:
            images = self._cutout(images, augmentations[:, 3:])
        return images

    def _cutout(self, images: Tensor, centres: Tensor) -> Tensor:
        def inside(length: int, centre: Tensor) -> Tensor:
            distance = torch.arange(length, device=images.device) - centre + self.cutout_px // 2
            return (distance >= 0) & (distance < self.cutout_px)

        rows, columns = (inside(images.shape[2 + axis], centres[:, axis, None]) for axis in (0, 1))
        hole = (rows[:, :, None] & columns[:, None, :])[:, None]
        return images.masked_fill(hole, GREY if images.dtype == torch.uint8 else GREY / 255)


def flip_and_shift(images: Tensor, flipped: Tensor, shifts: Tensor) -> Tensor:
    """Returns images flipped where `flipped` is 1, then cropped by a window shifted (down, right) by whole pixels.

    images: (N, C, H, W); flipped: (N,) 0 or 1; shifts: (N, 2), less than H and W. One gather does it all: Kornia's
    RandomHorizontalFlip and RandomCrop interpolate floats instead (docs/benchmark.md has both measured).
    """
    count, channels, height, width = images.shape
    rows = _reflected(torch.arange(height, device=images.device) + shifts[:, :1], height)
    columns = _reflected(torch.arange(width, device=images.device) + shifts[:, 1:], width)
    columns = torch.where(flipped[:, None] == 1, width - 1 - columns, columns)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, pixels).view_as(images)


def _reflected(positions: Tensor, length: int) -> Tensor:
    """Returns positions, those outside 0 ... length - 1 reflected at the border pixel, which is not repeated."""
    return length - 1 - (length - 1 - positions.abs()).abs()
