"""Reads CIFAR-10 from its official files: downloads missing ones and verifies each before unpickling it."""

import hashlib
import pickle
import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from multiprocessing.pool import ThreadPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10

from cifar10.data.datamodule import ImageData, ImageSet, root_path
from cifar10.data.download import ARCHIVE, MIRRORS, download
from cifar10.errors import UserError


class CIFAR10Data(ImageData):
    """CIFAR-10: 50,000 training and 10,000 test images in ten balanced classes.

    root: the folder that contains `cifar-10-batches-py/`, or that folder itself. mirrors: URLs of the archive, tried in
    order. Raises UserError if a file differs from the official one or if the download fails.
    """

    name = "cifar10"

    def __init__(self, root: str = "data", mirrors: Sequence[str] = MIRRORS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        path = root_path(root)
        inner = path.name == CIFAR10.base_folder or (path / CIFAR10.meta["filename"]).is_file()
        self.folder, self.mirrors = path if inner else path / CIFAR10.base_folder, mirrors

    def prepare_data(self) -> None:
        ensure_cifar10(self.folder, self.mirrors)

    def read(self) -> ImageSet:
        return _read_folder(self.folder)


@lru_cache(maxsize=1)  # shared by the jobs of a sweep
def _read_folder(folder: Path) -> ImageSet:
    if not folder.exists():
        raise UserError(f"{folder} not found; restore the files of CIFAR-10, or train again to download them")
    with ThreadPool() as pool:  # hashing releases the GIL
        *train, test, meta = pool.starmap(_read_file, [(folder / name, md5) for name, md5 in official_files().items()])
    images = [torch.cat([torch.from_numpy(batch[b"data"]) for batch in part]) for part in (train, [test])]
    labels = [torch.tensor([label for batch in part for label in batch[b"labels"]]) for part in (train, [test])]
    train_images, test_images = (rows.view(-1, 3, 32, 32) for rows in images)
    return ImageSet(train_images, labels[0], test_images, labels[1], [name.decode() for name in meta[b"label_names"]])


def _read_file(path: Path, md5: str) -> dict[bytes, Any]:
    """Reads, verifies and unpickles a file, in this order."""
    try:
        content = path.read_bytes()
        reason = None if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5 else f"its MD5 is not {md5}"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise UserError(f"{path} is not the official file ({reason}); delete {path.parent} and run again to replace it")
    # Python 2 wrote the files. Decoding its strings as Latin-1 would copy all pixels and take three times as long.
    return pickle.loads(content, encoding="bytes")


def official_files() -> dict[str, str]:
    """Returns file name -> MD5 for the seven official files."""
    return dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])


def ensure_cifar10(folder: Path, mirrors: Sequence[str] = MIRRORS) -> None:
    """Downloads the archive next to `folder` and unpacks the official files into it, if a file is missing.

    A lock allows one process at a time to download. Does not verify existing files. Raises UserError if all mirrors
    fail or if the disk is full or not writable.
    """
    if _is_complete(folder):
        return
    root, archive = folder.parent, folder.with_name(ARCHIVE)
    try:
        root.mkdir(parents=True, exist_ok=True)
        print(f"locking {root}: one process at a time downloads and unpacks CIFAR-10", file=sys.stderr)
        with FileLock(root / f"{ARCHIVE}.lock"):
            if not _is_complete(folder):
                download(mirrors, archive)
                _unpack(archive, folder)
    except OSError as error:
        where, why = Path(error.filename or root).absolute(), error.strerror or error
        raise UserError(f"{where}: {why}; make room or choose another folder with data.root=PATH") from error


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in official_files())


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks a verified archive and moves each official file into `folder` by an atomic rename."""
    with TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as staging:
        shutil.unpack_archive(archive, staging, filter="data")
        folder.mkdir(exist_ok=True)
        for name in official_files():
            Path(staging, CIFAR10.base_folder, name).replace(folder / name)
