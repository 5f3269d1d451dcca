"""Draws and tabulates accuracy by the size of a change of the images, in mean Delta E 1976 over the pixels."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from cifar10.errors import UserError
from cifar10.networks.base import Network
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import COLORS, Figure

CHANGES = (0.25, 0.5, 1, 2)
"""Columns of the table, in Delta E."""


def certified_radii(network: Network, images: Tensor, correct: np.ndarray) -> np.ndarray:
    """Returns the certified radius of each image, (N,) float32; 0 where `correct`, (N,) bool, is false.

    images: (N, 3, 32, 32) uint8. Raises UserError if the network is not a PrototypeNetwork with delta=cie76.
    """
    if not isinstance(network, PrototypeNetwork):
        raise UserError(f"a certified radius needs model=prototype, got {network.name}")
    device = network.prototypes.device
    radii = torch.cat([network.certified_radius(batch.to(device)) for batch in images.split(500)])
    return radii.cpu().numpy() * correct


def accuracy_table(distances: Mapping[str, np.ndarray], changes: Sequence[float] = CHANGES) -> list[str]:
    """Returns the lines of a Markdown table: accuracy by change, one row per name.

    distances: name -> the change up to which each image is classified correctly, (N,); 0 if it is misclassified.
    """
    rows = [["change in mean Delta E", *map(str, changes)], ["---"] * (len(changes) + 1)]
    for name, values in distances.items():
        rows.append([name, *(f"{np.mean(values > change):.1%}" for change in changes)])
    return [f"| {' | '.join(row)} |" for row in rows]


def robustness_figure(
    attacked: Mapping[str, np.ndarray], certified: Mapping[str, np.ndarray], title: str = ""
) -> Figure:
    """Draws accuracy over the size of the change: a line per attacked network, dashed lines where it is certified.

    attacked, certified: as for `accuracy_table`. A name has the same color in both.
    """
    names = list(dict.fromkeys([*attacked, *certified]))
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.subplots()
    highest = 0.0
    for curves, style, label in ((attacked, "-", "{}"), (certified, "--", "{}, certified")):
        for name, values in curves.items():
            finite = values[np.isfinite(values)]
            x = np.sort(np.append(0, finite[finite > 0]))
            y = 1 - np.searchsorted(np.sort(values), x, side="right") / len(values)
            color = COLORS[names.index(name) % len(COLORS)]
            axes.step(x, y, style, where="post", color=color, label=label.format(name))
            highest = max(highest, np.quantile(x, 0.98))
    axes.set(xlim=(0, highest or 1), ylim=(0, None), xlabel="change of the image, mean Delta E 1976", ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle(title)
    return figure
