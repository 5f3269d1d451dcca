"""The page's pictures: for each a figure, words for it, and a line instead where a run has not what it takes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from markupsafe import Markup

from cifar10.errors import UserError
from cifar10.models.test_predictions import most_confused
from cifar10.results.figures.confusion import confusions_figure
from cifar10.results.figures.curves import calibration, class_accuracy_figure, history_figure, reliability_figure
from cifar10.results.figures.run_figures import MOST_WEIGHTS, confused_pair_figure, first_layer_figure, mistakes_figure
from cifar10.results.page.rows import Shown
from cifar10.results.page.svg import svg

MOST_CLASSES = 20
"""Of more classes than these only some are named or drawn; the counts are of all."""

Made = TypeVar("Made")


class Part(NamedTuple):
    """A picture with the line below it. wide: of several panels in a row, too small for half a page."""

    picture: Markup
    caption: str
    wide: bool = False


class Maker:
    """Makes parts, run by run, and remembers what could not be made and why."""

    def __init__(self) -> None:
        self.missing: dict[tuple[str, str], dict[str, bool]] = {}  # run, reason -> parts, each once

    def __call__(self, what: str, shown: Sequence[Shown], make: Callable[[Shown], Made | None]) -> list[Made]:
        """What `make` makes of each run; nothing where it returns None or finds something missing."""
        made = []
        for one in shown:
            try:
                if one.run is None:
                    raise UserError("only its metrics.json is here, not the run")
                made.append(make(one))
            except UserError as error:
                self.missing.setdefault((one.name, str(error)), {})[what] = True
        return [part for part in made if part is not None]

    @property
    def left_out(self) -> list[str]:
        """A line for each run and reason."""
        return [f"{name}, without {', '.join(what)}: {reason}" for (name, reason), what in self.missing.items()]


def confusions(one: Shown) -> Part:
    names, record = one.row.class_names, one.run.record if one.run else one.row.first
    named = names if len(names) <= MOST_CLASSES else [""] * len(names)
    pairs = _surest(np.array(record["test"]["confusion"]), names)
    alt = f"Heat map of what {one.name} takes for what, on the scale of all of them. Most often {pairs}."
    picture = svg(alt, confusions_figure, [record["test"]["confusion"]], [""], named)
    return Part(picture, f"{one.name}, seed {record['seed']}: {record['test']['accuracy']:.1%} right")


def _surest(confusion: np.ndarray, names: Sequence[str]) -> str:
    """The three most frequent confusions in words. confusion: (C, C) counts."""
    off = confusion / confusion.sum(1, keepdims=True).clip(min=1) * (1 - np.eye(len(confusion)))
    found = [np.unravel_index(place, off.shape) for place in off.ravel().argsort()[::-1][:3]]
    return ", ".join(f"{names[true]} is taken for {names[guess]} ({off[true, guess]:.0%})" for true, guess in found)


def history(one: Shown) -> Part | None:
    columns, best = one.run.history, one.run.record["best_epoch"]
    epochs = [int(epoch) for epoch in columns["epoch"]]
    if len(epochs) < 2:
        return None
    loss, accuracy, at = columns["val/loss"], columns["val/accuracy"], epochs.index(best)
    alt = (
        f"Loss, accuracy and learning rate of {one.name} over {len(epochs)} epochs. The validation loss is "
        f"{loss[0]:.3g} after the first, {loss[at]:.3g} after epoch {best}, whose weights were tested, and "
        f"{loss[-1]:.3g} at the end; the validation accuracy is {accuracy[0]:.1%}, {accuracy[at]:.1%} and "
        f"{accuracy[-1]:.1%}."
    )
    caption = f"{one.name}, seed {one.run.record['seed']}; tested were the weights of epoch {best} of {len(epochs)}"
    return Part(svg(alt, history_figure, columns, best), caption, wide=True)


def pair(one: Shown, classes: tuple[int, int] | None = None) -> Part:
    """The four panels of two classes, by default those that the run confuses most."""
    names, said = one.run.class_names, one.run.predictions
    counts = said.confusion(len(names))
    first, second = classes or most_confused(counts)
    a, b = names[first], names[second]
    alt = (
        f"Test images of {a} and {b} as {one.name} takes them: {counts[first, first]} of {a} recognised, "
        f"{counts[first, second]} taken for {b}; {counts[second, second]} of {b} recognised, "
        f"{counts[second, first]} taken for {a}. Up to 16 of each are shown."
    )
    images = one.run.data.test_images
    picture = svg(alt, confused_pair_figure, said, images, names, pair=(first, second))
    return Part(picture, f"{one.name}: {a} and {b}")


def mistakes(one: Shown) -> Part | None:
    names, said = one.run.class_names, one.run.predictions
    worst = said.confident_errors(3)
    if not len(worst):
        return None
    told = ", ".join(
        f"{names[said.labels[place]]} taken for {names[said.predicted[place]]} ({said.confidence[place]:.0%} sure)"
        for place in worst
    )
    alt = f"The test images that {one.name} is most sure of and wrong, the surest first: {told}, and so on."
    return Part(svg(alt, mistakes_figure, said, one.run.data.test_images, names), one.name)


def reliability(one: Shown) -> Part:
    said = one.run.predictions
    found = calibration(said.probabilities, said.labels)
    sure, right = (float(found.share @ values) for values in (found.confidence, found.accuracy))
    verdict = "surer than it is right" if sure > right else "less sure than it is right"
    alt = (
        f"Accuracy by confidence of {one.name}. It is {verdict}: {sure:.1%} sure and {right:.1%} right on average; "
        f"the expected calibration error is {found.ece:.1%}."
    )
    return Part(svg(alt, reliability_figure, found), f"{one.name}: {verdict}, ECE {found.ece:.1%}")


def first_layer(one: Shown) -> Part | None:
    weights = one.run.model.first_layer()
    if weights is None:
        return None
    grey = float(weights.mean(1).square().sum() * 3 / weights.square().sum().clamp(min=1e-12))
    shown = min(len(weights), MOST_WEIGHTS)
    which = f"the {shown} largest of {len(weights)}" if shown < len(weights) else f"all {shown}"
    alt = (
        f"What the first layer of {one.name} multiplies pixels with, {which} as small images; {grey:.0%} of their "
        "strength is light against dark, the rest is colour."
    )
    caption = f"{one.name}: {which}; {grey:.0%} light against dark, the rest colour"
    return Part(svg(alt, first_layer_figure, one.run.model), caption, wide=True)


def class_accuracies(shown: Sequence[Shown]) -> Part:
    names = shown[0].row.class_names
    mean = np.mean([one.row.class_accuracy for one in shown], 0)
    kept = np.sort(mean.argsort()[:MOST_CLASSES])
    easiest, hardest = names[mean.argmax()], names[mean.argmin()]
    alt = (
        f"Accuracy of each class by {', '.join(one.name for one in shown)}. On average {easiest} is easiest "
        f"({mean.max():.0%}) and {hardest} hardest ({mean.min():.0%})."
    )
    accuracies = {one.name: one.row.class_accuracy[kept] for one in shown}
    picture = svg(alt, class_accuracy_figure, accuracies, [names[place] for place in kept])
    return Part(picture, f"Easiest on average is {easiest}, hardest {hardest}; means over seeds", wide=True)


def pairs(shown: Sequence[Shown], make: Maker) -> list[Part]:
    """Cats and dogs by the study's CNN, as the study shows them; the pair that the best of each model confuses most."""
    parts = []
    names = shown[0].row.class_names
    if {"cat", "dog"} <= set(names):
        cats_and_dogs = [one for one in shown if one.row.model == "CNN" and "study" in one.role]
        parts += make("cats and dogs", cats_and_dogs, partial(pair, classes=(names.index("cat"), names.index("dog"))))
    parts += make("its most confused pair", [one for one in shown if "best" in one.role], pair)
    return list({part.caption: part for part in parts}.values())
