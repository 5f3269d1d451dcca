"""Figures: arrays in, a matplotlib Figure out. Nothing is shown or saved here."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor


def confusion_figure(confusion: Tensor, class_names: Sequence[str], title: str = "") -> Figure:
    """A heat map of the confusion matrix. confusion: (C, C) counts, rows are true classes, columns predictions."""
    rates = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    side = 2.5 + 0.35 * min(len(class_names), 40)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rates.numpy(), cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    if len(class_names) <= 40:  # more names than that overlap
        axes.set_xticks(range(len(class_names)), class_names, rotation=90)
        axes.set_yticks(range(len(class_names)), class_names)
    if len(class_names) <= 20:
        for row, counts in enumerate(confusion.tolist()):
            for column, count in enumerate(counts):
                color = "black" if rates[row, column] > 0.6 else "white"
                axes.text(column, row, count, ha="center", va="center", color=color, fontsize=7)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def confusions_figure(confusions: Sequence[Sequence], titles: Sequence[str], class_names: Sequence[str]) -> Figure:
    """What each model takes for what, side by side on one scale: rows divided by their sums, the diagonal set to zero.

    confusions: one (C, C) matrix of counts for each title; rows are true classes.
    """
    figure = Figure(figsize=(4 * len(titles) + 1, 5), layout="constrained")
    all_axes = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, counts, title in zip(all_axes, confusions, titles, strict=True):
        rates = torch.tensor(counts, dtype=torch.float64)
        rates = (rates / rates.sum(1, keepdim=True).clamp(min=1)).fill_diagonal_(0)
        image = axes.imshow(rates.numpy(), cmap="viridis", vmin=0, vmax=0.35)  # the study's scale
        axes.set_xticks(range(len(class_names)), class_names, rotation=90)
        axes.set_yticks(range(len(class_names)), class_names if axes is all_axes[0] else [])
        axes.set(title=title, xlabel="predicted")
    all_axes[0].set_ylabel("true")
    figure.colorbar(image, ax=all_axes, label="share of the true class", shrink=0.8)
    return figure


def image_rows_figure(images: Tensor, row_titles: Sequence[str], column_titles: Sequence[str]) -> Figure:
    """Images in rows and columns, with titles beside and over them. images: (R, C, 3, H, W) float in [0, 1]."""
    rows, columns = images.shape[:2]
    figure = Figure(figsize=(1.1 * columns + 2 * any(row_titles), 1.1 * rows + 0.3), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = all_axes[row, column]
            axes.imshow(images[row, column].permute(1, 2, 0).numpy())
            axes.set(xticks=[], yticks=[], frame_on=False)
            if row == 0:
                axes.set_title(column_titles[column], fontsize=9)
        all_axes[row, 0].set_ylabel(row_titles[row], rotation=0, ha="right", va="center", fontsize=8)
    return figure


def difference_figure(image: Tensor, prototypes: Tensor, maps: Tensor, titles: Sequence[str], unit: str) -> Figure:
    """Where an image differs from each prototype: the prototypes over the maps, the nearest one's title in bold.

    image: (3, H, W), prototypes: (P, 3, H, W), both float in [0, 1]; maps: (P, H, W) differences in `unit`.
    """
    figure = Figure(figsize=(1.25 * (len(titles) + 1) + 0.8, 3.3), layout="constrained")
    all_axes = figure.subplots(2, len(titles) + 1)
    for axes in all_axes.flat:
        axes.set_axis_off()
    all_axes[0, 0].imshow(image.permute(1, 2, 0).numpy())
    all_axes[0, 0].set_title("image", fontsize=9)
    distances = maps.mean((1, 2))
    for place, title in enumerate(titles):
        above, below = all_axes[:, place + 1]
        above.imshow(prototypes[place].permute(1, 2, 0).numpy())
        above.set_title(title, fontsize=9, fontweight="bold" if place == distances.argmin() else "normal")
        heat = below.imshow(maps[place].numpy(), cmap="viridis", vmin=0, vmax=float(maps.max()))
        below.set_title(f"{distances[place]:.1f}" if distances[place] >= 10 else f"{distances[place]:.3f}", fontsize=9)
    figure.colorbar(heat, ax=all_axes, label=unit, shrink=0.8)
    return figure
