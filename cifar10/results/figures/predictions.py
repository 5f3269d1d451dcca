"""Draws the predictions of a run on the test images. The label of a figure summarizes it in words."""

import numpy as np
import torch

from cifar10.models.test_predictions import most_confused
from cifar10.networks.base import to_unit
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import MAX_CLASSES, Figure
from cifar10.results.figures.confusion import confusion_figure, confusions_figure
from cifar10.results.figures.curves import calibration, reliability_figure
from cifar10.results.figures.images import captioned_figure, image_rows_figure, pair_figure
from cifar10.results.figures.robustness import PERTURBATIONS, certified_radii, robustness_figure
from cifar10.results.saved_run import SavedRun


def confusion(run: SavedRun) -> Figure:
    """Draws the confusion matrix with counts."""
    figure = confusion_figure(torch.tensor(run.record["test"]["confusion"]), run.class_names, run.title)
    figure.set_label(f"{run.record['test']['accuracy']:.1%} correct")
    return figure


def confusion_errors(run: SavedRun) -> Figure:
    """Draws the confusion matrix with its diagonal removed."""
    test, names = run.record["test"], run.class_names
    figure = confusions_figure([test["confusion"]], [run.title], names)
    counts = np.array(test["confusion"])
    rates = counts / counts.sum(1, keepdims=True).clip(min=1) * (1 - np.eye(len(counts)))
    worst = [divmod(index, len(counts)) for index in rates.ravel().argsort()[::-1][:3] if rates.flat[index]]
    errors = [f"{names[true]} as {names[label]} ({rates[true, label]:.0%})" for true, label in worst]
    figure.set_label(f"{test['accuracy']:.1%} correct; most frequent errors: {', '.join(errors) or 'none'}")
    return figure


def confused_pair(run: SavedRun) -> Figure:
    """Draws test images of the most confused pair of classes, by true and predicted class."""
    pair = most_confused(run.predictions.confusion(len(run.class_names)))
    cells = [[run.predictions.cell(true, guess) for guess in pair] for true in pair]
    panels = [[to_unit(run.data.test_images[torch.from_numpy(places[:16])]) for places in row] for row in cells]
    counts = torch.tensor([[len(places) for places in row] for row in cells])
    a, b = (run.class_names[label] for label in pair)
    figure = pair_figure(panels, counts, [a, b], run.title)
    (correct_a, a_as_b), (b_as_a, correct_b) = counts.tolist()
    figure.set_label(
        f"{a}: {correct_a} correct, {a_as_b} predicted as {b}; {b}: {correct_b} correct, {b_as_a} predicted as {a}"
    )
    return figure


def confident_errors(run: SavedRun) -> Figure | None:
    """Draws the 20 misclassified test images of highest confidence; None if there are none."""
    predictions, names = run.predictions, run.class_names
    worst = predictions.confident_errors(20)
    if not len(worst):
        return None
    errors = [(names[predictions.predicted[i]], predictions.confidence[i], names[predictions.labels[i]]) for i in worst]
    captions = [f"{guess}, {confidence:.0%}\ntrue: {true}" for guess, confidence, true in errors]
    images = to_unit(run.data.test_images[torch.from_numpy(worst)])
    figure = captioned_figure(images, captions, columns=5, title=run.title)
    first = ", ".join(f"{true} predicted as {guess} ({confidence:.0%})" for guess, confidence, true in errors[:3])
    figure.set_label(f"most confident errors: {first}")
    return figure


def nearest_and_farthest(run: SavedRun) -> Figure | None:
    """Draws for each class the test images nearest to its prototypes and farthest from them; None for other models."""
    if not isinstance(run.network, PrototypeNetwork) or run.prototypes is None:
        return None
    network, data, names = run.network, run.data, run.class_names[:MAX_CLASSES]
    with torch.no_grad():
        batches = [
            network.embed(batch).unflatten(1, (len(run.class_names), -1)) for batch in data.test_images.split(500)
        ]
    distances = torch.cat(batches).amin(2).gather(1, data.test_labels[:, None])[:, 0]
    rows = torch.full((6, len(names), 3, 32, 32), float("nan"))  # not drawn
    for label in range(len(names)):
        members = (data.test_labels == label).nonzero()[:, 0]
        ordered = to_unit(data.test_images[members[distances[members].argsort()]])
        nearest, farthest = ordered[: min(3, (len(ordered) + 1) // 2)], ordered.flip(0)[: min(3, len(ordered) // 2)]
        rows[: len(nearest), label], rows[3 : 3 + len(farthest), label] = nearest, farthest
    titles = ["nearest", "", "", "farthest", "", ""]
    if run.prototypes.shape[1] == 1:
        rows, titles = torch.cat([run.prototypes[None, : len(names), 0], rows]), ["prototype", *titles]
    figure = image_rows_figure(rows, titles, names, run.title)
    figure.set_label(
        f"distance of a test image to the nearest prototype of its class: {distances.min():.3g} to "
        f"{distances.max():.3g}, mean {distances.mean():.3g}"
    )
    return figure


def calibration_curve(run: SavedRun) -> Figure:
    """Draws the reliability diagram."""
    result = calibration(run.predictions.probabilities, run.predictions.labels)
    figure = reliability_figure(result, run.title)
    confidence, accuracy = (float(result.fraction @ values) for values in (result.confidence, result.accuracy))
    verdict = "overconfident" if confidence > accuracy else "underconfident"
    figure.set_label(f"{verdict}, ECE {result.ece:.1%}; mean confidence {confidence:.1%}, accuracy {accuracy:.1%}")
    return figure


def certified_accuracy(run: SavedRun) -> Figure | None:
    """Draws the certified accuracy by radius; None for other networks than prototypes with delta=cie76."""
    network, predictions = run.network, run.predictions
    if not isinstance(network, PrototypeNetwork) or network.delta != "cie76":
        return None
    radii = certified_radii(network, run.data.test_images, predictions.predicted == predictions.labels)
    figure = robustness_figure({}, {run.record["model"]: radii}, run.title)
    shares = ", ".join(f"{np.mean(radii > size):.1%} within {size}" for size in PERTURBATIONS)
    figure.set_label(f"certified accuracy by the mean Delta E of the perturbation: {shares}")
    return figure
