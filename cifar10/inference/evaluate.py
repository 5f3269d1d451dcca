"""A checkpoint on the test images of any data: what its run found, again, and under corruptions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from cifar10.data.batches import EvalBatches
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError, shorten
from cifar10.inference.predictor import TrainedModel
from cifar10.models.classifier import Classifier
from cifar10.models.test_predictions import TestPredictions
from cifar10.results.figures.curves import calibration
from cifar10.results.saved_run import SavedRun
from cifar10.training.config import check_settings, compose_settings
from cifar10.training.precision import autocast
from cifar10.training.run_folder import DEFAULT_DATA

OF_TRAINING = ("data.random_flip", "data.random_shift_px", "data.cutout_px", "data.val_split", "data.val_seed")


class Evaluation(NamedTuple):
    """What a model made of test images. test: as in `metrics.json`; ece: expected calibration error, in [0, 1]."""

    test: dict[str, Any]
    predictions: TestPredictions
    ece: float


@torch.inference_mode()
def evaluate(
    model: Classifier,
    data: ImageData,
    precision: str = "32-true",
    change: Callable[[Tensor], Tensor] | None = None,
    images: int | None = None,
) -> Evaluation:
    """The test of `trainer.test`, to the bit, in the same batches; its numbers are the run's on the same device.

    change: what is done to each batch of images before the model sees it. images: only the first so many.
    """
    device = next(model.parameters()).device
    model.setup("test")  # kernels for the processor, where the run made them too
    try:
        batches = EvalBatches(data.test_images[:images], data.test_labels[:images], data.eval_batch_size)
        for index, (pixels, labels) in enumerate(batches):
            pixels, labels = pixels.to(device), labels.to(device)
            pixels = change(pixels) if change else pixels
            with autocast(precision, device):
                model.test_step((pixels, labels), index)
    finally:
        model.teardown("test")
    model.finish_test()
    said = model.test_predictions
    return Evaluation(model.test_results, said, calibration(said.probabilities, said.labels).ece)


def run_of(checkpoint: Path) -> SavedRun | None:
    """The finished run that the checkpoint lies in."""
    return SavedRun(checkpoint.parent) if (checkpoint.parent / "metrics.json").exists() else None


def chosen_data(trained: TrainedModel, overrides: Sequence[str]) -> ImageData:
    """What `data=... data.root=...` describe; without any, the data of the checkpoint's run, or CIFAR-10.

    Raises UserError where they cannot be read or have other classes than the model, and what Hydra raises.
    """
    run = run_of(trained.checkpoint)
    if run and not overrides:
        return run.data
    if other := [text for text in overrides if not text.startswith(("data=", "data."))]:
        raise UserError(f"{shorten(other)}: only data=NAME and data.SETTING=VALUE can be chosen here")
    if idle := [text for text in overrides if text.partition("=")[0] in OF_TRAINING]:
        raise UserError(f"{shorten(idle)}: a setting of training, without effect on a test; leave it out")
    if run and run.record["data"] != DEFAULT_DATA and not any(text.startswith("data=") for text in overrides):
        raise UserError(f"{shorten(overrides)}: of which data? this run's is data={run.record['data']}; name it too")
    settings = OmegaConf.create(compose_settings(*overrides))
    if missing := OmegaConf.missing_keys(settings):
        raise UserError(f"{', '.join(sorted(missing))} is not set; add it as NAME=VALUE")
    check_settings(settings)
    data = instantiate(settings.data, _convert_="all")
    data.prepare_data()
    data.setup()
    if data.class_names != trained.class_names:
        raise UserError(
            f"{trained.checkpoint} tells {shorten(trained.class_names)} apart, data={data.name} has "
            f"{shorten(data.class_names)}; choose data of the model's classes"
        )
    return data
