"""Tests of scripts/baselines.py: predictions against direct computations, and the table of docs/results.md."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.color import deltaE_cie76, rgb2lab

from cifar10.results.markdown import find_table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import baselines


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)

    def images(count):
        return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)

    labels = torch.tensor([2, 0, 1, 2, 2, 1, 0] * 6)[:40]
    train, test = images(40), images(12)
    return SimpleNamespace(train_images=train, train_labels=labels, test_images=test, test_labels=labels[:12])


def l1(image, other):
    return np.abs(image - other).sum()


def l2(image, other):
    return np.square(image - other).sum()


def delta_e(image, other):
    lab = [rgb2lab(part.reshape(3, 32, 32), channel_axis=0) for part in (image, other)]
    return deltaE_cie76(*lab, channel_axis=0).mean()


@pytest.mark.parametrize(
    ("baseline", "distance"),
    [
        ("1-nearest neighbor, RGB, L1", l1),
        ("1-nearest neighbor, RGB, L2", l2),
        ("1-nearest neighbor, mean Delta E 1976", delta_e),
    ],
)
def test_nearest_neighbor_has_the_smallest_distance(data, baseline, distance):
    predicted, _ = baselines.BASELINES[baseline](data)
    train, test = (part.flatten(1).double().numpy() / 255 for part in (data.train_images, data.test_images))
    expected = [min(range(40), key=lambda i: distance(image, train[i])) for image in test]
    assert torch.equal(predicted, data.train_labels[expected])


def test_most_frequent_class_is_predicted_for_each_image(data):
    assert baselines.most_frequent_class(data)[0].tolist() == [2] * 12


def test_nearest_class_mean_has_the_smallest_distance(data):
    train, test = (part.flatten(1).double().numpy() / 255 for part in (data.train_images, data.test_images))
    means = [train[data.train_labels == label].mean(0) for label in range(3)]
    expected = [min(range(3), key=lambda label: l2(image, means[label])) for image in test]
    assert baselines.nearest_class_mean(data)[0].tolist() == expected


def test_table_of_the_results_page_is_rendered_from_the_measurements():
    rows = json.loads((ROOT / "docs/baselines.json").read_text())
    assert find_table(ROOT / "docs/results.md", "baselines") == f"\n{baselines.table(rows)}\n"
