"""Reads small files in the official format of CIFAR-100."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from miniature import COARSE_LABELS, COARSE_NAMES, FINE_LABELS, FINE_NAMES, ROWS_100, write_miniature_100
from torchvision.datasets import CIFAR100

from cifar10.data.cifar100 import CIFAR100Data
from cifar10.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return write_miniature_100(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "labels", "names"), [("fine", FINE_LABELS, FINE_NAMES), ("coarse", COARSE_LABELS, COARSE_NAMES)]
)
def test_images_labels_and_names_come_from_the_files(kind, labels, names, folder):
    images = CIFAR100Data(labels=kind, root=str(folder.parent)).read()
    assert np.array_equal(images.train_images, ROWS_100[0].reshape(100, 3, 32, 32))
    assert np.array_equal(images.test_images, ROWS_100[1].reshape(100, 3, 32, 32))
    assert images.train_labels.tolist() == labels[0].tolist()
    assert images.test_labels.tolist() == labels[1].tolist()
    assert images.class_names == names


@pytest.mark.parametrize("kind", ["fine", "coarse"])
def test_labels_and_names_equal_those_of_torchvision(kind, folder, monkeypatch):
    """torchvision reads fine labels; its `meta` names the key of the class names."""
    ours = CIFAR100Data(labels=kind, root=str(folder)).read()
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "key": f"{kind}_label_names"})
    theirs = CIFAR100(folder.parent, train=True)
    assert ours.class_names == theirs.classes
    assert np.array_equal(ours.train_images, theirs.data.transpose(0, 3, 1, 2))
    if kind == "fine":
        assert ours.train_labels.tolist() == theirs.targets


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_other_pickle_is_not_opened(name, folder, monkeypatch):
    (folder / name).write_bytes(pickle.dumps({}))
    opened = []
    monkeypatch.setattr(pickle, "loads", lambda content, **_: opened.append(content) or {})
    with pytest.raises(UserError, match=rf"^{folder / name} is not the official file"):
        CIFAR100Data(root=str(folder)).read()
    assert pickle.dumps({}) not in opened
