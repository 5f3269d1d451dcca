"""Registers the figures of a run, by the name of their files, TensorBoard tags and panels."""

from collections.abc import Callable

from matplotlib.figure import Figure

from cifar10.results.figures.predictions import (
    calibration_curve,
    confident_errors,
    confused_pair,
    confusion,
    confusion_errors,
)
from cifar10.results.figures.training import (
    explanation,
    first_and_last,
    first_layer,
    prototypes,
    snapshots,
    training_curves,
)
from cifar10.results.saved_run import SavedRun

FIGURES: dict[str, Callable[[SavedRun], Figure | None]] = {
    "confusion": confusion,
    "confusion_errors": confusion_errors,
    "training_curves": training_curves,
    "prototypes": prototypes,
    "first_and_last": first_and_last,
    "snapshots": snapshots,
    "explanation": explanation,
    "confused_pair": confused_pair,
    "confident_errors": confident_errors,
    "calibration": calibration_curve,
    "first_layer": first_layer,
}
"""Name -> function that draws the figure of a run, or returns None where the run has none.

The figure's label (`get_label`) is its finding in words: the caption on the page.
"""
