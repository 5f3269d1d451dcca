"""Reads small files in the official format."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from malicious import Malicious
from miniature import BATCHES, LABELS, NAMES, ROWS, write_miniature

from cifar10.data.cifar10 import CIFAR10Data
from cifar10.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return write_miniature(tmp_path, monkeypatch)


def read(folder: Path):
    return CIFAR10Data(root=str(folder.parent)).read()


def test_images_keep_the_planes_and_the_order_of_the_files(folder):
    images = read(folder)
    assert images.train_images.dtype == torch.uint8
    assert np.array_equal(images.train_images, ROWS[:5].reshape(20, 3, 32, 32))
    assert np.array_equal(images.test_images, ROWS[5].reshape(4, 3, 32, 32))


def test_labels_come_from_the_files(folder):
    images = read(folder)
    assert (images.train_labels.dtype, images.test_labels.dtype) == (torch.int64, torch.int64)
    assert images.train_labels.tolist() == LABELS[:5].flatten().tolist()
    assert images.test_labels.tolist() == LABELS[5].tolist()


def test_class_names_come_from_the_meta_file(folder):
    assert read(folder).class_names == NAMES


def test_images_are_contiguous(folder):
    images = read(folder)
    assert images.train_images.is_contiguous()
    assert images.test_images.is_contiguous()


def test_files_are_read_once_per_process(folder, monkeypatch):
    first = read(folder)
    monkeypatch.setattr(pickle, "loads", None)
    assert read(folder) is first


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter_one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", [*BATCHES, "batches.meta"])
@pytest.mark.parametrize("damage", [truncate, alter_one_byte, Path.unlink])
def test_damaged_file_raises_user_error(folder, name, damage):
    md5 = hashlib.md5((folder / name).read_bytes()).hexdigest()
    damage(folder / name)
    reason = "No such file or directory" if damage is Path.unlink else f"its MD5 is not {md5}"
    with pytest.raises(UserError, match=rf"^{folder / name} .*\({reason}\); delete {folder} and run again"):
        read(folder)


@pytest.mark.parametrize("inner", ["cifar-10-batches-py", "renamed"])
def test_root_can_be_the_inner_folder(folder, inner):
    folder.rename(folder.with_name(inner))
    data = CIFAR10Data(root=str(folder.with_name(inner)))
    data.prepare_data()
    assert data.read().class_names == NAMES
    assert [path.name for path in folder.parent.iterdir()] == [inner]


@pytest.mark.parametrize("root", ["", "  "])
def test_empty_root_raises_user_error(root):
    with pytest.raises(UserError, match=r"data\.root=.*CIFAR10_ROOT"):
        CIFAR10Data(root=root)


def test_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert CIFAR10Data(root="~").folder == folder


@pytest.mark.parametrize("name", [*BATCHES, "batches.meta"])
@pytest.mark.fault("a malicious pickle instead of a batch file", "not opened")
def test_malicious_pickle_is_not_opened(folder, tmp_path, name):
    trace = tmp_path / "trace"
    (folder / name).write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(UserError):
        read(folder)
    assert not trace.exists()
    pickle.loads((folder / name).read_bytes())
    assert trace.exists()  # the payload works
