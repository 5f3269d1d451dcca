"""Registers the figures of a run, by the name of their files, TensorBoard tags and panels."""

from collections.abc import Callable

from matplotlib.figure import Figure

from cifar10.results.figures import predictions, training
from cifar10.results.saved_run import SavedRun

FIGURES: dict[str, Callable[[SavedRun], Figure | None]] = {
    "confusion": predictions.confusion,
    "confusion_errors": predictions.confusion_errors,
    "training_curves": training.training_curves,
    "prototypes": training.prototypes,
    "first_and_last": training.first_and_last,
    "snapshots": training.snapshots,
    "explanation": training.explanation,
    "confused_pair": predictions.confused_pair,
    "confident_errors": predictions.confident_errors,
    "calibration": predictions.calibration_curve,
    "first_layer": training.first_layer,
}
"""Name -> function that draws the figure of a run, or returns None where the run has none.

The figure's label (`get_label`) is its finding in words: the caption on the page.
"""
