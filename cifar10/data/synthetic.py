"""Synthetic images, for runs without a download."""

from typing import Annotated, Any

from annotated_types import Interval

from cifar10.data.datamodule import ImageData, ImageSet
from cifar10.data.scenes import CLASS_NAMES, make_images


class SyntheticData(ImageData):
    """Synthetic images of ten classes, seeded by `data_seed`; `train_size` includes the validation images."""

    name = "synthetic"

    def __init__(
        self,
        train_size: Annotated[int, Interval(gt=1, le=1_000_000)] = 3600,
        test_size: Annotated[int, Interval(gt=0, le=1_000_000)] = 2000,
        data_seed: Annotated[int, Interval(ge=0, lt=2**31)] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.train_size, self.test_size, self.data_seed = train_size, test_size, data_seed

    def read(self) -> ImageSet:
        train = make_images(self.train_size, 2 * self.data_seed)
        return ImageSet(*train, *make_images(self.test_size, 2 * self.data_seed + 1), list(CLASS_NAMES))
