"""Figures and images as parts of an HTML file, with nothing beside it."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO, StringIO
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

INK = "#010203"
"""Drawn in this colour, which nothing else has, then replaced by the colour of the page's text."""
STYLE = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "svg.hashsalt": "page",  # the same figure, the same file
    "image.interpolation": "none",  # pixels as they are; page.css keeps them sharp
}
DROPPED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|\n *(?=<)|font-family:[^;]*; ", re.DOTALL)
PLACES = re.compile(r'\b(?:d|x|y|transform)="[^"]*"')
NUMBER = re.compile(r"\d+\.\d{3,}")


def svg(alt: str, draw: Callable[..., Figure], *args: Any, **settings: Any) -> Markup:
    """What `draw(*args, **settings)` draws, as an SVG element in the page's colours. alt: what it shows, in words."""
    text = StringIO()
    with matplotlib.rc_context(STYLE):
        figure = draw(*args, **settings)
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.02)
    drawn = DROPPED.sub("", text.getvalue()).replace(INK, "currentColor")
    body = drawn.partition("<svg ")[2]
    view_box, points = re.search(r'(viewBox="\S+ \S+ (\S+) \S+")', body).groups()
    body = PLACES.sub(lambda places: NUMBER.sub(_rounded, places[0]), body.partition(">")[2])
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", body)
    own = "f" + hashlib.sha256(body.encode()).hexdigest()[:8] + "-"  # several figures of a page share no id
    body = re.sub(r'( id="|url\(#|href="#)', lambda reference: reference[0] + own, body)
    width = f"{float(points) * 96 / 72:.0f}px"  # matplotlib's text is then as large as the page's
    return Markup(f'<svg {view_box} style="--natural: {width}" role="img" aria-label="{escape(alt)}">{body}')


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"


def png(pixels: np.ndarray) -> str:
    """A data URI. pixels: (H, W, 3 or 4) uint8."""
    return moving_png([pixels], 0)


def moving_png(frames: Sequence[np.ndarray], milliseconds: int) -> str:
    """A data URI of an animation in all colours (APNG), over and over; the last frame stays for two seconds."""
    file = BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in frames]
    several = {"save_all": True, "append_images": rest, "duration": [milliseconds] * len(rest) + [2000], "loop": 0}
    first.save(file, "png", optimize=True, **(several if rest else {}))
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()
