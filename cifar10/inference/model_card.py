"""Model cards of exported networks, as JSON and Markdown: training, test results, use and limits."""

from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, Template

from cifar10.inference.evaluate import Evaluation
from cifar10.inference.predictor import Predictor
from cifar10.results.records import command, experiment

if TYPE_CHECKING:
    from cifar10.inference.export import Check


def make_card(
    predictor: Predictor,
    training: Mapping[str, Any] | None,
    tested: Evaluation,
    files: Mapping[str, bytes],
    checks: Mapping[str, "Check"],
) -> dict[str, Any]:
    """Returns the model card as plain Python.

    training: from `describe_training`, or None if unknown. tested: test results of the weights in float32, on
    the images of the checks. files: content by file name. checks: results by runtime.
    """
    network, names = predictor.network, predictor.class_names
    test = {name: tested.test[name] for name in ("accuracy", "loss", "class_accuracy")}
    return {
        "model": network.name,
        "description": (getdoc(type(network)) or "").partition("\n")[0],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "settings": {name: value for name, value in network.arguments.items() if name != "class_names"},
        "classes": names,
        "input": {"name": "images", "type": "uint8", "shape": ["N", 3, 32, 32], "colors": "RGB, 0 to 255"},
        "output": {"name": "logits", "type": "float32", "shape": ["N", len(names)]},
        "files": {name: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in files.items()},
        "checks": {name: found._asdict() for name, found in checks.items()},
        "training": training,
        "test": {"images": len(tested.predictions.labels), "calibration_error": tested.ece, **test},
        "calibrated": getattr(network, "discriminative", True),
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxruntime")},
    }


def describe_training(record: dict[str, Any]) -> dict[str, Any]:
    """Returns what a model card reports of a run's training."""
    names = ("data", "data_sha256", "images", "seed", "epochs", "device", "commit")
    return {name: record[name] for name in names} | {"experiment": experiment(record), "command": command(record)}


def to_markdown(card: dict[str, Any]) -> str:
    """Renders the card from `model_card.md.jinja`."""
    text = Path(__file__).with_name("model_card.md.jinja").read_text()
    return Template(text, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True).render(card)
