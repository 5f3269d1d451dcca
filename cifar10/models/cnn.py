"""The convolutional network: 64-128-128-256-256 filters of 3 x 3 between three poolings, then 128-64-10."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cifar10.models.base import CIFAR10_CLASSES, Rate, to_unit
from cifar10.models.network import Network


class CNN(Network):
    """The study's third model, 1,641,802 parameters for ten classes; see `Classifier` for shapes.

    Input is standardised per pixel position and channel with the training split's mean and standard deviation.
    These are buffers, (3, 32, 32) in units of [0, 1], so that a checkpoint works on raw images by itself.
    """

    def __init__(self, class_names: Sequence[str] = CIFAR10_CLASSES, learning_rate: Rate = 1e-3) -> None:
        layers = nn.Sequential(
            *_convolution(3, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 128),
            *_convolution(128, 128),
            nn.MaxPool2d(2),
            *_convolution(128, 256),
            *_convolution(256, 256),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256 * 4 * 4, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, len(class_names)),
        )
        super().__init__(class_names, layers, learning_rate)
        self.save_hyperparameters(logger=False)
        self.register_buffer("mean", torch.zeros(3, 32, 32))
        self.register_buffer("std", torch.ones(3, 32, 32))
        # Convolutions on CPU and on tensor cores run faster with the channels innermost.
        self.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            mean, std = pixel_statistics(self.trainer.datamodule.train_images)
            self.mean.copy_(mean)
            self.std.copy_(std)

    def scale(self, images: Tensor) -> Tensor:
        standardised = (to_unit(images) - self.mean) / self.std
        return standardised.contiguous(memory_format=torch.channels_last)


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each pixel position and channel over all images.

    images: (N, 3, 32, 32) uint8. Returns two (3, 32, 32) float32 in units of [0, 1]; a position that never changes
    gets a deviation of one grey level. Sums are of integers, so exact and the same on every device.
    """
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for block in images.split(5000):
        total += block.sum(0, dtype=torch.int64).cpu()  # not every accelerator has the float64 that follows
        squares += block.int().square().sum(0, dtype=torch.int64).cpu()
    mean = total.double() / len(images)
    std = (squares.double() / len(images) - mean.square()).clamp(min=0).sqrt()
    return (mean / 255).float(), (torch.where(std > 0, std, 1.0) / 255).float()


def _convolution(channels_in: int, channels_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU()
