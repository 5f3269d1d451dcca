"""Embeds figures and images into an HTML file as data URIs."""

from base64 import b64encode
from io import BytesIO

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

FRAME_MILLISECONDS = 350


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


def png(*frames: np.ndarray) -> str:
    """Returns the data URI of an image, or of an endless animation (APNG) whose last frame stays for two seconds.

    frames: (H, W, 3 or 4) uint8.
    """
    file = BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in frames]
    durations = [FRAME_MILLISECONDS] * len(rest) + [2000]
    animation = {"save_all": True, "append_images": rest, "duration": durations, "loop": 0} if rest else {}
    first.save(file, "png", optimize=True, **animation)
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()
