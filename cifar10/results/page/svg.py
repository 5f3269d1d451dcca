"""Embeds figures and images into an HTML file as data URIs."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image


def svg(figure: Figure, alt: str) -> Markup:
    """Returns a figure as an `<img>` element. alt: its content in words."""
    file = BytesIO()
    # Text stays text, and the same figure gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cifar10"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    uri = "data:image/svg+xml;base64," + b64encode(file.getvalue()).decode()
    return Markup('<img class="figure" style="--natural: {}px" src="{}" alt="{}" width="{}" height="{}">').format(
        width, uri, alt, width, height
    )


def png(pixels: np.ndarray) -> str:
    """Returns the data URI of an image. pixels: (H, W, 3 or 4) uint8."""
    return moving_png([pixels], 0)


def moving_png(frames: Sequence[np.ndarray], milliseconds: int) -> str:
    """Returns the data URI of an endless animation (APNG) whose last frame stays for two seconds."""
    file = BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in frames]
    animation = {"save_all": True, "append_images": rest, "duration": [milliseconds] * len(rest) + [2000], "loop": 0}
    first.save(file, "png", optimize=True, **(animation if rest else {}))
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()
