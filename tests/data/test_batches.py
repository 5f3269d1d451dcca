"""Batches from memory. The label of an image is its index, so labels identify the images of a batch."""

from itertools import chain

import numpy as np
import pytest
import torch

from cifar10.data.augment import RandomAugmentation
from cifar10.data.batches import EvalBatches, TrainBatches, epoch_order

IMAGES = torch.randint(256, (23, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def train_batches(count: int = 23, batch_size: int = 5, position: tuple[int, int] = (0, 0), **others):
    images, labels = IMAGES[:count], torch.arange(count)
    return TrainBatches(images, labels, batch_size, 7, lambda: position[0], position=position, **others)


def eval_batches(count: int = 23, batch_size: int = 5, **ranks: int) -> EvalBatches:
    return EvalBatches(IMAGES[:count], torch.arange(count), batch_size, **ranks)


def indices(batches) -> list[list[int]]:
    """Returns the indices of the images in each batch; asserts that labels and images match."""
    found = list(batches)
    for images, labels in found:
        assert torch.equal(images, IMAGES[labels])
    return [labels.tolist() for _, labels in found]


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_epoch_order_is_a_permutation(count):
    order = epoch_order(count, seed=3, epoch=4)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(count))


def test_epoch_order_depends_only_on_seed_and_epoch():
    first = epoch_order(100, seed=3, epoch=4)
    torch.manual_seed(1)
    np.random.seed(1)
    epoch_order(100, seed=5, epoch=0)
    assert torch.equal(epoch_order(100, seed=3, epoch=4), first)


def test_epoch_order_does_not_change_global_generators():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    epoch_order(100, seed=3, epoch=4)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_epoch_order_differs_between_seeds_and_epochs():
    orders = {tuple(epoch_order(100, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100  # (1, 2) differs from (2, 1)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("batch_size", [5, 8])
def test_augmentation_is_independent_of_batch_and_world_size(batch_size, world_size):
    augmentation = RandomAugmentation(flip=True, shift_px=1)
    expected = augmentation(IMAGES, augmentation.sample(23, 7, 3))
    found = torch.zeros_like(IMAGES)
    for rank in range(world_size):
        for images, labels in train_batches(
            batch_size=batch_size, position=(3, 0), augmentation=augmentation, rank=rank, world_size=world_size
        ):
            found[labels] = images
    assert torch.equal(found, expected)
    assert not torch.equal(found, IMAGES)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(20, 5, [5] * 4), (23, 5, [5, 5, 5, 5, 3]), (3, 5, [3]), (3, 1, [1] * 3), (21, 5, [5, 5, 5, 6])],
)
def test_epoch_has_every_image_once(count, batch_size, sizes):
    batches = train_batches(count, batch_size)
    found = indices(batches)
    assert [len(batch) for batch in found] == sizes
    assert len(batches) == len(sizes)
    assert sorted(chain(*found)) == list(range(count))


def test_batches_follow_epoch_order():
    order = epoch_order(23, seed=7, epoch=6).tolist()
    assert indices(train_batches(position=(6, 0))) == [order[i : i + 5] for i in range(0, 23, 5)]


def test_epoch_is_read_at_each_iteration():
    epochs = iter([0, 1])
    batches = TrainBatches(IMAGES, torch.arange(23), 5, 7, lambda: next(epochs))
    assert [indices(batches), indices(batches)] == [indices(train_batches(position=(epoch, 0))) for epoch in (0, 1)]


@pytest.mark.parametrize("done", [1, 4, 5])
def test_resumed_epoch_continues_with_next_batch(done):
    assert indices(train_batches(position=(2, done))) == indices(train_batches(position=(2, 0)))[done:]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", [20, 23])
def test_ranks_partition_each_batch_of_single_process(count, world_size):
    single = indices(train_batches(count))
    ranks = [train_batches(count, rank=rank, world_size=world_size) for rank in range(world_size)]
    shares = [indices(rank) for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(single)] * world_size
    for batch, *parts in zip(single, *shares, strict=True):
        assert sorted(chain(*parts)) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_every_rank_has_images_in_every_batch():
    ranks = [train_batches(21, rank=rank, world_size=2) for rank in range(2)]  # one image remains for the last batch
    assert all(batch for rank in ranks for batch in indices(rank))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(20, 5, [5] * 4), (23, 5, [5, 5, 5, 5, 3]), (3, 5, [3]), (3, 1, [1] * 3)]
)
def test_evaluation_has_every_image_in_order(count, batch_size, sizes):
    batches = eval_batches(count, batch_size)
    found = indices(batches)
    assert [len(batch) for batch in found] == sizes
    assert len(batches) == len(sizes)
    assert list(chain(*found)) == list(range(count))


@pytest.mark.parametrize("count", [23, 20, 2])  # 2 images for 3 ranks: one rank has none
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_evaluate_every_image_once_in_order(count, world_size):
    ranks = [eval_batches(count, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert [number for rank in ranks for batch in indices(rank) for number in batch] == list(range(count))
    assert [len(rank) for rank in ranks] == [len(indices(rank)) for rank in ranks]


def test_evaluation_batches_are_views():
    batches = eval_batches()
    assert [images.data_ptr() for images, _ in batches] == [IMAGES[i:].data_ptr() for i in range(0, 23, 5)]
