"""Splits, checksum and batches of the data module."""

import hashlib
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import LightningModule

from cifar10.data.batches import eval_batch_size
from cifar10.errors import UserError

BALANCED = [i % 10 for i in range(200)]
IMBALANCED = [0] * 120 + [1] * 50 + [2] * 30
ONE_LARGE_CLASS = [0] * 910 + list(range(1, 10)) * 10


class Recorder(LightningModule):
    """Records labels and images of training and validation; has no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.train_epochs: list[list[int]] = []
        self.images: dict[int, torch.Tensor] = {}
        self.val_labels: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.train_epochs.append([])

    def training_step(self, batch, batch_idx) -> None:
        self.train_epochs[-1] += batch[1].tolist()
        self.images |= dict(zip(batch[1].tolist(), batch[0], strict=True))

    def validation_step(self, batch, batch_idx) -> None:
        self.val_labels += batch[1].tolist()

    def configure_optimizers(self) -> None:
        return None


def labels_of(data) -> tuple[list[int], list[int]]:
    data.setup()
    return data.train_labels.tolist(), data.val_labels.tolist()


def sorted_images(data) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in torch.cat([data.train_images, data.val_images]))


def test_first_split_takes_first_images(random_data):
    data = random_data(range(50), val_size=8)
    assert labels_of(data) == (list(range(8, 50)), list(range(8)))
    images = data.read().train_images
    assert torch.equal(data.val_images, images[:8])
    assert torch.equal(data.train_images, images[8:])


@pytest.mark.parametrize("split", ["first", "stratified"])
@pytest.mark.parametrize("val_size", [1, 33, 199])
def test_splits_are_disjoint_and_complete(random_data, split, val_size):
    data = random_data(BALANCED, val_size=val_size, val_split=split)
    data.setup()
    assert (len(data.train_labels), len(data.val_labels)) == (200 - val_size, val_size)
    assert sorted_images(data) == sorted(image.numpy().tobytes() for image in data.read().train_images)


@pytest.mark.parametrize("split", ["first", "stratified"])
def test_images_keep_their_labels(random_data, split):
    data = random_data(range(50), val_size=20, val_split=split)
    data.setup()
    images = data.read().train_images
    for part, labels in ((data.train_images, data.train_labels), (data.val_images, data.val_labels)):
        assert torch.equal(part, images[labels])


@pytest.mark.parametrize(
    ("labels", "val_size"),
    [(labels, size) for labels in (BALANCED, IMBALANCED) for size in (10, 33, 150)] + [(ONE_LARGE_CLASS, 54)],
)
def test_stratified_split_has_each_class_in_proportion(random_data, labels, val_size):
    _, validation = labels_of(random_data(labels, val_size=val_size, val_split="stratified"))
    for label, count in Counter(labels).items():
        assert abs(validation.count(label) - val_size * count / len(labels)) <= 1


def test_stratified_split_depends_only_on_val_seed(random_data):
    def validation(**seeds: int) -> list[int]:
        torch.manual_seed(len(seeds))
        data = random_data(BALANCED, val_size=50, val_split="stratified", **seeds)
        data.setup()
        return data.val_images.tolist()

    assert validation(val_seed=3) == validation(val_seed=3, seed=9)
    assert validation(val_seed=3) != validation(val_seed=4)


@pytest.mark.parametrize(("share", "validation"), [(0.1, 20), (0.333, 67), (0.0001, 1)])
def test_val_size_can_be_a_share(random_data, share, validation):
    data = random_data(BALANCED, val_size=share)
    data.setup()
    assert (len(data.train_labels), len(data.val_labels)) == (200 - validation, validation)


def test_more_ranks_than_images_raise_user_error(random_data):
    data = random_data(BALANCED, val_size=20, batch_size=2)
    data.setup()
    data.trainer = SimpleNamespace(world_size=3, global_rank=0, fit_loop=None)
    with pytest.raises(UserError, match=r"world_size=3 .* batch_size=2, 20 validation .* trainer.devices=N"):
        data.train_dataloader()


@pytest.mark.parametrize("val_size", [20, 21])
def test_too_large_val_size_raises_user_error(random_data, val_size):
    with pytest.raises(UserError, match=rf"data\.val_size={val_size} leaves 0 of 20 images"):
        random_data([0, 1] * 10, val_size=val_size).setup()


def test_checksum_is_sha256_over_names_images_and_labels(random_data):
    images = random_data(BALANCED).read()
    names = json.dumps(images.class_names).encode()
    digest = hashlib.sha256(names + b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in images[:4]))
    assert images.checksum() == digest.hexdigest()


def test_checksum_is_independent_of_memory_layout(random_data):
    images = random_data(BALANCED).read()
    other = images._replace(train_images=images.train_images.contiguous(memory_format=torch.channels_last))
    assert other.checksum() == images.checksum()


@pytest.mark.parametrize("part", ["train_images", "train_labels", "test_images", "test_labels"])
def test_checksum_changes_with_one_value(random_data, part):
    images = random_data(BALANCED).read()
    changed = getattr(images, part).clone()
    changed.view(-1)[-1] += 1
    assert images._replace(**{part: changed}).checksum() != images.checksum()


def test_checksum_changes_with_a_class_name(random_data):
    images = random_data(BALANCED).read()
    assert images._replace(class_names=[*images.class_names[:-1], "other"]).checksum() != images.checksum()


def test_checkpoint_of_same_images_is_accepted(random_data):
    data, again = random_data(BALANCED, val_size=10), random_data(BALANCED, val_size=20)
    data.setup()
    again.setup()
    assert data.state_dict() == {"checksum": data.read().checksum(), "epoch": 0, "batches": 0}
    again.load_state_dict(data.state_dict())


def test_checkpoint_of_earlier_version_raises_user_error(random_data):
    data = random_data(BALANCED, val_size=10)
    data.setup()
    with pytest.raises(UserError, match=r"earlier version.*overwrite=true"):
        data.load_state_dict({"checksum": data.checksum})


def test_trainer_gets_each_training_image_once_per_epoch(random_data, quiet_trainer):
    data, model = random_data(range(50), val_size=7, batch_size=8), Recorder()
    quiet_trainer(max_epochs=3, num_sanity_val_steps=0).fit(model, data)
    assert [sorted(epoch) for epoch in model.train_epochs] == [list(range(7, 50))] * 3
    assert len({tuple(epoch) for epoch in model.train_epochs}) == 3  # each epoch in a different order
    assert model.val_labels == list(range(7)) * 3
    images = data.read().train_images
    assert all(torch.equal(image, images[label]) for label, image in model.images.items())


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_seed_determines_training_order(random_data, quiet_trainer, seed, same):
    def order(**settings: int) -> list[list[int]]:
        model = Recorder()
        quiet_trainer(num_sanity_val_steps=0).fit(model, random_data(range(50), val_size=7, **settings))
        return model.train_epochs

    assert (order(seed=seed) == order(seed=1)) is same


@pytest.mark.parametrize(("size", "expected"), [(None, 125), (7, 7)])
def test_eval_batch_size_is_chosen_by_device_unless_set(size, expected, random_data, quiet_trainer):
    data = random_data([0, 1] * 10, val_size=4, eval_batch_size=size)
    data.trainer = quiet_trainer()
    data.setup()
    assert (data.val_dataloader().batch_size, data.test_dataloader().batch_size) == (expected, expected)
    assert eval_batch_size(torch.device("cuda")) == 500
