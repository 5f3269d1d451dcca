"""Reads image folders: `root/train/<class>/*` and `root/test/<class>/*`.

Every file at any depth below a class folder belongs to the class. A file that is not an image is an error.
"""

from pathlib import Path
from typing import Any

import torch

from cifar10.data.datamodule import ImageData, ImageSet
from cifar10.data.image_io import image_files, is_listed, read_images
from cifar10.errors import UserError, shorten

SPLITS = ("train", "test")
MIN_CLASSES, MAX_CLASSES = 2, 1000
LAYOUT = "expected images in root/train/<class>/ and root/test/<class>/"


class FolderData(ImageData):
    """The images below `root`: PNG, JPEG, WebP, BMP or GIF (first frame), of any size. Class names are folder names.

    Reading raises UserError if `root` is not such a tree, has fewer than 2 or more than 1,000 classes, or classes that
    are not in both splits or have no images, or if files cannot be read: all are counted, a few are named.
    """

    name = "folder"

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)

    def read(self) -> ImageSet:
        root = self.root
        try:
            class_names = _class_names(root)
            files = {root / split / name: image_files(root / split / name) for split in SPLITS for name in class_names}
        except OSError as error:
            raise UserError(
                f"{error.filename or root} cannot be listed: {error.strerror}; check its permissions"
            ) from None
        if empty := [str(folder.relative_to(root)) for folder, found in files.items() if not found]:
            raise UserError(f"{root} has classes without images: {shorten(empty)}; add images or remove the class")
        images = read_images([path for found in files.values() for path in found], root)
        counts = torch.tensor([len(found) for found in files.values()])
        labels = torch.arange(len(class_names)).repeat(len(SPLITS)).repeat_interleave(counts)
        train = int(counts[: len(class_names)].sum())
        return ImageSet(images[:train], labels[:train], images[train:], labels[train:], class_names)


def _class_names(root: Path) -> list[str]:
    """Returns the sorted names of the class folders, the same in both splits."""
    if not root.is_dir():
        raise UserError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}: {LAYOUT}")
    if missing := [f"{split}/" for split in SPLITS if not (root / split).is_dir()]:
        raise UserError(f"{root} has no folder {' and no folder '.join(missing)}: {LAYOUT}")
    train, test = (
        {path.name for path in (root / split).iterdir() if is_listed(path) and path.is_dir()} for split in SPLITS
    )
    if train != test:
        only = sorted(f"{'train' if name in train else 'test'}/{name}" for name in train ^ test)
        raise UserError(f"{root} has classes in one split only: {shorten(only)}; both need the same folders")
    if not MIN_CLASSES <= len(train) <= MAX_CLASSES:
        raise UserError(f"{root} has {len(train):,} classes, {MIN_CLASSES} to {MAX_CLASSES:,} are supported: {LAYOUT}")
    return sorted(train)
