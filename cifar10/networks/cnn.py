"""Convolutional network: 3 x 3 convolutions (64-128-128-256-256) with three max poolings, then 128-64-10."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar10.networks.base import to_unit
from cifar10.networks.feed_forward import FeedForwardNetwork, dense


class CNNNetwork(FeedForwardNetwork):
    """Network of five convolutions and three fully connected layers: 1,641,802 parameters for ten classes.

    The input is standardized per pixel position and channel. The mean and standard deviation of the training images are
    buffers, (3, 32, 32) in units of [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("mean", torch.zeros(3, 32, 32))
        self.register_buffer("std", torch.ones(3, 32, 32))
        self.to(memory_format=torch.channels_last)  # faster on CPUs and tensor cores

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        result = super().load_state_dict(*args, **kwargs)
        self.to(memory_format=torch.channels_last)  # weights that are assigned may have another format
        return result

    def make_layers(self, classes: int, batch_norm: bool) -> nn.Sequential:
        return nn.Sequential(
            *_convolution(3, 64, batch_norm, pool=True),
            *_convolution(64, 128, batch_norm),
            *_convolution(128, 128, batch_norm, pool=True),
            *_convolution(128, 256, batch_norm),
            *_convolution(256, 256, batch_norm, pool=True),
            nn.Flatten(),
            *dense(256 * 4 * 4, 128, nn.ReLU, batch_norm),
            *dense(128, 64, nn.ReLU, batch_norm),
            nn.Linear(64, classes),
        )

    def normalize(self, images: Tensor) -> Tensor:
        return ((to_unit(images) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def fit_normalization(self, images: Tensor) -> None:
        """Sets the mean and standard deviation from training images (N, 3, 32, 32) uint8."""
        for buffer, value in zip((self.mean, self.std), pixel_statistics(images), strict=True):
            buffer.copy_(value)

    @torch.no_grad()
    def init_whitening(self, images: Tensor) -> None:
        """Initializes the first 54 filters to whiten image patches, and the other convolutions to the identity.

        images: (N, 3, 32, 32) uint8. Output channels beyond the number of input channels keep their random weights.
        """
        first, *others = (layer for layer in self.layers if isinstance(layer, nn.Conv2d))
        first.weight[:54] = whitening_filters(self.normalize(images.to(self.mean.device)))
        for convolution in others:
            nn.init.dirac_(convolution.weight[: convolution.in_channels])


def whitening_filters(images: Tensor) -> Tensor:
    """Returns 54 filters (54, 3, 3, 3): the whitened principal components of 3 x 3 patches, then their negatives.

    images: (N, 3, H, W) float, standardized. Source: Page, "How to train your ResNet 8: bag of tricks" (2019).
    """
    patches = F.unfold(images, 3).transpose(1, 2).reshape(-1, 27)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 1e-2).sqrt()).T.reshape(27, 3, 3, 3)
    return torch.cat([filters, -filters])


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and population standard deviation of each pixel and channel, (3, 32, 32) in units of [0, 1].

    images: (N, 3, 32, 32) uint8. The standard deviation of a constant pixel is one gray level. Sums of integers are
    exact, and the same on every device.
    """
    total = torch.zeros(images.shape[1:], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for block in images.split(256):  # 256 * 255^2 < 2^24: exact in float32, which is faster than int64
        values = block.float()
        total += values.sum(0).cpu()  # not every accelerator has float64
        squares += values.square().sum(0).cpu()
    mean = total / len(images)
    std = (squares / len(images) - mean.square()).clamp(min=0).sqrt()
    return (mean / 255).float(), (torch.where(std > 0, std, 1.0) / 255).float()


def _convolution(channels_in: int, channels_out: int, batch_norm: bool, pool: bool = False) -> Iterator[nn.Module]:
    """Yields a convolution and the modules up to its ReLU.

    The study pools after the ReLU. Pooling first is bit-identical in values and gradients, since both are monotonic.
    It divides the size of the ReLU's input by four.
    """
    yield nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=not batch_norm)
    if pool:
        yield nn.MaxPool2d(2)
    if batch_norm:
        yield nn.BatchNorm2d(channels_out)
    yield nn.ReLU()
