"""What tests of several modules need. PyTorch is imported only by those that ask: the download needs none."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest


@pytest.fixture(scope="session")
def random_data() -> Callable[..., Any]:
    """Builds an ImageData in memory: random training images with these labels, 12 random test images."""
    import torch

    from cifar10.data.module import ImageData, ImageSet

    class RandomImages(ImageData):
        name = "random"

        def __init__(self, labels: Sequence[int], **settings: Any) -> None:
            super().__init__(**settings)
            self.labels = torch.tensor(labels)

        def read(self) -> ImageSet:
            generator = torch.Generator().manual_seed(0)
            train, test = (
                torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
                for count in (len(self.labels), 12)
            )
            classes = int(self.labels.max()) + 1
            names = [f"class {label}" for label in range(classes)]
            return ImageSet(train, self.labels, test, torch.arange(12) % classes, names)

    return RandomImages


@pytest.fixture(scope="session")
def quiet_trainer() -> Callable[..., Any]:
    """Builds a Trainer on the CPU that writes and shows nothing, of one epoch unless told otherwise."""
    from lightning import Trainer

    def make(**settings: Any) -> Trainer:
        quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        return Trainer(accelerator="cpu", **{"max_epochs": 1, **dict.fromkeys(quiet, False), **settings})

    return make


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips the test where no kernels can be made."""
    import torch

    from cifar10.compiled import can_compile

    if not can_compile(torch.rand(4, 3, 8, 8), "cie76"):
        pytest.skip("no kernel can be made here")
