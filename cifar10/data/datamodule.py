"""Base LightningDataModule of all data sets: reads the images into memory once, splits them, returns batches."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Gt, Interval
from lightning import LightningDataModule
from torch import Tensor

from cifar10.data.augment import RandomAugmentation
from cifar10.data.batches import EvalBatches, TrainBatches, eval_batch_size
from cifar10.errors import UserError

Pixels = Annotated[int, Interval(ge=0, le=16)]
ValSize = Annotated[int, Gt(0)] | Annotated[float, Interval(gt=0, lt=1)]


class ImageSet(NamedTuple):
    """Data set in memory. Images: (N, 3, 32, 32) uint8 RGB; labels: (N,) int64 indices into `class_names`.

    Without validation images, `ImageData` splits the training images.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: list[str]
    val_images: Tensor | None = None
    val_labels: Tensor | None = None

    def checksum(self) -> str:
        """Returns the SHA-256 over the class names and the images and labels of all splits, hexadecimal."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for tensor in self:
            if isinstance(tensor, Tensor):
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


class ImageData(LightningDataModule):
    """Base class of the data sets. Subclasses implement `read`, and `prepare_data` if they download.

    batch_size: images per optimizer step, over all ranks. eval_batch_size: images per validation or test batch;
    None chooses by device. val_size: validation images, as a number or as a fraction of the training images. val_split:
    `first` takes the first images, as in the study; `stratified` samples each class in proportion, seeded by val_seed.
    random_flip, random_shift_px, cutout_px: see `RandomAugmentation`. seed: seeds the training order and the
    augmentation.
    """

    name: str  # value of `data` in results

    def __init__(
        self,
        batch_size: Annotated[int, Gt(0)] = 32,
        eval_batch_size: Annotated[int, Gt(0)] | None = None,
        val_size: ValSize = 1000,
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
        self.train_batches: TrainBatches | None = None
        self.position = 0, 0  # of `TrainBatches`, where training starts

    def read(self) -> ImageSet:
        """Returns the whole data set on the CPU. Raises UserError if it cannot be read."""
        raise NotImplementedError

    def compute_fingerprint(self) -> str | None:
        """Returns a hash of the names and sizes of the image files, without reading them; None for fixed data sets."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Reads and splits the data, once; moves it to the device of the Trainer, if there is one."""
        self.position = 0, 0
        if not self.class_names:
            images = self.read()
            self.class_names, self.checksum = images.class_names, images.checksum()
            self.fingerprint = self.compute_fingerprint()
            self.train_images, self.train_labels = images.train_images, images.train_labels
            self.test_images, self.test_labels = images.test_images, images.test_labels
            if images.val_images is None or images.val_labels is None:
                self._split_train_images()
            else:
                self.val_images, self.val_labels = images.val_images, images.val_labels
        if self.trainer is not None:
            for part in [f"{split}_{kind}" for split in ("train", "val", "test") for kind in ("images", "labels")]:
                setattr(self, part, getattr(self, part).to(self.trainer.strategy.root_device))

    def _split_train_images(self) -> None:
        images, labels = self.train_images, self.train_labels
        val_size = int(self.val_size) if self.val_size >= 1 else max(round(self.val_size * len(labels)), 1)
        if val_size >= len(labels):
            raise UserError(
                f"data.val_size={self.val_size} leaves 0 of {len(labels)} images for training; choose a smaller one"
            )
        val: slice | Tensor = slice(val_size)
        train: slice | Tensor = slice(val_size, None)  # views: no copy of all images
        if self.val_split == "stratified":
            val = torch.zeros(len(labels), dtype=torch.bool)
            val[self._stratified(labels, val_size)] = True
            train = ~val
        self.train_images, self.train_labels = images[train], labels[train]
        self.val_images, self.val_labels = images[val], labels[val]

    def _stratified(self, labels: Tensor, val_size: int) -> Tensor:
        """Returns `val_size` random indices, int64; each class in proportion, to within one image."""
        per_class = labels.bincount()
        share = val_size * per_class.double() / len(labels)
        take = share.long()
        largest_remainders = (share - take).argsort(descending=True, stable=True)
        take[largest_remainders[: val_size - int(take.sum())]] += 1

        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(self.val_seed))
        return torch.cat([shuffled[labels[shuffled] == label][:count] for label, count in enumerate(take.tolist())])

    def train_dataloader(self) -> TrainBatches:
        assert self.trainer is not None
        trainer = self.trainer
        settings: dict[str, Any] = {"augmentation": self.augmentation, "position": self.position, **self._shard()}
        self.train_batches = TrainBatches(
            self.train_images, self.train_labels, self.batch_size, self.seed, lambda: trainer.current_epoch, **settings
        )
        return self.train_batches

    def val_dataloader(self) -> EvalBatches:
        return self._eval_batches(self.val_images, self.val_labels)

    def test_dataloader(self) -> EvalBatches:
        return self._eval_batches(self.test_images, self.test_labels)

    def _eval_batches(self, images: Tensor, labels: Tensor) -> EvalBatches:
        batch_size = self.eval_batch_size or eval_batch_size(images.device)
        return EvalBatches(images, labels, batch_size, **self._shard())

    def _shard(self) -> dict[str, int]:
        """Returns rank and world size. Raises UserError if a rank would have no images."""
        assert self.trainer is not None
        world_size = self.trainer.world_size
        if min(self.batch_size, len(self.val_labels), len(self.test_labels)) < world_size:
            raise UserError(
                f"world_size={world_size} exceeds batch_size={self.batch_size}, {len(self.val_labels)} validation or "
                f"{len(self.test_labels)} test images; use fewer processes with trainer.devices=N"
            )
        return {"rank": self.trainer.global_rank, "world_size": world_size}

    def state_dict(self) -> dict[str, Any]:
        epoch, batches = self.train_batches.position if self.train_batches else self.position
        return {"checksum": self.checksum, "epoch": epoch, "batches": batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "epoch" not in state_dict:
            raise UserError("an earlier version of this project saved the checkpoint; start over with overwrite=true")
        if state_dict["checksum"] != self.checksum:
            raise UserError(
                f"data={self.name} differs from the data set that the checkpoint was trained on; "
                "restore the data set, or start over with overwrite=true"
            )
        self.position = state_dict["epoch"], state_dict["batches"]


def root_path(root: str) -> Path:
    """Returns the path with `~` expanded. Raises UserError for an empty one, which would name the current folder."""
    if not root.strip():
        raise UserError(f"data.root={root!r}: expected a folder; set data.root=PATH, CIFAR10_ROOT or CIFAR100_ROOT")
    return Path(root).expanduser()
