"""Embeds figures in HTML as data URIs."""

from base64 import b64encode
from io import BytesIO

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure


def svg(figure: Figure, alt: str) -> Markup:
    """Returns a figure as an `<img>` element. alt: the text alternative."""
    file = BytesIO()
    # Text is kept as text; equal figures give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cifar10"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    uri = "data:image/svg+xml;base64," + b64encode(file.getvalue()).decode()
    return Markup('<img style="--natural: {}px" src="{}" alt="{}" width="{}" height="{}">').format(
        width, uri, alt, width, height
    )
