"""Converts image files, Pillow images, arrays and tensors to 32 x 32 RGB tensors."""

import os
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from cifar10.errors import UserError, shorten

SIZE = 32  # pixels, height and width
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")  # detected by content, not by extension
# Files and folders of Windows, macOS, WSL and NAS systems, in lower case.
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx"}
SYSTEM_FILES |= {"icon\r", "@eadir", "@recycle", "#recycle", "#snapshot", "lost+found"}
ROUNDING = 1e-3  # values this far outside [0, 1] are clamped: resizing overshoots
THREADS = 4  # decoding threads; an image at the pixel limit takes about 1 GB
Layout = Literal["NCHW", "NHWC"]


def image_files(folder: Path, ignored: list[Path] | None = None) -> list[Path]:
    """Returns all files below a folder, sorted, without hidden and system files. Raises OSError.

    Reads each folder once, also if several links point to it, so loops of links end. Adds hidden and system files and
    folders to `ignored`.
    """
    return sorted(_walk(folder, {folder.resolve()}, [] if ignored is None else ignored), key=Path.as_posix)


def _walk(folder: Path, seen: set[Path], ignored: list[Path]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):  # sorted: the first of two links is read
        if not is_listed(path):
            ignored.append(path)
        elif not path.is_dir():
            yield path
        elif (real := path.resolve()) not in seen:
            seen.add(real)
            yield from _walk(path, seen, ignored)


def is_listed(path: Path) -> bool:
    """Returns whether a file or folder is neither hidden nor created by an operating system."""
    name = path.name.lower()
    return not name.startswith(".") and name not in SYSTEM_FILES and not name.endswith("zone.identifier")


def read_images(paths: Sequence[Path], root: Path | None = None) -> Tensor:
    """Returns (N, 3, 32, 32) uint8. Raises UserError that counts the unreadable files and names the first ones."""
    images = torch.empty(len(paths), 3, SIZE, SIZE, dtype=torch.uint8)
    errors = []
    # disable=None: shown on a terminal only
    for index, result in enumerate(tqdm(read_each(paths), "Images", len(paths), delay=2, leave=False, disable=None)):
        if isinstance(result, Tensor):
            images[index] = result
        else:
            errors.append(f"{paths[index].relative_to(root) if root else paths[index]}: {result}")
    if errors:
        count = f"{len(errors):,} of {len(paths):,} files" + (f" in {root}" if root else "")
        raise UserError(f"{count} cannot be read as images: {shorten(errors)}; repair or remove them")
    return images


def read_each(paths: Sequence[Path]) -> Iterator[Tensor | str]:
    """Yields each image as (3, 32, 32) uint8, or the reason why it cannot be read, in order; decodes in threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # from 1 to 2 times Pillow's limit
        if len(paths) == 1:  # starting threads takes 30 times as long as decoding a small image
            yield _try_read(paths[0])
            return
        with ThreadPool(min(THREADS, os.cpu_count() or 1)) as pool:
            yield from pool.imap(_try_read, paths, chunksize=8)


def _try_read(image: Path | Image.Image) -> Tensor | str:
    try:
        return read_image(image) if isinstance(image, Path) else to_tensor(image)
    except UnidentifiedImageError:
        return "not an image in a supported format"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except Exception as error:  # decoders raise errors of many types for damaged files
        reason = getattr(error, "strerror", None) or str(error)  # strerror: without the path
        return " ".join(reason.split()) or type(error).__name__


def read_image(path: Path) -> Tensor:
    """Reads an image file with `to_tensor`. Raises ValueError if it is empty, else the errors of Pillow."""
    if path.stat().st_size == 0:
        raise ValueError("empty file")
    with Image.open(path, formats=FORMATS) as image:
        return to_tensor(image)


def to_tensor(image: Image.Image) -> Tensor:
    """Returns (3, 32, 32) uint8 RGB, with the EXIF orientation applied. Raises the errors of Pillow.

    Keeps the values of a 32 x 32 RGB image. Scales the largest centered square of others, bicubic and antialiased,
    which rings less than Lanczos. Keeps the high byte of 16-bit gray, as Pillow does for color. Converts CMYK without
    its profile. Composites transparent pixels onto white: their colors are arbitrary, often black.
    """
    image = ImageOps.exif_transpose(image)  # decodes the file: a truncated one fails here
    if image.mode == "F":
        raise ValueError("floating point pixels, expected integers")
    if image.mode.startswith("I"):  # 16-bit gray, which convert() clips at 255
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() >= 1 << 16:
            raise ValueError("pixels beyond 16 bits")
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if image.size != (SIZE, SIZE):
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def as_batch(images: Any, layout: Layout = "NCHW") -> Tensor:
    """Returns (N, 3, 32, 32) uint8, or floating point in [0, 1]. Raises UserError for unsupported input.

    images: an array or tensor of one or N images of 32 x 32 pixels, uint8 or floating point in [0, 1], in `layout`; or
    a Pillow image or a path of an image file, of any size (see `to_tensor`), or a sequence of either.
    """
    if layout not in get_args(Layout):
        raise UserError(f"layout={layout!r}: expected NCHW (channels first) or NHWC (channels last)")
    if isinstance(images, np.ndarray | Tensor):
        return _from_array(images, layout)
    if isinstance(images, str | PathLike | Image.Image):
        images = [images]
    if not isinstance(images, Sequence) or not images:
        given = "an empty list" if isinstance(images, Sequence) else type(images).__name__
        raise UserError(f"images: expected an array, a tensor, Pillow images or paths, got {given}")
    if all(isinstance(image, str | PathLike) for image in images):
        return read_images([Path(image) for image in images])
    if not all(isinstance(image, Image.Image) for image in images):
        kinds = ", ".join(sorted({type(image).__name__ for image in images}))
        raise UserError(f"images: expected a sequence of paths or of Pillow images, got {kinds}; stack arrays into one")
    tensors: list[Any] = [_try_read(image) for image in images]
    if errors := [f"images[{index}] cannot be read: {e}" for index, e in enumerate(tensors) if isinstance(e, str)]:
        raise UserError(errors[0])
    return torch.stack(tensors)


def _from_array(images: np.ndarray | Tensor, layout: Layout) -> Tensor:
    floating = images.dtype.kind == "f" if isinstance(images, np.ndarray) else images.is_floating_point()
    if not floating and images.dtype not in (np.uint8, torch.uint8):
        raise UserError(f"images: got dtype {images.dtype}, expected uint8 in [0, 255] or floating point in [0, 1]")
    if isinstance(images, np.ndarray):  # removes negative strides and foreign byte order
        images = torch.from_numpy(np.require(images, np.float32 if floating else np.uint8, ["C", "W"]))
    shape, nhwc = tuple(images.shape), (SIZE, SIZE, 3)
    if images.ndim not in (3, 4) or shape[-3:] != (nhwc if layout == "NHWC" else (3, SIZE, SIZE)):
        expected = "(N, 3, 32, 32)" if layout == "NCHW" else "(N, 32, 32, 3)"
        hint = "pass images of other sizes as Pillow images or paths"
        if layout == "NCHW" and shape[-3:] == nhwc:
            hint = 'for channels last, set layout="NHWC"'
        raise UserError(f"images: got shape {shape}, expected {expected} ({layout}); {hint}")
    images = images.detach() if images.ndim == 4 else images.detach()[None]
    images = images.permute(0, 3, 1, 2) if layout == "NHWC" else images
    if not floating or not images.numel():
        return images
    low, high = (float(value) for value in images.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise UserError(f"images: got floating point values in [{low:g}, {high:g}], expected [0, 1]; divide by 255")
    return images.float().clamp(0, 1)
