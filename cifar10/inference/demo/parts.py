"""Pieces of HTML for the page: the image as the models see it, and why a prototype run said so."""

import matplotlib
import numpy as np
from markupsafe import Markup
from torch import Tensor

from cifar10.inference.predictor import TrainedModel
from cifar10.results.figures.explanation import compare
from cifar10.results.page.svg import png

NEAREST = 5
"""Typical images that are shown."""


def as_pixels(image: Tensor) -> np.ndarray:
    """(3, H, W) uint8 as (H, W, 3)."""
    return image.permute(1, 2, 0).contiguous().numpy()


def small_picture(image: Tensor | None, complaint: str = "") -> str:
    """The image as the models see it, (3, 32, 32) uint8, large enough to count its pixels; without one, why not."""
    if image is None:
        told = complaint or "Here is shown what the models see: 32 x 32 pixels."
        return Markup('<div class="seen empty"><p role="{}">{}</p></div>').format(
            "alert" if complaint else "note", told
        )
    picture = Markup('<img class="pixels" src="{}" alt="the image at 32 x 32 pixels">').format(png(as_pixels(image)))
    return Markup('<div class="seen">{}<p>What the models see: 32 x 32 pixels.</p></div>').format(picture)


def comparison(title: str, trained: TrainedModel, image: Tensor) -> str:
    """The nearest typical images over maps of where they differ from the image, (3, 32, 32) uint8."""
    found = compare(trained.model.network, image.to(trained.device))
    shown = slice(NEAREST)
    most = float(found.maps[shown].max())
    parts = []
    for label, prototype, differences in zip(*(part[shown] for part in found[:3]), strict=True):
        name, heat = trained.class_names[label], matplotlib.colormaps["viridis"](differences.numpy() / most, bytes=True)
        parts.append(
            Markup(
                '<figure><img class="pixels" src="{}" alt="typical image of {}"><img class="pixels" src="{}" '
                'alt="where it differs from {}"><figcaption><b>{}</b><br>{:.3g} on average</figcaption></figure>'
            ).format(png(as_pixels((prototype * 255).round().byte())), name, png(heat), name, name, differences.mean())
        )
    return Markup(
        "<h2>{}: the nearest typical images</h2><p>Below each one, where it differs from the image: dark blue is the "
        "same colour, yellow {:.3g} {}. The first is the answer.</p><div>{}</div>"
    ).format(title, most, found.unit, Markup("").join(parts))
