"""Tests a checkpoint again: on the same or other data, in any precision, on corrupted images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from cifar10.data.batches import EvalBatches, eval_batch_size
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError, one_line, shorten
from cifar10.inference.predictor import Predictor
from cifar10.models.classifier import Classifier
from cifar10.models.test_predictions import TestPredictions
from cifar10.networks.weights import published_entry
from cifar10.results.figures.curves import calibration
from cifar10.results.saved_run import SavedRun
from cifar10.training.config import check_settings, compose_settings
from cifar10.training.precision import autocast
from cifar10.training.run import make_data
from cifar10.training.run_folder import DEFAULT_DATA

TRAINING_ONLY = ("data.random_flip", "data.random_shift_px", "data.cutout_px", "data.val_split", "data.val_seed")


class Evaluation(NamedTuple):
    """Test results. test: as in `metrics.json`. ece: expected calibration error, in [0, 1]."""

    test: dict[str, Any]
    predictions: TestPredictions
    ece: float


@torch.inference_mode()
def evaluate(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    precision: str = "32-true",
    corrupt: Callable[[Tensor], Tensor] | None = None,
    batch_size: int | None = None,
) -> Evaluation:
    """Returns the results of `trainer.test`, bit-identical on the same device: same batches, precision and kernels.

    images: (N, 3, 32, 32) uint8; labels: (N,) int64. corrupt: function applied to each batch of images. batch_size:
    `data.eval_batch_size` of the run; None chooses by device.
    """
    device = next(classifier.parameters()).device
    classifier.setup("test")  # enables the compiled prototype kernels, as in the run's test
    try:
        for index, batch in enumerate(EvalBatches(images, labels, batch_size or eval_batch_size(device))):
            inputs, targets = (part.to(device) for part in batch)
            inputs = corrupt(inputs) if corrupt else inputs
            with autocast(precision, device):
                classifier.test_step((inputs, targets), index)
    finally:
        classifier.teardown("test")
    classifier.finish_test()
    predictions: Any = classifier.test_predictions
    ece = calibration(predictions.probabilities, predictions.labels).ece
    return Evaluation(classifier.test_results, predictions, ece)


def find_run(checkpoint: Path) -> SavedRun | None:
    """Returns the finished run in the checkpoint's folder, or None."""
    return SavedRun(checkpoint.parent) if (checkpoint.parent / "metrics.json").exists() else None


def load_predictors(paths: Sequence[str | Path], device: str | None) -> dict[str, Predictor]:
    """Returns title -> predictor for paths or names, as in `Predictor`. Raises UserError if their classes differ."""
    predictors: dict[str, Predictor] = {}
    for path in paths:
        predictor = Predictor(path, device)
        run, published = find_run(predictor.checkpoint), published_entry(predictor.checkpoint)
        title = run.title if run else str(path) if published else f"{predictor.network.name}, {path}"
        predictors[f"{title}, {path}" if title in predictors else title] = predictor
    if len({tuple(predictor.class_names) for predictor in predictors.values()}) > 1:
        raise UserError("the networks have different classes; choose networks with the same classes")
    return predictors


def load_data(predictor: Predictor, overrides: Sequence[str]) -> ImageData:
    """Loads the data set given by overrides. Default: the data of the checkpoint's run, or CIFAR-10 without a run.

    overrides: `data=NAME` and `data.SETTING=VALUE`. Raises UserError if the data cannot be read or its classes differ
    from the network's.
    """
    run = find_run(predictor.checkpoint)
    if run and not overrides:
        return run.data
    _check_overrides(overrides, run)
    try:
        settings = compose_settings(*overrides)
        if missing := OmegaConf.missing_keys(settings):
            raise UserError(f"missing setting: {', '.join(sorted(missing))}; add it as NAME=VALUE")
        check_settings(settings)
        data = make_data(settings)
    except (HydraException, OmegaConfBaseException, TypeError) as error:  # TypeError: Hydra on data=[1]
        raise UserError(one_line(error)) from error
    data.prepare_data()
    data.setup()
    check_classes(f"data={data.name}", data.class_names, predictor)
    return data


def check_classes(name: str, class_names: Sequence[str], predictor: Predictor) -> None:
    """Raises UserError if the images `name` have other classes than the network, or the same in another order."""
    if list(class_names) != predictor.class_names:
        raise UserError(
            f"{name} has the classes {shorten(class_names)}, expected those of {predictor.checkpoint}: "
            f"{shorten(predictor.class_names)}; choose data with the same classes"
        )


def _check_overrides(overrides: Sequence[str], run: SavedRun | None) -> None:
    if other := [text for text in overrides if not text.startswith(("data=", "data."))]:
        raise UserError(f"invalid setting {shorten(other)}: expected data=NAME or data.SETTING=VALUE")
    if unused := [text for text in overrides if text.partition("=")[0] in TRAINING_ONLY]:
        raise UserError(f"{shorten(unused)} affects training only; remove it")
    if run and run.record["data"] != DEFAULT_DATA and not any(text.startswith("data=") for text in overrides):
        raise UserError(f"{shorten(overrides)} needs a data set; add data={run.record['data']}, as in this run")
