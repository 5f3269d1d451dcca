"""A model card: what an exported model is, what it was trained and tested on, how to use it and what not to expect."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from inspect import getdoc
from typing import Any

from cifar10.inference.evaluate import Evaluation
from cifar10.inference.export import Check
from cifar10.inference.predictor import TrainedModel
from cifar10.results.records import command, experiment
from cifar10.results.saved_run import SavedRun

Card = dict[str, Any]
LIMITS = (
    "It knows its classes only and answers with one of them whatever it is shown.",
    "It sees 32 x 32 pixels: bring other images to that size first, the largest centred square, antialiased.",
    "Test accuracy is that on images like those of training; photographs of other kinds it recognises less often.",
)
NO_PROBABILITIES = (
    "Its logits are negative distances: their softmax is right in its order, but no measure of certainty."
)


def make_card(
    trained: TrainedModel,
    run: SavedRun | None,
    tested: Evaluation,
    files: Mapping[str, bytes],
    checks: Mapping[str, Check],
) -> Card:
    """All of it as plain Python. run: what the checkpoint lies in; without it nobody knows what it was trained on.

    tested: these weights in float32, on the images that the files were checked on.
    """
    model = trained.model
    typical = model.hparams.get("objective") == "typical"
    return {
        "model": type(model).__name__,
        "what": getdoc(type(model.network)).splitlines()[0],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "settings": {name: value for name, value in model.hparams.items() if name != "class_names"},
        "classes": trained.class_names,
        "input": {"name": "images", "type": "uint8", "shape": ["N", 3, 32, 32], "colours": "RGB, 0 to 255"},
        "output": {"name": "logits", "type": "float32", "shape": ["N", len(trained.class_names)]},
        "files": {name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in files.items()},
        "checked": {name: found._asdict() for name, found in checks.items()},
        "training": _training(run) if run else None,
        "test": _test(tested),
        "limits": [*LIMITS, *([NO_PROBABILITIES] if typical else [])],
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxruntime")},
    }


def _training(run: SavedRun) -> dict[str, Any]:
    record = run.record
    told = {"data": record["data"], "data_sha256": record["data_sha256"], "images": record["images"]}
    told |= {
        "experiment": experiment(record),
        "seed": record["seed"],
        "epochs": record["epochs"],
        "device": record["device"],
    }
    return told | {"command": command(record), "commit": record["commit"]}


def _test(tested: Evaluation) -> dict[str, Any]:
    found = {name: tested.test[name] for name in ("accuracy", "loss", "class_accuracy")}
    return {"images": len(tested.predictions.labels)} | found | {"calibration_error": tested.ece}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def markdown(card: Card) -> str:
    """The card to read."""
    lines = [f"# {card['model']}", "", card["what"], "", f"{card['parameters']:,} parameters.", ""]
    lines += [
        "## Use",
        "",
        "```python",
        *USE.splitlines(),
        "```",
        "",
        f"Classes, in order: {', '.join(card['classes'])}.",
    ]
    lines += ["", *(f"- {limit}" for limit in card["limits"]), "", "## Training", ""]
    if training := card["training"]:
        images = ", ".join(f"{count:,} {split}" for split, count in training["images"].items())
        lines += [f"Data {training['data']} ({images}), recipe {training['experiment']}, seed {training['seed']}, "]
        lines[-1] += f"{training['epochs']} epochs on {training['device']}:"
        lines += ["", "```sh", training["command"] or "# not started from the command line", "```"]
        commit = f"Commit {training['commit']}; the" if training["commit"] else "The"
        lines += ["", f"{commit} data's SHA-256 is {training['data_sha256']}."]
    else:
        lines += ["Unknown: there was no run beside the checkpoint."]
    test = card["test"]
    lines += ["", "## Test", "", f"In float32 {test['accuracy']:.2%} of {test['images']:,} test images, loss "]
    lines[-1] += f"{test['loss']:.4f}, expected calibration error {test['calibration_error']:.2%}."
    lines += ["", "| class | accuracy |", "| --- | --- |"]
    lines += [f"| {name} | {value:.1%} |" for name, value in test["class_accuracy"].items()]
    lines += ["", "## Files", "", "| file | bytes | SHA-256 |", "| --- | --- | --- |"]
    lines += [f"| {name} | {file['bytes']:,} | `{file['sha256']}` |" for name, file in card["files"].items()]
    lines += [
        "",
        "Checked against PyTorch on the test images:",
        "",
        "| runtime | same answer | largest difference of a logit |",
    ]
    lines += ["| --- | --- | --- |"]
    for name, found in card["checked"].items():
        lines += [f"| {name} | {found['same_answers']:,} of {found['images']:,} | {found['largest_difference']:.1e} |"]
    return "\n".join(lines) + "\n"


USE = """import json
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
[logits] = session.run(["logits"], {"images": images})  # (N, 3, 32, 32) uint8, RGB: the scaling is in the model
print([classes[label] for label in logits.argmax(1)])

import torch

logits = torch.export.load("model.pt2").module()(torch.from_numpy(images))"""
