"""Random flip, shift and cutout of whole batches, on the device of the images.

The parameters of an epoch depend only on (seed, epoch), not on batch size, world size or resumption.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

GRAY = 121  # fill value of cutout: the mean value of CIFAR-10's training images, 0 to 255
FLIP, SHIFT = 1, 2  # last part of a generator's key; `epoch_order` uses the key (seed, epoch)


def generator(*key: int) -> torch.Generator:
    """Returns a CPU generator seeded with the key. Trailing zeros of a key have no effect."""
    import numpy as np  # networks import this module, but need PyTorch only

    state = np.random.SeedSequence(key).generate_state(1, dtype=np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class RandomAugmentation(NamedTuple):
    """Random augmentation of a batch; the defaults change nothing.

    flip: flips each image horizontally in every second epoch, a random half of them in even epochs (alternating flip:
    Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024). shift_px: maximum shift in pixels along each axis,
    with reflection padding. cutout_px: side in pixels of a gray square with a random center (DeVries and Taylor,
    "Improved regularization of convolutional neural networks with cutout", 2017).
    """

    flip: bool = False
    shift_px: int = 0
    cutout_px: int = 0

    def sample(self, count: int, seed: int, epoch: int) -> Tensor:
        """Returns an epoch's parameters, (count, 5) int64: flip (0 or 1), shift and cutout center as (row, column)."""
        flips = torch.randint(2, (count,), generator=generator(seed, 0, FLIP))
        random = generator(seed, epoch, SHIFT)
        shifts = torch.randint(2 * self.shift_px + 1, (count, 2), generator=random) - self.shift_px
        centers = torch.randint(32, (count, 2), generator=random)
        return torch.column_stack([(flips + epoch) % 2, shifts, centers])

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Returns augmented images. images: (N, C, H, W), any dtype; parameters: (N, 5), rows of `sample`."""
        if self.flip or self.shift_px:
            images = flip_and_shift(images, parameters[:, 0] * self.flip, parameters[:, 1:3])
        if self.cutout_px:
            images = self._cutout(images, parameters[:, 3:])
        return images

    def _cutout(self, images: Tensor, centers: Tensor) -> Tensor:
        def covered(length: int, center: Tensor) -> Tensor:
            distance = torch.arange(length, device=images.device) - center + self.cutout_px // 2
            return (distance >= 0) & (distance < self.cutout_px)

        rows, columns = (covered(images.shape[2 + axis], centers[:, axis, None]) for axis in (0, 1))
        square = (rows[:, :, None] & columns[:, None, :])[:, None]
        return images.masked_fill(square, GRAY if images.dtype == torch.uint8 else GRAY / 255)


def flip_and_shift(images: Tensor, flips: Tensor, shifts: Tensor) -> Tensor:
    """Flips images horizontally where `flips` is 1, then crops an H x W window shifted (down, right) by whole pixels.

    images: (N, C, H, W); flips: (N,) 0 or 1; shifts: (N, 2), less than H and W, in pixels; padding: reflection. One
    gather replaces Kornia's RandomHorizontalFlip and RandomCrop, which interpolate floats (docs/benchmark.md).
    """
    count, channels, height, width = images.shape
    rows = _reflect(torch.arange(height, device=images.device) + shifts[:, :1], height)
    columns = _reflect(torch.arange(width, device=images.device) + shifts[:, 1:], width)
    columns = torch.where(flips[:, None] == 1, width - 1 - columns, columns)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, pixels).view_as(images)


def augmentations(images: Tensor, flip: bool, shift_px: int) -> Iterator[Tensor]:
    """Yields the images with each combination of flip and shift, first without either."""
    yield images
    shifts = range(-shift_px, shift_px + 1)
    zeros = images.new_zeros(images.shape[:1], dtype=torch.int64)
    for flipped, row, column in product((0, 1) if flip else (0,), shifts, shifts):
        if flipped or row or column:
            yield flip_and_shift(images, zeros + flipped, torch.stack([zeros + row, zeros + column], 1))


def _reflect(positions: Tensor, length: int) -> Tensor:
    """Reflects positions outside [0, length - 1] at the border pixel, which is not repeated."""
    return length - 1 - (length - 1 - positions.abs()).abs()
