"""Draws figures with Matplotlib; needs no display. `registry.FIGURES` lists those of a run."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.rcParams["text.parse_math"] = False  # a class name can contain "$"
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C6D31")
"""For lines and points: distinguishable with any colour vision, on white and on black (Okabe and Ito, "Color universal
design", 2008, without their yellow and black)."""
MAX_CLASSES = 20
"""Classes that one figure has room for."""


def log_figures(folder: Path, record: dict[str, Any]) -> None:
    """Writes the figures of a run into its `tensorboard/`. record: its `metrics.json`, which need not exist yet."""
    from torch.utils.tensorboard import SummaryWriter

    from cifar10.results.figures.registry import FIGURES
    from cifar10.results.saved_run import SavedRun

    run = SavedRun(folder, record)
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name, draw in FIGURES.items():
            if (figure := draw(run)) is not None:
                writer.add_figure(f"figures/{name}", figure, record["epochs"])
