"""Registry of the figures of a run. Names are those of files, TensorBoard tags and panels."""

from collections.abc import Callable

from cifar10.results.figures import Figure, predictions, training
from cifar10.results.saved_run import SavedRun

FIGURES: dict[str, Callable[[SavedRun], Figure | None]] = {
    "confusion": predictions.confusion,
    "confusion_errors": predictions.confusion_errors,
    "training_curves": training.training_curves,
    "prototypes": training.prototypes,
    "first_and_last": training.first_and_last,
    "snapshots": training.snapshots,
    "nearest_and_farthest": predictions.nearest_and_farthest,
    "pixel_weights": training.pixel_weights,
    "explanation": training.explanation,
    "confused_pair": predictions.confused_pair,
    "confident_errors": predictions.confident_errors,
    "calibration": predictions.calibration_curve,
    "certified_accuracy": predictions.certified_accuracy,
    "first_layer": training.first_layer,
}
"""Name -> function that draws the figure of a run, or returns None if it does not apply.

The figure's label (`get_label`) summarizes it in words and becomes its caption on the page.
"""
