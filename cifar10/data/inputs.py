"""Images as users have them, arrays, tensors, Pillow's or files, as the models want them."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cifar10.color.delta_e import ROUNDING
from cifar10.data.image_io import SIZE, read_images, to_tensor
from cifar10.errors import UserError

Layout = Literal["NCHW", "NHWC"]


def as_batch(images: Any, layout: Layout = "NCHW") -> Tensor:
    """(N, 3, 32, 32) uint8, or floating point in [0, 1].

    images: an array or tensor as `layout` says, uint8 or floating point in [0, 1], of N images or one; a Pillow image
    or the path of an image file, of any size, or a sequence of either. What has another size is brought to 32 x 32 as
    data=folder does it, arrays excepted: they must have it. Raises UserError for anything else.
    """
    if layout not in get_args(Layout):
        raise UserError(f"layout={layout!r}: choose NCHW, channels first, or NHWC, channels last")
    if isinstance(images, np.ndarray | Tensor):
        return _checked(images, layout)
    if isinstance(images, str | PathLike | Image.Image):
        images = [images]
    if not isinstance(images, Sequence) or not images:
        raise UserError(f"images: expected an array, a tensor, images or paths, not {_told(images)}")
    if all(isinstance(image, Image.Image) for image in images):
        return torch.stack([_from_pillow(image, place) for place, image in enumerate(images)])
    if all(isinstance(image, str | PathLike) for image in images):
        return read_images([Path(image) for image in images])
    kinds = ", ".join(sorted({type(image).__name__ for image in images}))
    raise UserError(f"images: a list must be of paths or of Pillow images, not of {kinds}; make one array of arrays")


def _checked(images: np.ndarray | Tensor, layout: Layout) -> Tensor:
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


def _told(images: Any) -> str:
    return "an empty list" if isinstance(images, Sequence) else type(images).__name__
