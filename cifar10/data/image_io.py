"""Reads images as users have them (files, Pillow images, arrays, tensors) into uint8 tensors of 32 x 32 RGB."""

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
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # Pillow's names; the content decides, whatever the extension
ROUNDING = 1e-3
"""Tolerance of the range [0, 1] of floating point images, as for resized or augmented ones; the excess is clamped."""
Layout = Literal["NCHW", "NHWC"]
THREADS = 4  # decoding at once: an image at the limit of pixels takes about a gigabyte


def read_images(paths: Sequence[Path], root: Path | None = None) -> Tensor:
    """(N, 3, 32, 32) uint8, in the order of the paths; one UserError for all that can't be read, named from `root`."""
    images = torch.empty(len(paths), 3, SIZE, SIZE, dtype=torch.uint8)
    bad = []
    # disable=None: a terminal gets the bar, a log file doesn't
    for index, result in enumerate(tqdm(read_each(paths), "Images", len(paths), delay=2, leave=False, disable=None)):
        if isinstance(result, Tensor):
            images[index] = result
        else:
            bad.append(f"{paths[index].relative_to(root) if root else paths[index]}: {result}")
    if bad:
        told = f"{len(bad):,} of {len(paths):,} files{f' in {root}' if root else ''} cannot be read as images"
        raise UserError(f"{told}: {shorten(bad)}; repair or remove them")
    return images


def read_each(paths: Sequence[Path]) -> Iterator[Tensor | str]:
    """Each image as (3, 32, 32) uint8, or else why there is none, in the order of the paths; decoded ahead of use."""
    with warnings.catch_warnings():
        # Pillow only warns from its limit to twice that
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if len(paths) == 1:  # threads take thirty times as long to start as a small image to decode
            yield _try_read(paths[0])
            return
        with ThreadPool(min(THREADS, os.cpu_count() or 1)) as pool:
            yield from pool.imap(_try_read, paths, chunksize=8)


def read_image(path: Path) -> Tensor:
    """One image file as `to_tensor` makes it; raises what Pillow raises."""
    with Image.open(path, formats=FORMATS) as stored:
        return to_tensor(stored)


def to_tensor(image: Image.Image) -> Tensor:
    """One image as (3, 32, 32) uint8, RGB, upright by its EXIF orientation; raises what Pillow raises.

    An upright 32 x 32 RGB image keeps its exact values. Others: the largest centred square is scaled to 32 x 32, which
    keeps proportions; bicubic, antialiased, because it rings less than Lanczos. Of 16 bits the high byte is kept, as
    Pillow does for colour. CMYK is converted without its colour profile. Transparent parts show white: what is stored
    below them is arbitrary, often black, and such images are mostly made for white pages.
    """
    image = ImageOps.exif_transpose(image)  # loads it: a truncated file fails here
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if image.size != (SIZE, SIZE):
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _try_read(path: Path) -> Tensor | str:
    """The image, or why there is none."""
    if path.suffix.lower() not in EXTENSIONS:
        return f"not one of {' '.join(EXTENSIONS)}"
    try:
        return "empty file" if path.stat().st_size == 0 else read_image(path)
    except UnidentifiedImageError:
        return "no image that Pillow knows"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except Exception as error:  # a damaged file makes Pillow's decoders raise anything: OSError, SyntaxError, ...
        told = getattr(error, "strerror", None) or str(error)  # strerror: without the path, which is named already
        return " ".join(told.split()) or type(error).__name__


def as_batch(images: Any, layout: Layout = "NCHW") -> Tensor:
    """Returns (N, 3, 32, 32) uint8, or floating point in [0, 1].

    images: an array or tensor as `layout` says, uint8 or floating point in [0, 1], of N images or one; a Pillow image
    or the path of an image file, of any size, or a sequence of either. What has another size is brought to 32 x 32 as
    data=folder does it, arrays excepted: they must have it. Raises UserError for anything else.
    """
    if layout not in get_args(Layout):
        raise UserError(f"layout={layout!r}: choose NCHW, channels first, or NHWC, channels last")
    if isinstance(images, np.ndarray | Tensor):
        return _check_array(images, layout)
    if isinstance(images, str | PathLike | Image.Image):
        images = [images]
    if not isinstance(images, Sequence) or not images:
        raise UserError(f"images: expected an array, a tensor, images or paths, not {_describe(images)}")
    if all(isinstance(image, Image.Image) for image in images):
        return torch.stack([_from_pillow(image, place) for place, image in enumerate(images)])
    if all(isinstance(image, str | PathLike) for image in images):
        return read_images([Path(image) for image in images])
    kinds = ", ".join(sorted({type(image).__name__ for image in images}))
    raise UserError(f"images: a list must be of paths or of Pillow images, not of {kinds}; make one array of arrays")


def _check_array(images: np.ndarray | Tensor, layout: Layout) -> Tensor:
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise UserError(_wrong_kind(images.dtype))
        kind = np.uint8 if images.dtype == np.uint8 else np.float32
        images = torch.from_numpy(np.require(images, kind, ["C", "W"]))  # no negative strides, no foreign byte order
    elif images.dtype != torch.uint8 and not images.is_floating_point():
        raise UserError(_wrong_kind(images.dtype))
    images, given = images.detach(), tuple(images.shape)
    if images.ndim == 3:
        images = images[None]
    if images.ndim == 4 and layout == "NHWC":
        images = images.permute(0, 3, 1, 2)
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, SIZE, SIZE):
        expected = "(N, 3, 32, 32)" if layout == "NCHW" else "(N, 32, 32, 3)"
        hint = "larger images go in as Pillow images or paths"
        if layout == "NCHW" and given[-3:] == (SIZE, SIZE, 3):
            hint = 'of channels that come last say so: layout="NHWC"'
        raise UserError(f"images of shape {given}: expected is {expected}, {layout}; {hint}")
    if images.is_floating_point() and images.numel():
        low, high = (float(value) for value in images.aminmax())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise UserError(f"floating point images must lie in [0, 1], not in [{low:g}, {high:g}]; divide by 255")
        return images.float().clamp(0, 1)
    return images


def _from_pillow(image: Image.Image, place: int) -> Tensor:
    try:
        return to_tensor(image)
    except Exception as error:  # it is decoded only now: a damaged file makes Pillow raise anything
        raise UserError(f"images[{place}] cannot be read: {' '.join(str(error).split())}") from error


def _wrong_kind(kind: Any) -> str:
    return f"images of {kind}: expected is uint8, 0 to 255, or floating point in [0, 1]"


def _describe(images: Any) -> str:
    return "an empty list" if isinstance(images, Sequence) else type(images).__name__
