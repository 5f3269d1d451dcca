"""Draws figures with Matplotlib, without a display. `registry.FIGURES` lists the figures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.figure
from matplotlib.text import Text

from cifar10.files import write_atomically

if TYPE_CHECKING:
    from cifar10.training.loggers.run_logger import RunLogger

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C6D31")
"""Colors of lines and points for all types of color vision (Okabe and Ito, "Color universal design", 2008), without
yellow and black, which lack contrast on white and on black."""
MAX_CLASSES = 20
"""Maximum number of classes in one figure."""
FONT_SIZE = 9
WIDTH = 8.6
"""Width of most figures in inches, that of a README: 830 px at 96 dpi."""
LOGGED = ("confusion", "prototypes", "first_and_last", "snapshots", "calibration", "first_layer")
"""Figures in the loggers: they do not repeat logged curves, and need no test images, which take seconds to load."""


class Figure(matplotlib.figure.Figure):
    """Figure with all text in one size and drawn literally: class names may contain `$`, which starts mathtext."""

    def draw(self, renderer: Any) -> None:
        for text in self.findobj(Text):
            text.set(fontsize=FONT_SIZE, parse_math=False)
        super().draw(renderer)


def log_figures(folder: Path, record: dict[str, Any], loggers: "Sequence[RunLogger]") -> None:
    """Logs a run's figures to all loggers. record: content of `metrics.json`, which may not exist yet."""
    from cifar10.results.figures.registry import FIGURES
    from cifar10.results.saved_run import SavedRun

    run = SavedRun(folder, record)
    for name in LOGGED if loggers else ():
        if (figure := FIGURES[name](run)) is not None:
            for logger in loggers:
                logger.log_figure(f"figures/{name}", figure, record["epochs"])


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure in the format of the file name, at twice the resolution of a page.

    Equal figures give equal files.
    """
    kind = path.suffix.removeprefix(".")
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with matplotlib.rc_context({"svg.hashsalt": "cifar10"}):
        write_atomically(path, lambda file: figure.savefig(file, dpi=192, format=kind, metadata=metadata))
