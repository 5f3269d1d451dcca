"""The official CIFAR-10 files, fetched when missing, checked before they are opened."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from cifar10.data.datamodule import ImageData, ImageSet
from cifar10.data.download import MIRRORS, ensure_cifar10
from cifar10.errors import UserError


class CIFAR10Data(ImageData):
    """CIFAR-10: 50,000 training and 10,000 test images in ten balanced classes.

    root: the folder that holds, or gets, `cifar-10-batches-py/`. mirrors: where the archive may be fetched, in order.
    Raises UserError where a file is not the official one or nothing can be fetched.
    """

    name = "cifar10"

    def __init__(self, root: str = "data", mirrors: Sequence[str] = MIRRORS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root, self.mirrors = Path(root), mirrors

    def prepare_data(self) -> None:
        ensure_cifar10(self.root, self.mirrors)

    def read(self) -> ImageSet:
        folder = self.root / CIFAR10.base_folder
        if not folder.exists():
            raise UserError(f"{folder} is not there; bring the files of CIFAR-10 back, or train on them again")
        files = (*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"]))
        for name, md5 in files:
            if not check_integrity(str(folder / name), md5):
                raise UserError(
                    f"{folder / name} is not the official file (its MD5 is not {md5}); "
                    f"delete {folder} and run again to get a whole copy"
                )
        return _images(self.root, tuple(md5 for _, md5 in files))


@lru_cache(maxsize=1)  # which the jobs of a sweep share
def _images(root: Path, md5: tuple[str, ...]) -> ImageSet:
    """What files of this content hold. md5: by which it is known that they are those of the last time."""
    train, test = CIFAR10(root, train=True), CIFAR10(root, train=False)
    return ImageSet(*_tensors(train), *_tensors(test), train.classes)


def _tensors(split: CIFAR10) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(split.targets)
