"""Builds a model from settings or from a checkpoint."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cifar10.models.classifier import Classifier
from cifar10.models.weiszfeld import Weiszfeld
from cifar10.networks.checkpoint import find_class, read_checkpoint, version_errors


def build_model(settings: Any, class_names: Sequence[str]) -> Classifier:
    """Returns the model of the settings in `conf/model/`: the class `_target_`, or Weiszfeld for solver=weiszfeld.

    settings: a dict of plain Python, checked by `cifar10.training.config.check_settings`.
    """
    arguments = dict(settings)
    module, _, name = arguments.pop("_target_").rpartition(".")
    cls = Weiszfeld if arguments.get("solver") == "weiszfeld" else getattr(import_module(module), name)
    return cls(class_names, **arguments)


def load_model(path: Path) -> Classifier:
    """Returns the model of a checkpoint or of published weights, on the CPU, in evaluation mode.

    Raises UserError for a file that is neither, or of a model that this version does not have.
    """
    checkpoint = read_checkpoint(path)
    with version_errors(path, "model"):
        model = find_class(checkpoint["model"], "cifar10.models", Classifier)(**checkpoint["hyper_parameters"])
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
    return model.eval()
