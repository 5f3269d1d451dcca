"""Draws and tabulates accuracy by the size of a perturbation, in mean Delta E 1976 over the pixels."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from cifar10.errors import UserError
from cifar10.networks.base import Network
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import COLORS, Figure
from cifar10.results.markdown import markdown_table

PERTURBATIONS = (0.25, 0.5, 1, 2)
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


def accuracy_table(distances: Mapping[str, np.ndarray], sizes: Sequence[float] = PERTURBATIONS) -> str:
    """Returns a Markdown table: accuracy by size of the perturbation, one row per name.

    distances: name -> the size up to which each image is classified correctly, (N,); 0 if it is misclassified.
    """
    rows = [["perturbation, mean Delta E", *map(str, sizes)]]
    for name, values in distances.items():
        rows.append([name, *(f"{np.mean(values > size):.1%}" for size in sizes)])
    return markdown_table(rows)


def robustness_figure(
    attacked: Mapping[str, np.ndarray], certified: Mapping[str, np.ndarray], title: str = ""
) -> Figure:
    """Draws accuracy by size of the perturbation: a line per attacked network, dashed lines where it is certified.

    attacked, certified: as for `accuracy_table`. A name has the same color in both.
    """
    curves = [(name, "-", name, values) for name, values in attacked.items()]
    curves += [(name, "--", f"{name}, certified", values) for name, values in certified.items()]
    names = list(dict.fromkeys(name for name, *_ in curves))
    found = [values[np.isfinite(values)] for *_, values in curves]
    highest = max((np.quantile(values, 0.95) for values in found if len(values)), default=0)
    sizes = np.linspace(0, highest or 1, 400)
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, style, label, values in curves:
        accuracy = 1 - np.searchsorted(np.sort(values), sizes, side="right") / len(values)
        axes.plot(sizes, accuracy, style, color=COLORS[names.index(name) % len(COLORS)], label=label)
    axes.set(xlim=(0, sizes[-1]), ylim=(0, None), xlabel="perturbation, mean Delta E 1976", ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle(title)
    return figure
