"""Figures: arrays in, a matplotlib Figure out. Nothing is shown or saved here."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor


def confusion_figure(confusion: Tensor, class_names: Sequence[str], title: str = "") -> Figure:
    """A heat map of the confusion matrix. confusion: (C, C) counts, rows are true classes, columns predictions."""
    rates = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    side = 2.5 + 0.35 * min(len(class_names), 40)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rates, cmap="viridis", vmin=0, vmax=1)
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
