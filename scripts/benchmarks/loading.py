"""Loader throughput alone: batches of 512, with nothing done to the images and with mirroring and 2-pixel shifts."""

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

import torch
from kornia import augmentation as kornia
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.measure import compose, interleaved, read_images, synchronize
from benchmarks.training import PerImage
from cifar10.data.augment import RandomAugmentation
from cifar10.data.batches import TrainBatches
from cifar10.training.precision import best_device

BATCH = 512
COUNT = 40_000
SHIFT_PX = 2


def loading(data: str, rounds: int) -> dict[str, Any]:
    """Way -> images per second, one value a round. Each hands out 40,000 images, the usual way 8,192."""
    images = read_images(compose(f"data={data}"), at_least=COUNT)
    pixels, labels = images.train_images[:COUNT], images.train_labels[:COUNT]
    pixels, labels = pixels.to(best_device()), labels.to(best_device())
    padded = F.pad(pixels.float(), (SHIFT_PX,) * 4, "reflect")
    views = RandomAugmentation(flip=True, shift_px=SHIFT_PX)
    shift = [transforms.RandomCrop(32, padding=SHIFT_PX, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
    plain: list[Callable] = [transforms.ToTensor()]
    ways = {
        "this project": lambda: ours(pixels, labels, RandomAugmentation()),
        "this project, views": lambda: ours(pixels, labels, views),
        "whole data set at once, views": lambda: whole_data_set(padded, labels),
        "Kornia on the batch, views": lambda: with_kornia(pixels, labels),
        "the usual way": lambda: DataLoader(PerImage(images, plain[0]), BATCH, True, num_workers=2),
        "the usual way, views": lambda: DataLoader(
            PerImage(images, transforms.Compose(shift + plain)), BATCH, True, num_workers=2
        ),
    }
    counts = {way: 8192 if "usual" in way else len(pixels) for way in ways}
    seconds = interleaved({way: clocked(make, counts[way]) for way, make in ways.items()}, rounds)
    return {way: [counts[way] / value for value in values] for way, values in seconds.items()}


def clocked(make: Callable[[], Iterable[Any]], count: int) -> Callable[[], float]:
    """Seconds until `count` images have come; of loaders with workers without their start and first batch."""

    def measure() -> float:
        synchronize()
        start, seen = perf_counter(), 0
        batches = iter(loader := make())
        if isinstance(loader, DataLoader):
            next(batches)
            start = perf_counter()
        while seen < count and (batch := next(batches, None)) is not None:
            seen += len(batch[1])
        synchronize()
        return (perf_counter() - start) * count / seen

    return measure


def ours(images: Tensor, labels: Tensor, views: RandomAugmentation) -> TrainBatches:
    return TrainBatches(images, labels, BATCH, 1, lambda: (0, 0), views)


def whole_data_set(padded: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Crops and mirrors the epoch's images all at once, shift by shift, then cuts batches: the way of airbench.

    padded: (N, 3, 32 + 2 SHIFT_PX, 32 + 2 SHIFT_PX) float32, made once for all epochs.
    """
    count, channels, height, width = padded.shape
    size, device = (height - 2 * SHIFT_PX, width - 2 * SHIFT_PX), padded.device
    mirrored = torch.rand(count, device=device) < 0.5
    images = torch.where(mirrored[:, None, None, None], padded.flip(3), padded)
    shifts = torch.randint(2 * SHIFT_PX + 1, (2, count), device=device)
    cropped = padded.new_empty(count, channels, *size)
    for row in range(2 * SHIFT_PX + 1):
        for column in range(2 * SHIFT_PX + 1):
            here = (shifts[0] == row) & (shifts[1] == column)
            cropped[here] = images[here, :, row : row + size[0], column : column + size[1]]
    for index in torch.randperm(count, device=device).split(BATCH):
        yield cropped[index], labels[index]


def with_kornia(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    views = kornia.AugmentationSequential(
        kornia.RandomHorizontalFlip(), kornia.RandomCrop((32, 32), padding=SHIFT_PX, padding_mode="reflect")
    )
    for index in torch.randperm(len(images), device=images.device).split(BATCH):
        yield views(images[index].float() / 255), labels[index]
