"""Draws figures with Matplotlib, without a display. `registry.FIGURES` lists the figures of a run."""

from pathlib import Path
from typing import Any

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C6D31")
"""Colors of lines and points for all types of color vision (Okabe and Ito, "Color universal design", 2008), without
yellow and black, which lack contrast on white and on black."""
MAX_CLASSES = 20
"""Maximum number of classes in one figure."""


def log_figures(folder: Path, record: dict[str, Any]) -> None:
    """Writes a run's figures to its TensorBoard folder. record: content of `metrics.json`, which may not exist yet."""
    from torch.utils.tensorboard import SummaryWriter

    from cifar10.results.figures.registry import FIGURES
    from cifar10.results.saved_run import SavedRun

    run = SavedRun(folder, record)
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name, draw in FIGURES.items():
            if (figure := draw(run)) is not None:
                writer.add_figure(f"figures/{name}", figure, record["epochs"])
