"""Batches of images that lie in memory: one index operation each, no worker processes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from cifar10.data.augment import RandomAugmentation, generator


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Returns the order of an epoch's images, (count,) int64: a pure function of (seed, epoch)."""
    return torch.randperm(count, generator=generator(seed, epoch))


NO_AUGMENTATION = RandomAugmentation()


@dataclass
class TrainBatches:
    """An epoch of shuffled, augmented batches; each rank takes every world_size-th image of a batch.

    images: (N, 3, 32, 32) uint8, labels: (N,) int64. `position` returns (epoch, batches already trained on), so that a
    resumed epoch continues with the next batch. `record` is called with the new position before each batch.
    """

    images: Tensor
    labels: Tensor
    batch_size: int
    seed: int
    position: Callable[[], tuple[int, int]]
    record: Callable[[tuple[int, int]], None] = lambda position: None
    augmentation: RandomAugmentation = NO_AUGMENTATION
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        full, rest = divmod(len(self.images), self.batch_size)
        return max(full + (rest >= max(self.world_size, 2)), 1)

    def size(self, batch: int) -> int:
        """Returns the number of images in a batch, over all ranks."""
        return self.batch_size if batch + 1 < len(self) else len(self.images) - batch * self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, done = self.position()
        device = self.images.device
        order = epoch_order(len(self.images), self.seed, epoch).to(device)
        augmented = any(self.augmentation)
        if augmented:
            augmentations = self.augmentation.draw(len(self.images), self.seed, epoch).to(device)
        # A rest of one image, or of fewer images than ranks, joins the batch before it: batch normalization needs two,
        # and a rank without images would have a loss of NaN.
        cuts = [self.batch_size * batch for batch in range(1, len(self))]
        for count, batch in enumerate(order.tensor_split(cuts)[done:], done + 1):
            index = batch[self.rank :: self.world_size]
            images = self.images[index]
            self.record((epoch, count))
            yield self.augmentation(images, augmentations[index]) if augmented else images, self.labels[index]


@dataclass
class EvalBatches:
    """All images in order, in batches that are views; each rank takes one contiguous part."""

    images: Tensor
    labels: Tensor
    batch_size: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        first, last = (len(self.images) * part // self.world_size for part in (self.rank, self.rank + 1))
        self.images, self.labels = self.images[first:last], self.labels[first:last]

    def __len__(self) -> int:
        return ceil(len(self.images) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if not len(self.images):
            return iter(())  # `split` would give one empty batch
        return zip(self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True)
