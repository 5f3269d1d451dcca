"""Builds a model from settings or from a checkpoint."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cifar10.errors import UserError
from cifar10.models.classifier import Classifier
from cifar10.models.weiszfeld import Weiszfeld
from cifar10.networks.checkpoint import read_checkpoint


def build_model(settings: Mapping[str, Any], class_names: Sequence[str]) -> Classifier:
    """Returns the model of the settings in `conf/model/`: the class `_target_`, or Weiszfeld for solver=weiszfeld.

    settings: plain Python, checked by `cifar10.training.config.check_settings`.
    """
    arguments = dict(settings)
    module, _, name = arguments.pop("_target_").rpartition(".")
    if arguments.get("solver") == "weiszfeld":
        return Weiszfeld(class_names, **arguments)
    return getattr(import_module(module), name)(class_names, **arguments)


def load_model(path: Path) -> Classifier:
    """Returns the model of a checkpoint with its weights, on the CPU, in evaluation mode.

    Raises UserError for a file that is not a checkpoint, or of a model that this version does not have.
    """
    name = read_checkpoint(path)["model"]
    try:
        return model_class(name).load_from_checkpoint(path, map_location="cpu").eval()
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: not a model of this version ({reason})") from error


def model_class(name: Any) -> type[Classifier]:
    """Returns the class `NAME` of `cifar10/models/name.py`. Raises ValueError for any other name."""
    if isinstance(name, str) and name.isidentifier():
        module = f"cifar10.models.{name.lower()}"
        found = getattr(import_module(module), name, None) if find_spec(module) else None
        if isinstance(found, type) and issubclass(found, Classifier):
            return found
    raise ValueError(f"model {name!r}")
