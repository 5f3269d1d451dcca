"""The page's pictures of what prototypes are, how they came to be, and why they said so."""

from collections.abc import Sequence
from math import ceil

import torch
from markupsafe import Markup
from torch import Tensor

from cifar10.results.figures.images import captioned_figure, image_rows_figure, in_rows, sheet
from cifar10.results.figures.run_figures import why_figure
from cifar10.results.page.parts import MOST_CLASSES, Maker, Part
from cifar10.results.page.rows import Shown
from cifar10.results.page.svg import moving_png, png, svg

STRIP_ROWS = 7
FRAME_MILLISECONDS = 350


def prototype_parts(shown: Sequence[Shown], make: Maker) -> list[Part]:
    """For models that have pictures in them."""
    having = [one for one, picture in make("what it learnt", shown, _learnt) if picture is not None]
    kinds = {
        "the noise that it began as": began_and_became,
        "how they evolved, moving": animation,
        "its prototypes": grid,
        "how they evolved": strip,
        "why it said so": why,
    }
    return [part for what, kind in kinds.items() for part in make(what, having, kind)]


def banner(shown: Sequence[Shown], make: Maker) -> tuple[str, str] | None:
    """The prototypes of the first run that has some, side by side: a data URI and words for it."""
    for one, pictures in make("what it learnt", shown, _learnt):
        if pictures is not None:
            names = one.row.class_names[:MOST_CLASSES]
            return png(sheet(pictures[None, : len(names), 0])), f"{one.name}: prototypes of {', '.join(names)}"
    return None


def _learnt(one: Shown) -> tuple[Shown, Tensor | None]:
    """Its prototypes, (C, K, 3, H, W) in [0, 1]."""
    pictures = one.run.model.prototype_images()
    return one, None if pictures is None else pictures.unflatten(0, (len(one.run.class_names), -1))


def began_and_became(one: Shown) -> Part | None:
    """Of the class that most test images are taken for."""
    names, model, frames = one.run.class_names, one.run.model, list(one.run.evolution.values())
    if len(model.prototype_images()) > len(names) or model.discriminative or not frames:
        return None  # several to a class begin as training images; those that discriminate are not typical
    taken = int(one.row.confusion.sum(0).argmax())
    images = torch.stack([frames[0][0, taken], model.prototype_images()[taken]])
    alt = f"A square of random colours, and the blurred image of the class {names[taken]} that {one.name} made of it."
    picture = svg(alt, captioned_figure, images, ["random noise", f"a typical {names[taken]}"], 2)
    return Part(picture, f"{one.name}: as it began and what it became")


def grid(one: Shown) -> Part:
    """Up to ten of each class."""
    _, pictures = _learnt(one)
    shown, names = pictures[:MOST_CLASSES, :10], one.run.class_names[:MOST_CLASSES]
    taken = one.row.confusion.sum(0) / one.row.confusion.sum()
    first, second = taken.argsort()[::-1][:2]
    finding = (
        f"test images are taken most often for {one.run.class_names[first]} ({taken[first]:.0%}) and "
        f"{one.run.class_names[second]} ({taken[second]:.0%})"
    )
    alt = f"{shown.shape[1]} to a class, the prototypes of {', '.join(names)} by {one.name}; {finding}."
    if shown.shape[1] == 1:
        picture = svg(alt, captioned_figure, shown[:, 0], names, columns=5)
    else:
        picture = svg(alt, image_rows_figure, shown.transpose(0, 1), [""] * shown.shape[1], names)
    return Part(picture, f"{one.name}: {finding}")


def strip(one: Shown) -> Part | None:
    """The first prototype of each class at several steps."""
    frames = one.run.evolution
    if len(frames) < 2:
        return None
    steps, names = list(frames), one.run.class_names[:MOST_CLASSES]
    last = frames[steps[-1]]
    away = {step: float((frame - last).abs().mean()) for step, frame in frames.items()}
    near = next(step for step in steps if away[step] <= away[steps[0]] / 10)
    chosen = [steps[round(place * (len(steps) - 1) / (STRIP_ROWS - 1))] for place in range(STRIP_ROWS)]
    chosen = list(dict.fromkeys(chosen))
    finding = f"after {near} of {steps[-1]} steps nine tenths of the way are done"
    alt = f"The prototypes of {', '.join(names)} by {one.name} after {', '.join(map(str, chosen))} steps: {finding}."
    rows = torch.stack([frames[step][0, : len(names)] for step in chosen])
    picture = svg(alt, image_rows_figure, rows, [f"step {step}" for step in chosen], names)
    return Part(picture, f"{one.name}: {finding}", wide=True)


def animation(one: Shown) -> Part | None:
    """The same as a moving picture, still for who asks for less motion."""
    frames = list(one.run.evolution.values())
    if len(frames) < 2:
        return None
    names, columns = one.run.class_names[:MOST_CLASSES], 5
    shape = ceil(len(names) / columns), columns
    pixels = [sheet(in_rows(frame[0, : len(names)], *shape)) for frame in frames]
    alt = f"The prototypes of {', '.join(names)} by {one.name}, from their beginning to their end."
    height, width = pixels[0].shape[:2]
    picture = Markup(
        '<picture><source media="(prefers-reduced-motion: reduce)" srcset="{}">'
        '<img class="moving" src="{}" alt="{}" width="{}" height="{}"></picture>'
    ).format(png(pixels[-1]), moving_png(pixels, FRAME_MILLISECONDS), alt, 3 * width, 3 * height)
    return Part(picture, f"{one.name}: from the first step to the last")


def why(one: Shown) -> Part | None:
    """Test image 0 beside each class's nearest prototype."""
    names, data = one.run.class_names, one.run.data
    image, label = data.test_images[0], int(data.test_labels[0])
    with torch.inference_mode():
        said = int(one.run.model(image[None])[0].argmax())
    verdict = f"{names[label]}, taken for {names[said]}"
    alt = (
        f"Pixel by pixel, how the first test image, {verdict}, differs from the prototype of each class by {one.name}."
    )
    return Part(svg(alt, why_figure, one.run.model, image), f"{one.name}: the first test image, {verdict}", wide=True)
