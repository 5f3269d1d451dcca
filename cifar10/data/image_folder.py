"""Reads image folders: `root/train/<class>/*`, `root/test/<class>/*` and optionally `root/val/<class>/*`.

Every file at any depth below a class folder belongs to the class. A file that is not an image is an error.
"""

import hashlib
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

import torch

from cifar10.data.datamodule import ImageData, ImageSet, ValSize, root_path
from cifar10.data.image_io import image_files, is_listed, read_images
from cifar10.errors import UserError, shorten

log = logging.getLogger(__name__)
MIN_CLASSES, MAX_CLASSES = 2, 1000
Files = dict[str, dict[str, list[Path]]]
"""Split -> class name -> image files."""
LAYOUT = "expected images in root/train/<class>/ and root/test/<class>/"


class FolderData(ImageData):
    """Images below `root`, of any size and of the formats `image_io.FORMATS`. Class names are folder names, in NFC.

    val_size: as in `ImageData`, by default 0.1; must be None if `root/val/` exists, which then is the validation set.

    Reading raises UserError if `root` has another layout, fewer than 2 or more than 1,000 classes, or classes that are
    missing or empty in a split, or if files cannot be read: the message counts them and names the first ones.
    """

    name = "folder"

    def __init__(self, root: str, val_size: ValSize | None = None, **kwargs: Any) -> None:
        super().__init__(val_size=0.1 if val_size is None else val_size, **kwargs)
        self.root, self.has_val_size = root_path(root), val_size is not None

    def read(self) -> ImageSet:
        files, ignored = self._list_files()
        if "val" in files and self.has_val_size:
            raise UserError(
                f"data.val_size={self.val_size} has no effect: {self.root}/val has the validation images; "
                "leave it out, or move the images of val/ into train/"
            )
        if ignored:
            names = shorten([str(path.relative_to(self.root)) for path in ignored])
            _warn_once(f"{self.root}: ignored {len(ignored)} hidden, system or misplaced files and folders: {names}")
        class_names = list(files["train"])
        parts: dict[str, torch.Tensor] = {}
        images = read_images(_flatten(files), self.root)
        for split, classes in files.items():
            counts = torch.tensor([len(paths) for paths in classes.values()])
            parts[f"{split}_labels"] = torch.arange(len(class_names)).repeat_interleave(counts)
            parts[f"{split}_images"], images = images.tensor_split([int(counts.sum())])
        return ImageSet(class_names=class_names, **parts)

    def compute_fingerprint(self) -> str:
        paths = _flatten(self._list_files()[0])
        text = "".join(f"{path.relative_to(self.root)}\0{path.stat().st_size}\0" for path in paths)
        return hashlib.sha256(os.fsencode(text)).hexdigest()

    def _list_files(self) -> tuple[Files, list[Path]]:
        """Returns split -> class name -> image files, and the ignored files and folders."""
        ignored: list[Path] = []
        try:
            folders = _class_folders(self.root, ignored)
            files = {
                split: {name: image_files(folder, ignored) for name, folder in sorted(classes.items())}
                for split, classes in folders.items()
            }
        except OSError as error:
            raise UserError(
                f"{error.filename or self.root} cannot be listed: {error.strerror}; check its permissions"
            ) from None
        if empty := [f"{split}/{name}" for split, found in files.items() for name, paths in found.items() if not paths]:
            raise UserError(f"{self.root} has classes without images: {shorten(empty)}; add images or remove the class")
        return files, ignored


@cache  # figures read the images again in the same process
def _warn_once(message: str) -> None:
    log.warning("%s", message)


def _flatten(files: Files) -> list[Path]:
    return [path for classes in files.values() for paths in classes.values() for path in paths]


def _class_folders(root: Path, ignored: list[Path]) -> dict[str, dict[str, Path]]:
    """Returns split -> class name -> folder, with the same classes in each split. Adds other paths to `ignored`."""
    if not root.is_dir():
        raise UserError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}: {LAYOUT}")
    if missing := [f"{split}/" for split in ("train", "test") if not (root / split).is_dir()]:
        raise UserError(f"{root} has no folder {' and no folder '.join(missing)}: {LAYOUT}")
    splits = [split for split in ("train", "val", "test") if (root / split).is_dir()]
    ignored += sorted(path for path in root.iterdir() if path.is_dir() and path.name not in splits)
    found: dict[str, dict[str, Path]] = {split: {} for split in splits}
    for split in splits:
        for path in sorted((root / split).iterdir()):
            name = normalize("NFC", path.name)  # macOS and Linux store accented letters differently
            if not (is_listed(path) and path.is_dir()):
                ignored.append(path)
            elif {"Cc", "Cs"} & set(map(category, name)):  # Cs: bytes that are not UTF-8
                raise UserError(f"{root}/{split} has a class name that is not UTF-8 text: {name!r}; rename the folder")
            elif name in found[split]:
                raise UserError(f"{root}/{split} has {name!r} in two Unicode forms; merge the folders")
            else:
                found[split][name] = path
    classes = set().union(*found.values())
    if partial := sorted(f"{split}/{name}" for split in splits for name in classes - found[split].keys()):
        raise UserError(f"{root} lacks the class folders {shorten(partial)}: expected the same classes in each split")
    if not MIN_CLASSES <= len(classes) <= MAX_CLASSES:
        raise UserError(f"{root} has {len(classes):,} classes, expected {MIN_CLASSES} to {MAX_CLASSES:,}: {LAYOUT}")
    return found
