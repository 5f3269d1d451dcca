"""Tests a checkpoint: accuracy, loss and calibration, on any data and on corrupted images.

python scripts/evaluate.py cnn_best                                 repeats the test and compares with weights.json
python scripts/evaluate.py runs/cnn/seed=1                          repeats the test and compares with metrics.json
python scripts/evaluate.py runs/cnn/seed=1 --corruptions            adds noise, blur, brightness, contrast and JPEG
python scripts/evaluate.py runs/prototype/seed=1 --certify          adds the certified accuracy by mean Delta E
python scripts/evaluate.py best.ckpt data=folder data.root=PATH     tests on other images of the same classes
python scripts/evaluate.py runs/cnn/seed=1 --tta-flip --json e.json test-time augmentation; writes all results as JSON
"""

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from cifar10.inference.command_line import add_checkpoint, add_device, make_parser, one_line_errors, positive_int

if TYPE_CHECKING:
    from cifar10.data.datamodule import ImageData
    from cifar10.inference.evaluate import Evaluation
    from cifar10.models.classifier import Classifier

Corruptions = dict[str, list[dict[str, float]]]
"""Corruption -> accuracy and expected calibration error at strengths 1 to 5."""


def main() -> None:
    parser = make_parser(__doc__)
    add_checkpoint(parser)
    parser.add_argument("data", nargs="*", metavar="data=...", help="data settings of train.py (default: the run's)")
    parser.add_argument("--corruptions", action="store_true", help="five kinds at five strengths")
    parser.add_argument("--certify", action="store_true", help="certified accuracy within a mean Delta E")
    parser.add_argument("--tta-flip", action="store_true", help="average the logits over horizontal flips")
    parser.add_argument("--images", type=positive_int, metavar="N", help="test on the first N images only")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed", "16-mixed"), help="default: the run's")
    add_device(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE")
    args = parser.parse_intermixed_args()
    with one_line_errors():
        results = report(args)
        if args.json:
            from cifar10.files import write_json

            write_json(args.json, results)


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates, prints the results and returns them as plain Python."""
    import numpy as np

    import cifar10
    from cifar10.inference.evaluate import evaluate, find_run, load_data
    from cifar10.models.build import load_model
    from cifar10.networks.weights import published_entry
    from cifar10.results.figures.robustness import CHANGES, accuracy_table, certified_radii
    from cifar10.training.record import device_name

    predictor = cifar10.load(args.checkpoint, args.device)
    data, run = load_data(predictor, args.data), find_run(predictor.checkpoint)
    classifier = load_model(predictor.checkpoint).to(predictor.device)
    network: Any = classifier.network
    if args.tta_flip:
        if getattr(network, "tta_flip", True):
            raise cifar10.UserError("--tta-flip: the network has it enabled already, or does not support it; remove it")
        network.tta_flip = True
    precision = args.precision or (run.record["precision"] if run else "32-true")
    clean = evaluate(classifier, data, precision, num_images=args.images)
    about: dict[str, Any] = {
        "model": type(classifier).__name__,
        "checkpoint": str(predictor.checkpoint),
        "data": data.name,
        "images": len(clean.predictions.labels),
        "tta_flip": getattr(network, "tta_flip", False),
        "precision": precision,
        "device": device_name(predictor.device),
    }
    rows = {name: str(value) for name, value in about.items()} | {
        "accuracy": f"{clean.test['accuracy']:.2%}",
        "loss": f"{clean.test['loss']:.4f}",
        "calibration error": f"{clean.ece:.2%}",
    }
    if not (args.data or args.images or args.tta_flip):
        if run and predictor.checkpoint.name == "best.ckpt":
            rows["metrics.json"] = compare_to_record(clean.test, run.record)
        elif published := published_entry(predictor.checkpoint):
            rows["weights.json"] = compare_to_record(clean.test, published)
    print("\n".join(f"  {name:<17}  {value}" for name, value in rows.items()), flush=True)
    results: dict[str, Any] = about | {"test": clean.test, "ece": clean.ece}
    if args.certify:
        correct = clean.predictions.predicted == clean.predictions.labels
        radii = certified_radii(network, data.test_images[: args.images], correct)
        results["certified_accuracy"] = {str(change): float(np.mean(radii > change)) for change in CHANGES}
        print("\n" + "\n".join(accuracy_table({"certified accuracy": radii})))
    if args.corruptions:
        results["corruptions"] = evaluate_corruptions(classifier, data, precision, args.images)
        print("\n" + "\n".join(table(clean, results["corruptions"])))
    return results


def compare_to_record(test: dict[str, Any], record: dict[str, Any]) -> str:
    """Compares test results with the record of the run, or with the entry of published weights."""
    names = [name for name in ("accuracy", "class_accuracy", "confusion") if name in record["test"]]
    if all(test[name] == record["test"][name] for name in names):
        return f"same accuracy{' and confusion matrix' if 'confusion' in names else ', overall and by class'}"
    return f"{record['test']['accuracy']:.2%} on {record['device']} in {record['precision']}: results differ"


def evaluate_corruptions(
    classifier: "Classifier", data: "ImageData", precision: str, num_images: int | None
) -> Corruptions:
    """Evaluates each corruption at each strength, with a progress bar."""
    from tqdm import tqdm

    from cifar10.inference.corruptions import STRENGTHS, corruption
    from cifar10.inference.evaluate import evaluate

    jobs = [(kind, strength + 1) for kind, values in STRENGTHS.items() for strength in range(len(values))]
    results: Corruptions = {kind: [] for kind in STRENGTHS}
    for kind, strength in tqdm(jobs, "Corruptions", leave=False, disable=None):
        found = evaluate(classifier, data, precision, corruption(kind, strength), num_images)
        results[kind].append({"accuracy": found.test["accuracy"], "ece": found.ece})
    return results


def table(clean: "Evaluation", results: Corruptions) -> Iterator[str]:
    """Yields the lines of a Markdown table: accuracy by corruption and strength."""

    def row(name: str, values: list[dict[str, float]], cells: list[str]) -> str:
        means = [f"{mean(value[key] for value in values):.1%}" for key in ("accuracy", "ece")]
        return f"| {' | '.join([name, *cells, *means])} |"

    yield "| accuracy under | 1 | 2 | 3 | 4 | 5 | mean | mean calibration error |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield row("no corruption", [{"accuracy": clean.test["accuracy"], "ece": clean.ece}], [""] * 5)
    for kind, values in results.items():
        yield row(kind, values, [f"{value['accuracy']:.1%}" for value in values])
    yield row("all corruptions", list(chain(*results.values())), [""] * 5)


if __name__ == "__main__":
    main()
