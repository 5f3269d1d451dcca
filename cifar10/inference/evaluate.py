"""Repeats a run's test from its checkpoint: on the same or other data, in any precision, on corrupted images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from cifar10.data.batches import EvalBatches
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError, one_line, shorten
from cifar10.inference.predictor import Predictor
from cifar10.models.classifier import Classifier
from cifar10.models.test_predictions import TestPredictions
from cifar10.results.figures.curves import calibration
from cifar10.results.saved_run import SavedRun
from cifar10.training.config import check_settings, compose_settings
from cifar10.training.precision import autocast
from cifar10.training.run import make_data
from cifar10.training.run_folder import DEFAULT_DATA

TRAINING_ONLY = ("data.random_flip", "data.random_shift_px", "data.cutout_px", "data.val_split", "data.val_seed")


class Evaluation(NamedTuple):
    """Results on a test set. test: as in `metrics.json`; ece: expected calibration error, in [0, 1]."""

    test: dict[str, Any]
    predictions: TestPredictions
    ece: float


@torch.inference_mode()
def evaluate(
    classifier: Classifier,
    data: ImageData,
    precision: str = "32-true",
    corrupt: Callable[[Tensor], Tensor] | None = None,
    num_images: int | None = None,
) -> Evaluation:
    """Computes what `trainer.test` does, bit-identical on the same device: same batches, precision and kernels.

    corrupt: is applied to each batch of images. num_images: only the first so many.
    """
    device = next(classifier.parameters()).device
    classifier.setup("test")  # compiles the prototypes' kernels, as the run's test did
    try:
        batches = EvalBatches(data.test_images[:num_images], data.test_labels[:num_images], data.eval_batch_size)
        for index, (images, labels) in enumerate(batches):
            images, labels = images.to(device), labels.to(device)
            images = corrupt(images) if corrupt else images
            with autocast(precision, device):
                classifier.test_step((images, labels), index)
    finally:
        classifier.teardown("test")
    classifier.finish_test()
    found = classifier.test_predictions
    assert found is not None
    return Evaluation(classifier.test_results, found, calibration(found.probabilities, found.labels).ece)


def run_of(checkpoint: Path) -> SavedRun | None:
    """Returns the finished run whose folder contains the checkpoint."""
    return SavedRun(checkpoint.parent) if (checkpoint.parent / "metrics.json").exists() else None


def chosen_data(predictor: Predictor, overrides: Sequence[str]) -> ImageData:
    """Loads the data of `data=... data.root=...`; without overrides that of the checkpoint's run, or else CIFAR-10.

    Raises UserError if it cannot be read or has other classes than the network.
    """
    run = run_of(predictor.checkpoint)
    if run and not overrides:
        return run.data
    _check_overrides(overrides, run)
    try:
        settings = OmegaConf.create(compose_settings(*overrides))
        if missing := OmegaConf.missing_keys(settings):
            raise UserError(f"{', '.join(sorted(missing))} is not set; add it as NAME=VALUE")
        check_settings(settings)
        data = make_data(settings)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error
    data.prepare_data()
    data.setup()
    if data.class_names != [normalize("NFC", name) for name in predictor.class_names]:
        raise UserError(
            f"{predictor.checkpoint} has the classes {shorten(predictor.class_names)}, data={data.name} has "
            f"{shorten(data.class_names)}; choose data of the network's classes"
        )
    return data


def _check_overrides(overrides: Sequence[str], run: SavedRun | None) -> None:
    if other := [text for text in overrides if not text.startswith(("data=", "data."))]:
        raise UserError(f"{shorten(other)}: only data=NAME and data.SETTING=VALUE can be chosen here")
    if unused := [text for text in overrides if text.partition("=")[0] in TRAINING_ONLY]:
        raise UserError(f"{shorten(unused)}: used in training only, without effect on a test; leave it out")
    if run and run.record["data"] != DEFAULT_DATA and not any(text.startswith("data=") for text in overrides):
        raise UserError(f"{shorten(overrides)}: of which data set? add data={run.record['data']}, as of this run")
