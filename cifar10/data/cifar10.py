"""Reads CIFAR-10 from its official files: downloads missing ones and verifies each before unpickling it."""

import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from cifar10.data.datamodule import ImageData, ImageSet
from cifar10.data.download import ARCHIVE, MIRRORS, download
from cifar10.errors import UserError


class CIFAR10Data(ImageData):
    """CIFAR-10: 50,000 training and 10,000 test images in ten balanced classes.

    root: the folder that contains `cifar-10-batches-py/`. mirrors: URLs of the archive, tried in order. Raises
    UserError if a file differs from the official one or if the download fails.
    """

    name = "cifar10"

    def __init__(self, root: str = "data", mirrors: Sequence[str] = MIRRORS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root, self.mirrors = Path(root), mirrors

    def prepare_data(self) -> None:
        ensure_cifar10(self.root, self.mirrors)

    def read(self) -> ImageSet:
        folder = self.root / CIFAR10.base_folder
        if not folder.exists():
            raise UserError(f"{folder} not found; restore the files of CIFAR-10, or train again to download them")
        for name, md5 in official_files().items():
            if not check_integrity(str(folder / name), md5):
                file = f"{folder / name} is not the official file (its MD5 is not {md5})"
                raise UserError(f"{file}; delete {folder} and run again to get a whole copy")
        return _read_verified(self.root)


@lru_cache(maxsize=1)  # shared by the jobs of a sweep
def _read_verified(root: Path) -> ImageSet:
    splits = [CIFAR10(root, train=train) for train in (True, False)]
    images = [torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous() for split in splits]
    labels = [torch.tensor(split.targets) for split in splits]
    return ImageSet(images[0], labels[0], images[1], labels[1], splits[0].classes)


def official_files() -> dict[str, str]:
    """Returns file name -> MD5 for the seven official files."""
    return dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])


def ensure_cifar10(root: Path, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Returns the folder of the official files; downloads and unpacks the archive in `root` if a file is missing.

    A lock allows one process at a time to download. Does not verify existing files. Raises UserError if all mirrors
    fail or if the disk is full or not writable.
    """
    folder, archive = root / CIFAR10.base_folder, root / ARCHIVE
    if _is_complete(folder):
        return folder
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
    return folder


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in official_files())


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks a verified archive and moves each official file into `folder` by an atomic rename."""
    with TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as staging:
        shutil.unpack_archive(archive, staging, filter="data")
        folder.mkdir(exist_ok=True)
        for name in official_files():
            Path(staging, folder.name, name).replace(folder / name)
