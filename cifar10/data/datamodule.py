"""The LightningDataModule of all data sets: reads once, keeps one uint8 tensor, splits, returns batches."""

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
    """Base class. Subclasses implement `read`, and `prepare_data` to download.

    batch_size: images per optimizer step, over all ranks. eval_batch_size: images per batch of validation and test.
    val_size: the number or share of the training images to validate on. val_split: the `first` ones, as in the study,
    or `stratified`: random by val_seed, each class in proportion. random_flip, random_shift_px, cutout_px: see
    `RandomAugmentation`. seed: of the training order and the augmentation.
    """

    name: str  # of the data set in results

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
        self.position = 0, 0  # (epoch, batches of it trained on); Lightning counts calls of training_step instead

    def read(self) -> ImageSet:
        """Returns the whole data set, on the CPU. Raises UserError if it cannot be read."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Reads and splits the data, once; moves it to the device of the Trainer, if there is one."""
        if not self.class_names:
            images = self.read()
            self.class_names, self.checksum = images.class_names, images.checksum()
            validation = self._validation(images.train_labels)
            self.train_images, self.val_images = images.train_images[~validation], images.train_images[validation]
            self.train_labels, self.val_labels = images.train_labels[~validation], images.train_labels[validation]
            self.test_images, self.test_labels = images.test_images, images.test_labels
        if self.trainer is not None:
            for split in ("train", "val", "test"):
                for part in (f"{split}_images", f"{split}_labels"):
                    setattr(self, part, getattr(self, part).to(self.trainer.strategy.root_device))

    def _validation(self, labels: Tensor) -> Tensor:
        """Returns the mask of the validation images, (N,) bool."""
        val_size = int(self.val_size) if self.val_size >= 1 else max(round(self.val_size * len(labels)), 1)
        if val_size >= len(labels):
            raise UserError(
                f"data.val_size={self.val_size} leaves no image to train on, of {len(labels)}; choose a smaller one"
            )
        validation = torch.zeros(len(labels), dtype=torch.bool)
        validation[self._stratified(labels, val_size) if self.val_split == "stratified" else slice(val_size)] = True
        return validation

    def _stratified(self, labels: Tensor, val_size: int) -> Tensor:
        """Returns `val_size` random positions, int64, each class in proportion to within one image."""
        per_class = labels.bincount()
        share = val_size * per_class.double() / len(labels)
        take = share.long()
        largest_remainders = (share - take).argsort(descending=True, stable=True)
        take[largest_remainders[: val_size - int(take.sum())]] += 1

        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(self.val_seed))
        return torch.cat([shuffled[labels[shuffled] == label][:count] for label, count in enumerate(take.tolist())])

    def train_dataloader(self) -> TrainBatches:
        assert self.trainer is not None
        loop = self.trainer.fit_loop

        def position() -> tuple[int, int]:
            done: Any = loop.epoch_progress.current  # its declared type is a base class without `processed`
            epoch, batches = self.position
            return done.processed, batches if epoch == done.processed else 0

        def record(position: tuple[int, int]) -> None:
            self.position = position

        images, labels, shard = self.train_images, self.train_labels, self._shard()
        return TrainBatches(images, labels, self.batch_size, self.seed, position, record, self.augmentation, **shard)

    def val_dataloader(self) -> EvalBatches:
        return EvalBatches(self.val_images, self.val_labels, self.eval_batch_size, **self._shard())

    def test_dataloader(self) -> EvalBatches:
        return EvalBatches(self.test_images, self.test_labels, self.eval_batch_size, **self._shard())

    def _shard(self) -> dict[str, int]:
        """Returns this process's part of each batch. Raises UserError if a process would have no images."""
        assert self.trainer is not None
        world_size = self.trainer.world_size
        if min(self.batch_size, len(self.val_labels), len(self.test_labels)) < world_size:
            raise UserError(
                f"{world_size} processes need as many images: batch_size={self.batch_size}, {len(self.val_labels)} "
                f"validation and {len(self.test_labels)} test images; use fewer processes with trainer.devices=N"
            )
        return {"rank": self.trainer.global_rank, "world_size": world_size}

    def state_dict(self) -> dict[str, Any]:
        return {"checksum": self.checksum, "position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["checksum"] != self.checksum:
            raise UserError(
                f"the images of data={self.name} are not those that the checkpoint was trained on; "
                "bring them back, or start over with overwrite=true"
            )
        if "position" not in state_dict:
            raise UserError("the checkpoint was saved by an earlier version; start over with overwrite=true")
        self.position = state_dict["position"]
