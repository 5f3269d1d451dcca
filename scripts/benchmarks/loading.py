"""Measures data loaders without training, in batches of 512.

Augmentations are random flips and shifts of up to 2 px. This project yields uint8 batches, the others float32.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

import torch
from kornia import augmentation as kornia
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.measure import Rows, interleaved, load_data, synchronize
from benchmarks.training import standard_loader
from cifar10.data.augment import RandomAugmentation
from cifar10.data.batches import TrainBatches
from cifar10.training.config import compose_settings
from cifar10.training.precision import best_device

BATCH_SIZE = 512
IMAGES, IMAGES_WITH_WORKERS = 40_000, 8192


def loading(data: str, rounds: int) -> dict[str, Rows]:
    images = load_data(compose_settings(f"data={data}"), at_least=IMAGES)
    pixels, labels = (part[:IMAGES].to(best_device()) for part in (images.train_images, images.train_labels))
    own = partial(TrainBatches, pixels, labels, BATCH_SIZE, 1, lambda: 0)
    augmented = [transforms.RandomCrop(32, padding=2, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
    loaders: dict[str, dict[str, Callable[[], Iterable[Any]]]] = {
        "as stored": {
            "this project": partial(own, RandomAugmentation()),
            "standard DataLoader baseline": partial(standard_loader, images, BATCH_SIZE),
        },
        "with augmentations": {
            "this project": partial(own, RandomAugmentation(flip=True, shift_px=2)),
            "standard DataLoader baseline": partial(standard_loader, images, BATCH_SIZE, *augmented),
            "Kornia on the batch": partial(with_kornia, pixels, labels),
        },
    }
    cells = {row: {name: partial(throughput, make) for name, make in one.items()} for row, one in loaders.items()}
    return {"images per second": interleaved(cells, rounds)}


def throughput(make: Callable[[], Iterable[Any]]) -> float:
    """Returns the images per second of one epoch.

    A DataLoader with workers is timed after its first batch, and on fewer images: starting the workers is not counted.
    """
    loader, limit = make(), IMAGES
    synchronize()
    start = perf_counter()
    batches = iter(loader)
    if isinstance(loader, DataLoader):
        next(batches)
        start, limit = perf_counter(), IMAGES_WITH_WORKERS
    count = sum(len(labels) for _, labels in islice(batches, -(-limit // BATCH_SIZE)))
    synchronize()
    return count / (perf_counter() - start)


def with_kornia(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields shuffled batches, augmented by Kornia: images (B, 3, 32, 32) in [0, 1] and labels (B,)."""
    augment = kornia.AugmentationSequential(
        kornia.RandomHorizontalFlip(), kornia.RandomCrop((32, 32), padding=2, padding_mode="reflect")
    )
    for index in torch.randperm(len(images), device=images.device).split(BATCH_SIZE):
        yield augment(images[index].float() / 255), labels[index]
