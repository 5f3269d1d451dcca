"""Compares random augmentation with padding, flipping and slicing by NumPy."""

import numpy as np
import pytest
import torch

from cifar10.data.augment import GRAY, RandomAugmentation, flip_and_shift

IMAGES = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def augmentation(count: int = 40, epoch: int = 0, seed: int = 1, **settings) -> tuple[RandomAugmentation, torch.Tensor]:
    random = RandomAugmentation(**settings)
    return random, random.sample(count, seed, epoch)


def windows(images: torch.Tensor, parameters: torch.Tensor, pad: int) -> np.ndarray:
    """Returns the expected result of `flip_and_shift`: flipped, padded by reflection, cropped."""
    found = []
    for image, (flip, row, column) in zip(images.numpy(), parameters[:, :3].tolist(), strict=True):
        padded = np.pad(image[:, :, ::-1] if flip else image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
        found.append(padded[:, pad + row : pad + row + 32, pad + column : pad + column + 32])
    return np.stack(found)


@pytest.mark.parametrize("settings", [{"flip": True}, {"shift_px": 2}, {"flip": True, "shift_px": 4}])
def test_flip_and_shift_match_numpy(settings):
    random, parameters = augmentation(**settings)
    if not settings.get("flip"):
        parameters[:, 0] = 1  # must have no effect
    expected = parameters.clone()
    expected[:, 0] *= settings.get("flip", False)
    assert np.array_equal(random(IMAGES, parameters).numpy(), windows(IMAGES, expected, settings.get("shift_px", 0)))


def test_floating_point_images_match_uint8_images():
    random, parameters = augmentation(flip=True, shift_px=3)
    assert torch.equal(random(IMAGES / 255, parameters), random(IMAGES, parameters) / 255)


def test_no_augmentation_by_default():
    random, parameters = augmentation()
    assert random(IMAGES, parameters) is IMAGES


def test_alternating_flip():
    random, even = augmentation(10_000, epoch=0, flip=True)
    odd, later = random.sample(10_000, 1, 1), random.sample(10_000, 1, 2)
    assert torch.equal(even[:, 0] + odd[:, 0], torch.ones(10_000, dtype=torch.int64))
    assert torch.equal(later[:, 0], even[:, 0])
    assert even[:, 0].float().mean().item() == pytest.approx(0.5, abs=0.02)  # four standard deviations


def test_shifts_are_uniform():
    _, parameters = augmentation(50_000, shift_px=2)
    counts = torch.bincount(5 * (parameters[:, 1] + 2) + parameters[:, 2] + 2, minlength=25)
    assert len(counts) == 25
    assert (counts - 2000).abs().max() < 4 * 2000**0.5


@pytest.mark.parametrize(("center", "rows", "columns"), [((16, 10), (12, 20), (6, 14)), ((0, 31), (0, 4), (27, 32))])
def test_cutout_size_and_position(center, rows, columns):
    random = RandomAugmentation(cutout_px=8)
    parameters = torch.tensor([[0, 0, 0, *center]]).expand(40, -1)
    expected = IMAGES.clone()
    expected[:, :, slice(*rows), slice(*columns)] = GRAY
    assert torch.equal(random(IMAGES, parameters), expected)


def test_parameters_depend_only_on_seed_and_epoch():
    random, first = augmentation(flip=True, shift_px=2, epoch=3)
    torch.manual_seed(9)
    assert torch.equal(random.sample(40, 1, 3), first)
    others = [random.sample(40, 2, 3), random.sample(40, 1, 4)]
    assert not any(torch.equal(other[:, 1:], first[:, 1:]) for other in others)


def test_zero_flip_and_shift_keep_images():
    zeros = torch.zeros(40, dtype=torch.int64)
    assert torch.equal(flip_and_shift(IMAGES, zeros, zeros[:, None].expand(-1, 2)), IMAGES)
