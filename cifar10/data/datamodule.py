"""The LightningDataModule that all data sets share: read once, keep as one uint8 tensor, split, hand out batches."""

import hashlib
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Gt, Interval
from lightning import LightningDataModule
from torch import Tensor

from cifar10.data.augment import Pixels, RandomAugmentation
from cifar10.data.batches import EvalBatches, TrainBatches
from cifar10.errors import UserError


class ImageSet(NamedTuple):
    """A data set in memory. Images: (N, 3, 32, 32) uint8 RGB; labels: (N,) int64 that index `class_names`."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: list[str]

    def checksum(self) -> str:
        """SHA-256 over the images and labels of both splits, hexadecimal."""
        digest = hashlib.sha256()
        for tensor in self[:4]:
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


class ImageData(LightningDataModule):
    """Subclasses implement `read`, and `prepare_data` where something must be downloaded first.

    batch_size: images per optimizer step, over all ranks. eval_batch_size: images per batch of validation and test.
    val_size: the number of validation images, taken from the training images, or their share. val_split: the `first`
    ones, as in the study, or a `stratified` choice: random by val_seed, each class in proportion. random_flip,
    random_shift_px, cutout_px: see `RandomAugmentation`. seed: of the training order and of the augmentation.
    """

    name: str
    """What results call the data set."""

    def __init__(
        self,
        batch_size: Annotated[int, Gt(0)] = 32,
        eval_batch_size: Annotated[int, Gt(0)] = 500,
        val_size: Annotated[int, Gt(0)] | Annotated[float, Interval(gt=0, lt=1)] = 1000,
        val_split: Literal["first", "stratified"] = "first",
        val_seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0,
        random_flip: bool = False,
        random_shift_px: Pixels = 0,
        cutout_px: Pixels = 0,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_size, self.val_split, self.val_seed = val_size, val_split, val_seed
        self.augmentation, self.seed = RandomAugmentation(random_flip, random_shift_px, cutout_px), seed
        self.class_names: list[str] = []

    def read(self) -> ImageSet:
        """The whole data set, on the CPU. Raises UserError when it cannot be read."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Reads and splits the data, once; moves it to the accelerator once a Trainer has chosen one."""
        if not self.class_names:
            images = self.read()
            self.class_names, self.checksum = images.class_names, images.checksum()
            validation = self._validation(images.train_labels)
            self.train_images, self.val_images = images.train_images[~validation], images.train_images[validation]
            self.train_labels, self.val_labels = images.train_labels[~validation], images.train_labels[validation]
            self.test_images, self.test_labels = images.test_images, images.test_labels
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            for split in ("train", "val", "test"):
                for part in (f"{split}_images", f"{split}_labels"):
                    setattr(self, part, getattr(self, part).to(device))

    def _validation(self, labels: Tensor) -> Tensor:
        """Returns the mask of the validation images, (N,) bool."""
        val_size = int(self.val_size) if self.val_size >= 1 else max(round(self.val_size * len(labels)), 1)
        if val_size >= len(labels):
            raise UserError(
                f"data.val_size={self.val_size} leaves nothing to train on: there are {len(labels)} training images; "
                "choose a smaller one"
            )
        validation = torch.zeros(len(labels), dtype=torch.bool)
        validation[self._stratified(labels, val_size) if self.val_split == "stratified" else slice(val_size)] = True
        return validation

    def _stratified(self, labels: Tensor, val_size: int) -> Tensor:
        """`val_size` random positions, int64, each class in proportion to within one image."""
        per_class = labels.bincount()
        share = val_size * per_class.double() / len(labels)
        take = share.long()
        largest_remainders = (share - take).argsort(descending=True, stable=True)
        take[largest_remainders[: val_size - int(take.sum())]] += 1

        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(self.val_seed))
        shuffled_labels = labels[shuffled]
        place = torch.nn.functional.one_hot(shuffled_labels).cumsum(0).gather(1, shuffled_labels[:, None]).squeeze(1)
        return shuffled[place <= take[shuffled_labels]]

    def train_dataloader(self) -> TrainBatches:
        assert self.trainer is not None
        loop = self.trainer.fit_loop

        def position() -> tuple[int, int]:
            done: Any = loop.epoch_progress.current  # its declared type is a base class without `processed`
            return done.processed, loop.epoch_loop.batch_progress.current.ready

        images, labels = self.train_images, self.train_labels
        return TrainBatches(images, labels, self.batch_size, self.seed, position, self.augmentation, **self._shard())

    def val_dataloader(self) -> EvalBatches:
        return EvalBatches(self.val_images, self.val_labels, self.eval_batch_size, **self._shard())

    def test_dataloader(self) -> EvalBatches:
        return EvalBatches(self.test_images, self.test_labels, self.eval_batch_size, **self._shard())

    def _shard(self) -> dict[str, int]:
        """Which part of each batch is this process's. Raises UserError where some process would have none."""
        assert self.trainer is not None
        ranks = self.trainer.world_size
        for what, count in {
            "batch_size": self.batch_size,
            "the number of validation images": len(self.val_labels),
            "the number of test images": len(self.test_labels),
        }.items():
            if count < ranks:
                raise UserError(
                    f"{what}, {count}, is less than the {ranks} processes; use fewer with trainer.devices=N"
                )
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def state_dict(self) -> dict[str, Any]:
        return {"checksum": self.checksum}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["checksum"] != self.checksum:
            raise UserError(
                f"the images of data={self.name} are not those that the checkpoint was trained on; "
                "bring them back, or start over with overwrite=true"
            )
