"""Image files of any size and colour mode as 32 x 32 RGB."""

import os
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from cifar10.errors import UserError, shorten

SIZE = 32  # pixels, height and width
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # Pillow's names; the content decides, whatever the extension
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
