"""Draws confusion matrices: one with counts, or several on a common scale."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cifar10.results.figures import Figure


def confusion_figure(confusion: Tensor, class_names: Sequence[str], title: str = "") -> Figure:
    """Draws a confusion matrix. confusion: (C, C) counts, rows are true classes, columns predictions."""
    rates = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    side = 2.5 + 0.35 * min(len(class_names), 40)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rates.numpy(), cmap="viridis", vmin=0, vmax=1, interpolation="none")
    figure.colorbar(image, label="fraction of the true class")
    if len(class_names) <= 40:  # more names would overlap
        axes.set_xticks(range(len(class_names)), class_names, rotation=90)
        axes.set_yticks(range(len(class_names)), class_names)
    if len(class_names) <= 20:
        for row, counts in enumerate(confusion.tolist()):
            for column, count in enumerate(counts):
                color = "black" if rates[row, column] > 0.6 else "white"
                text = axes.text(column, row, count, ha="center", va="center", color=color)
                text.set_in_layout(False)  # laying out a hundred texts takes longer than drawing them
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def confusions_figure(confusions: Sequence[Sequence], titles: Sequence[str], class_names: Sequence[str]) -> Figure:
    """Draws row-normalized confusion matrices side by side on a common scale, with the diagonal removed.

    confusions: a (C, C) matrix of counts per title; rows are true classes, columns predictions.
    """
    side = max(2.55, 0.2 * min(len(class_names), 40))
    figure = Figure(figsize=(side * len(titles) + 0.95, side + 0.9), layout="constrained")
    all_axes = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, counts, title in zip(all_axes, confusions, titles, strict=True):
        rates = torch.as_tensor(counts, dtype=torch.float64)
        rates = (rates / rates.sum(1, keepdim=True).clamp(min=1)).fill_diagonal_(0)
        image = axes.imshow(rates.numpy(), cmap="viridis", vmin=0, vmax=0.35, interpolation="none")  # the study's scale
        if len(class_names) <= 40:
            axes.set_xticks(range(len(class_names)), class_names, rotation=90)
            axes.set_yticks(range(len(class_names)), class_names if axes is all_axes[0] else [])
        axes.set(title=title if len(titles) > 1 else "", xlabel="predicted")
    all_axes[0].set_ylabel("true")
    if len(titles) == 1:
        figure.suptitle(titles[0])  # wider than its axes
    figure.colorbar(image, ax=all_axes, label="fraction of the true class", shrink=0.8)
    return figure
