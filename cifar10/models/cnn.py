"""The convolutional network: 64-128-128-256-256 filters of 3 x 3 between three poolings, then 128-64-10."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar10.models.classifier import CIFAR10_CLASSES, to_unit
from cifar10.models.network import Network, dense


class CNN(Network):
    """The study's third model: five convolutions, each seeing a little of the image, then three fully connected layers.

    For ten classes it has 1,641,802 parameters.
    See `Classifier` for shapes, `Network` for the settings that both networks have.
    Input is standardised per pixel position and channel with the training split's mean and standard deviation.
    These are buffers, (3, 32, 32) in units of [0, 1], so that a checkpoint works on raw images by itself.
    batch_norm: normalise after each convolution (or its pooling) and each hidden dense layer, which lose their bias.
    whitening_init: the first convolution begins with filters that whiten patches of the first 5,000 training images,
    each with its negative, the others with the identity on as many channels as came in; see `whitening_filters`.
    """

    def __init__(
        self,
        class_names: Sequence[str] = CIFAR10_CLASSES,
        batch_norm: bool = False,
        whitening_init: bool = False,
        **kwargs: Any,
    ) -> None:
        layers = nn.Sequential(
            *_convolution(3, 64, batch_norm, pool=True),
            *_convolution(64, 128, batch_norm),
            *_convolution(128, 128, batch_norm, pool=True),
            *_convolution(128, 256, batch_norm),
            *_convolution(256, 256, batch_norm, pool=True),
            nn.Flatten(),
            *dense(256 * 4 * 4, 128, nn.ReLU, batch_norm),
            *dense(128, 64, nn.ReLU, batch_norm),
            nn.Linear(64, len(class_names)),
        )
        super().__init__(class_names, layers, **kwargs)
        self.save_hyperparameters(logger=False)
        self.whitening_init = whitening_init
        self.register_buffer("mean", torch.zeros(3, 32, 32))
        self.register_buffer("std", torch.ones(3, 32, 32))
        # Convolutions on CPU and on tensor cores run faster with the channels innermost.
        self.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        images = self.trainer.datamodule.train_images
        mean, std = pixel_statistics(images)
        self.mean.copy_(mean)
        self.std.copy_(std)
        if (
            self.whitening_init
        ):  # still on the CPU: Lightning moves a module after its setup, though `device` tells otherwise
            first, *others = (layer for layer in self.layers if isinstance(layer, nn.Conv2d))
            with torch.no_grad():
                first.weight[:54] = whitening_filters(self.scale(images[:5000].to(self.mean.device)))
                for convolution in others:
                    nn.init.dirac_(convolution.weight[: convolution.in_channels])

    def scale(self, images: Tensor) -> Tensor:
        standardised = (to_unit(images) - self.mean) / self.std
        return standardised.contiguous(memory_format=torch.channels_last)


def whitening_filters(images: Tensor) -> Tensor:
    """54 filters (54, 3, 3, 3): the whitened principal components of the images' 3 x 3 patches, then their negatives.

    images: (N, 3, H, W) float, standardised. An idea of Page ("How to train your ResNet 8: bag of tricks", 2019).
    """
    patches = F.unfold(images, 3).transpose(1, 2).reshape(-1, 27)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 1e-2).sqrt()).T.reshape(27, 3, 3, 3)
    return torch.cat([filters, -filters])


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each pixel position and channel over all images.

    images: (N, 3, 32, 32) uint8. Returns two (3, 32, 32) float32 in units of [0, 1]; a position that never changes
    gets a deviation of one grey level. Sums are of integers, so exact and the same on every device.
    """
    total = torch.zeros(images.shape[1:], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for block in images.split(256):  # 256 squares of 255 are less than 2^24: exact in float32, and faster than in int64
        values = block.float()
        total += values.sum(0).cpu()  # not every accelerator has float64
        squares += values.square().sum(0).cpu()
    mean = total / len(images)
    std = (squares / len(images) - mean.square()).clamp(min=0).sqrt()
    return (mean / 255).float(), (torch.where(std > 0, std, 1.0) / 255).float()


def _convolution(channels_in: int, channels_out: int, batch_norm: bool, pool: bool = False) -> Iterator[nn.Module]:
    """A convolution and what follows it, up to its ReLU.

    The study pools after the ReLU; both keep order, so pooling first gives the same values and gradients to the bit,
    and leaves a quarter of the work to the ReLU. Batch normalisation, where there is one, sees what was pooled.
    """
    yield nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=not batch_norm)
    if pool:
        yield nn.MaxPool2d(2)
    if batch_norm:
        yield nn.BatchNorm2d(channels_out)
    yield nn.ReLU()
