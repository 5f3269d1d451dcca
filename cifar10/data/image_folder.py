"""Images of one's own, a folder per class: `root/train/<class>/*` and `root/test/<class>/*`, into uint8 tensors.

Every file inside a class folder, at any depth, belongs to that class: collections are often sorted further by source
or date, and to leave such files out without a word would be worse. For the same reason a file that is no image is an
error, not skipped. Only hidden files and folders and what operating systems drop (`Thumbs.db`, ...) are passed over.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cifar10.data.datamodule import ImageData, ImageSet
from cifar10.data.image_io import read_images
from cifar10.errors import UserError, shorten

SPLITS = ("train", "test")
MIN_CLASSES, MAX_CLASSES = 2, 1000
DROPPINGS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"}  # of Windows and macOS; lower case
LAYOUT = "expected are root/train/<class>/ and root/test/<class>/ with images"


class FolderData(ImageData):
    """The images below `root`; the class names are the folders' names. See `read_folder` for what is refused."""

    name = "folder"

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)

    def read(self) -> ImageSet:
        return read_folder(self.root)


def read_folder(root: Path) -> ImageSet:
    """Reads PNG, JPEG, WebP, BMP and GIF (first frame) of any size and colour mode: `to_tensor` says how.

    UserError if `root` isn't such a tree, has fewer than 2 or more than 1,000 classes, classes that aren't in both
    splits or have no images, or files that can't be read as images: all of these are counted, a few are named.
    """
    root = Path(root)
    try:
        class_names = _class_names(root)
        folders = [root / split / name for split in SPLITS for name in class_names]
        files = [image_files(folder) for folder in folders]
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be listed: {error.strerror}; check its permissions") from None
    empty = [str(folder.relative_to(root)) for folder, found in zip(folders, files, strict=True) if not found]
    if empty:
        raise UserError(f"{root} has classes without images: {shorten(empty)}; add images or remove the class")
    images = read_images([path for found in files for path in found], root)
    counts = torch.tensor([len(found) for found in files])
    labels = torch.arange(len(class_names)).repeat(len(SPLITS)).repeat_interleave(counts)
    train_count = int(counts[: len(class_names)].sum())
    return ImageSet(
        train_images=images[:train_count],
        train_labels=labels[:train_count],
        test_images=images[train_count:],
        test_labels=labels[train_count:],
        class_names=class_names,
    )


def _class_names(root: Path) -> list[str]:
    """The sorted names of the class folders, the same in both splits."""
    if not root.is_dir():
        raise UserError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}: {LAYOUT}")
    missing = [f"{split}/" for split in SPLITS if not (root / split).is_dir()]
    if missing:
        raise UserError(f"{root} has no folder {' and no folder '.join(missing)}: {LAYOUT}")
    train, test = (
        {entry.name for entry in (root / split).iterdir() if _counts(entry.name) and entry.is_dir()} for split in SPLITS
    )
    if train != test:
        halves = ((train - test, "only in train/"), (test - train, "only in test/"))
        told = "; ".join(f"{shorten(sorted(names))} {where}" for names, where in halves if names)
        raise UserError(f"{root} has classes in one split only: {told}; both need the same folders")
    if not MIN_CLASSES <= len(train) <= MAX_CLASSES:
        raise UserError(f"{root} has {len(train):,} classes, {MIN_CLASSES} to {MAX_CLASSES:,} are supported: {LAYOUT}")
    return sorted(train)


def image_files(folder: Path) -> list[Path]:
    """The files below a folder, sorted, without hidden ones and what operating systems drop; raises OSError."""
    return sorted(_files(folder), key=Path.as_posix)


def _files(folder: Path) -> Iterator[Path]:
    """In any order; a linked folder is read once, so a loop of links ends."""
    seen = {folder.resolve()}
    for parent, subfolders, names in os.walk(folder, onerror=_raise, followlinks=True):
        kept = []
        for name in sorted(filter(_counts, subfolders)):  # sorted: which of two links to a folder is read can't vary
            real = Path(parent, name).resolve()
            if real not in seen:
                seen.add(real)
                kept.append(name)
        subfolders[:] = kept
        yield from (Path(parent, name) for name in names if _counts(name))


def _raise(error: OSError) -> None:
    raise error


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in DROPPINGS
