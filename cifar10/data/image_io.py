"""Reads images as users have them (files, Pillow images, arrays, tensors) into tensors of 32 x 32 RGB."""

import os
import struct
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
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # by content, whatever the extension
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"}  # Windows, macOS; lower case
ROUNDING = 1e-3  # tolerance of the range [0, 1], as after resizing; the excess is clamped
THREADS = 4  # decoding at once: an image at the limit of pixels takes about a gigabyte
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what Pillow raises on damaged files
Layout = Literal["NCHW", "NHWC"]


def image_files(folder: Path) -> list[Path]:
    """Returns the files at any depth below a folder, sorted, except hidden and system files. Raises OSError.

    A folder that is linked twice is read once, so a loop of links ends.
    """
    return sorted(_walk(folder, {folder.resolve()}), key=Path.as_posix)


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    for path in sorted(filter(is_listed, folder.iterdir())):  # sorted: always the same one of two links is read
        if not path.is_dir():
            yield path
        elif (real := path.resolve()) not in seen:
            seen.add(real)
            yield from _walk(path, seen)


def is_listed(path: Path) -> bool:
    """Whether a file or folder is neither hidden nor one that operating systems create."""
    return not path.name.startswith(".") and path.name.lower() not in SYSTEM_FILES


def read_images(paths: Sequence[Path], root: Path | None = None) -> Tensor:
    """Returns (N, 3, 32, 32) uint8. Raises one UserError that counts all unreadable files, named relative to `root`."""
    images = torch.empty(len(paths), 3, SIZE, SIZE, dtype=torch.uint8)
    bad = []
    # disable=None: a bar on a terminal only
    for index, result in enumerate(tqdm(read_each(paths), "Images", len(paths), delay=2, leave=False, disable=None)):
        if isinstance(result, Tensor):
            images[index] = result
        else:
            bad.append(f"{paths[index].relative_to(root) if root else paths[index]}: {result}")
    if bad:
        count = f"{len(bad):,} of {len(paths):,} files" + (f" in {root}" if root else "")
        raise UserError(f"{count} cannot be read as images: {shorten(bad)}; repair or remove them")
    return images


def read_each(paths: Sequence[Path]) -> Iterator[Tensor | str]:
    """Yields each image as (3, 32, 32) uint8, or the reason why it cannot be read, in order; decodes ahead of use."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # from Pillow's limit to twice that
        if len(paths) == 1:  # threads take thirty times as long to start as a small image to decode
            yield _try_read(paths[0])
            return
        with ThreadPool(min(THREADS, os.cpu_count() or 1)) as pool:
            yield from pool.imap(_try_read, paths, chunksize=8)


def _try_read(image: Path | Image.Image) -> Tensor | str:
    try:
        return read_image(image) if isinstance(image, Path) else to_tensor(image)
    except UnidentifiedImageError:
        return "no image that Pillow knows"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error)  # strerror: without the path
        return " ".join(reason.split()) or type(error).__name__


def read_image(path: Path) -> Tensor:
    """Returns an image file as `to_tensor` does. Raises ValueError if it is empty, and what Pillow raises."""
    if path.stat().st_size == 0:
        raise ValueError("empty file")
    with Image.open(path, formats=FORMATS) as stored:
        return to_tensor(stored)


def to_tensor(image: Image.Image) -> Tensor:
    """Returns (3, 32, 32) uint8, RGB, upright by the image's EXIF orientation. Raises what Pillow raises.

    The values of an upright 32 x 32 RGB image are kept. Others: the largest centred square is scaled, bicubic and
    antialiased, which rings less than Lanczos. 16-bit grey keeps its high byte, as colour does in Pillow. CMYK is
    converted without its profile. Transparent parts become white: the pixels below them are arbitrary, often black.
    """
    image = ImageOps.exif_transpose(image)  # loads it: a truncated file fails here
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
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

    images: an array or tensor of one or N images of 32 x 32 pixels, uint8 or floating point in [0, 1], in `layout`;
    or a Pillow image or the path of an image file, of any size (see `to_tensor`), or a sequence of either.
    """
    if layout not in get_args(Layout):
        raise UserError(f"layout={layout!r}: choose NCHW, channels first, or NHWC, channels last")
    if isinstance(images, np.ndarray | Tensor):
        return _from_array(images, layout)
    if isinstance(images, str | PathLike | Image.Image):
        images = [images]
    if not isinstance(images, Sequence) or not images:
        given = "an empty list" if isinstance(images, Sequence) else type(images).__name__
        raise UserError(f"images: expected an array, a tensor, images or paths, not {given}")
    if all(isinstance(image, str | PathLike) for image in images):
        return read_images([Path(image) for image in images])
    if not all(isinstance(image, Image.Image) for image in images):
        kinds = ", ".join(sorted({type(image).__name__ for image in images}))
        raise UserError(f"images: a list must be of paths or of Pillow images, not of {kinds}; stack arrays into one")
    results = [_try_read(image) for image in images]
    for place, result in enumerate(results):
        if isinstance(result, str):
            raise UserError(f"images[{place}] cannot be read: {result}")
    return torch.stack([result for result in results if isinstance(result, Tensor)])


def _from_array(images: np.ndarray | Tensor, layout: Layout) -> Tensor:
    floating = images.dtype.kind == "f" if isinstance(images, np.ndarray) else images.is_floating_point()
    if not floating and images.dtype not in (np.uint8, torch.uint8):
        raise UserError(f"images of {images.dtype}: expected is uint8, 0 to 255, or floating point in [0, 1]")
    if isinstance(images, np.ndarray):  # no negative strides, no foreign byte order
        images = torch.from_numpy(np.require(images, np.float32 if floating else np.uint8, ["C", "W"]))
    shape, last = tuple(images.shape), (SIZE, SIZE, 3)
    if images.ndim not in (3, 4) or shape[-3:] != (last if layout == "NHWC" else (3, SIZE, SIZE)):
        expected = "(N, 3, 32, 32)" if layout == "NCHW" else "(N, 32, 32, 3)"
        hint = "larger images go in as Pillow images or paths"
        if layout == "NCHW" and shape[-3:] == last:
            hint = 'of channels that come last say so: layout="NHWC"'
        raise UserError(f"images of shape {shape}: expected is {expected}, {layout}; {hint}")
    images = images.detach() if images.ndim == 4 else images.detach()[None]
    images = images.permute(0, 3, 1, 2) if layout == "NHWC" else images
    if not floating or not images.numel():
        return images
    low, high = (float(value) for value in images.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise UserError(f"floating point images must lie in [0, 1], not in [{low:g}, {high:g}]; divide by 255")
    return images.float().clamp(0, 1)
