"""Draws images in rows, with captions, by cell of a confusion matrix, and weights as images."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cifar10.results.figures import WIDTH, Figure

GAP = 2
"""Transparent pixels between images."""


def tile(images: Tensor, row_gap: int = GAP) -> np.ndarray:
    """Tiles images into one RGBA array, (H', W', 4) uint8, transparent in the gaps and where images are NaN.

    images: (R, C, 3, H, W) float in [0, 1]; row_gap: pixels below each row. One array draws many times as fast as one
    axes per image.
    """
    present = ~images.isnan().any(2, keepdim=True)
    pixels = torch.cat([images.nan_to_num().clamp(0, 1), present.to(images.dtype)], 2).mul(255).round().byte()
    padded = F.pad(pixels, (0, GAP, 0, row_gap))
    tiled = padded.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return tiled[: len(tiled) - row_gap, : tiled.shape[1] - GAP].numpy()


def image_rows_figure(
    images: Tensor, row_titles: Sequence[str], column_titles: Sequence[str], title: str = ""
) -> Figure:
    """Draws images in rows and columns with titles. images: (R, C, 3, H, W) float in [0, 1]."""
    rows, columns = images.shape[:2]
    size = 0.72 * columns + 1.4 * any(row_titles), 0.72 * rows + 0.4 + 0.25 * bool(title)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    height, width = _draw_tiled(axes, images)
    axes.set_xticks([column * width + width / 2 - GAP / 2 for column in range(columns)], column_titles)
    axes.set_yticks([row * height + height / 2 - GAP / 2 for row in range(rows)], row_titles)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    if title:
        figure.suptitle(title)
    return figure


def captioned_figure(images: Tensor, captions: Sequence[str], columns: int, title: str = "") -> Figure:
    """Draws images with captions of one or two lines. images: (N, 3, H, W) float in [0, 1]."""
    rows, row_gap = max(ceil(len(images) / columns), 1), 13 * images.shape[-1] // 32
    figure = Figure(figsize=(1.3 * columns, 1.22 * rows * (1 + row_gap / 32) + 0.3 * bool(title)), layout="constrained")
    axes = figure.subplots()
    height, width = _draw_tiled(axes, in_rows(images, rows, columns), row_gap)
    for index, caption in enumerate(captions):
        row, column = divmod(index, columns)
        x, y = column * width + width / 2 - GAP / 2, row * height + images.shape[-2]
        text = axes.text(x, y, caption, ha="center", va="top", linespacing=1.1)
        text.set_in_layout(False)  # inside the axes
    axes.set(xticks=[], yticks=[], ylim=(rows * height, -0.5))
    figure.suptitle(title)
    return figure


def pair_figure(panels: Sequence[Sequence[Tensor]], counts: Tensor, names: Sequence[str], title: str = "") -> Figure:
    """Draws up to 4 x 4 test images per cell of the confusion matrix of two classes.

    panels: panels[true][predicted] is (n, 3, H, W) float in [0, 1], n <= 16; counts: (2, 2), over all
    test images; names: the two classes.
    """
    figure = Figure(figsize=(6, 6.4), layout=ConstrainedLayoutEngine(hspace=0.04, wspace=0.04))
    for true, row in enumerate(figure.subplots(2, 2)):
        for predicted, axes in enumerate(row):
            _draw_tiled(axes, in_rows(panels[true][predicted], 4, 4))
            axes.set(xticks=[], yticks=[])
            outcome = "correct" if true == predicted else f"predicted as {names[predicted]}"
            axes.set_title(f"{names[true]}, {outcome}: {int(counts[true, predicted])}")
    figure.suptitle(title)
    return figure


def weights_figure(weights: Tensor, columns: int, title: str = "") -> Figure:
    """Draws first-layer weights as images, each scaled by its largest weight; gray is 0.

    weights: (K, 3, h, w), one image per filter or unit.
    """
    largest = weights.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    rows = ceil(len(weights) / columns)
    small = weights.shape[-1] < 8  # enlarged, or GAP would be most of the figure
    shown = F.interpolate(weights / largest / 2 + 0.5, scale_factor=8 if small else 1)  # nearest
    figure = Figure(figsize=(WIDTH, WIDTH * rows / columns + 0.4), layout="constrained")
    axes = figure.subplots()
    _draw_tiled(axes, in_rows(shown, rows, columns))
    axes.set(xticks=[], yticks=[])
    figure.suptitle(title)
    return figure


def pixel_weights_figure(weights: Tensor, title: str = "") -> Figure:
    """Draws the weight of each pixel, (H, W), >= 0."""
    figure = Figure(figsize=(3.9, 3.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights.numpy(), cmap="viridis", vmin=0, interpolation="none")
    axes.set(xticks=[], yticks=[])
    figure.colorbar(image, label="weight, mean 1")
    figure.suptitle(title)
    return figure


def animate_prototypes(snapshots: Mapping[int, Tensor], path: Path) -> None:
    """Writes an animated PNG (APNG) of the first prototype of each class, in two rows, one frame per snapshot.

    snapshots: step -> (K, C, 3, H, W) in [0, 1].
    """
    frames = []
    for prototypes in snapshots.values():
        pixels = tile(in_rows(prototypes[0], 2, ceil(prototypes.shape[1] / 2)))
        frames.append(Image.fromarray(pixels.repeat(3, 0).repeat(3, 1)))
    durations = [500] * (len(frames) - 1) + [3000]  # milliseconds
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def in_rows(images: Tensor, rows: int, columns: int) -> Tensor:
    """Reshapes (N, 3, H, W) to (rows, columns, 3, H, W), padded with NaN."""
    missing = images.new_full((rows * columns - len(images), *images.shape[1:]), float("nan"))
    return torch.cat([images, missing]).unflatten(0, (rows, columns))


def _draw_tiled(axes: Axes, images: Tensor, row_gap: int = GAP) -> tuple[int, int]:
    """Draws tiled images without interpolation; returns the height of a row and the width of a column."""
    axes.imshow(tile(images, row_gap), interpolation="none")
    axes.spines[:].set_visible(False)
    return images.shape[-2] + row_gap, images.shape[-1] + GAP
