"""Tests a checkpoint: accuracy, loss and calibration, on any data and on corrupted images.

python scripts/evaluate.py cnn_best                                 repeats the test and compares with weights.json
python scripts/evaluate.py runs/cnn/seed=1                          repeats the test and compares with metrics.json
python scripts/evaluate.py runs/cnn/seed=1 --corruptions            adds noise, blur, brightness, contrast and JPEG
python scripts/evaluate.py runs/prototype/seed=1 --certify          adds the certified accuracy, and draws it
python scripts/evaluate.py runs/cnn/seed=1 --cifar10c CIFAR-10-C    adds the published corrupted images
python scripts/evaluate.py best.ckpt data=folder data.root=PATH     tests on other images of the same classes
python scripts/evaluate.py runs/cnn/seed=1 --tta-flip --json e.json test-time augmentation; writes all results as JSON
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from cifar10.inference.command_line import (
    add_checkpoint,
    add_device,
    add_figure,
    make_parser,
    one_line_errors,
    positive_int,
)

if TYPE_CHECKING:
    from torch import Tensor

    from cifar10.inference.evaluate import Evaluation
    from cifar10.inference.robustness_sets import Corruptions, LabeledImages


def main() -> None:
    parser = make_parser(__doc__)
    add_checkpoint(parser)
    parser.add_argument("data", nargs="*", metavar="data=...", help="data settings of train.py (default: the run's)")
    parser.add_argument("--corruptions", action="store_true", help="five kinds at five severities")
    parser.add_argument("--certify", action="store_true", help="certified accuracy by mean Delta E, with a figure")
    add_figure(parser, "certified_accuracy.png")
    parser.add_argument(
        "--cifar10c", type=Path, metavar="PATH", help="folder of CIFAR-10-C: 19 kinds at five severities"
    )
    parser.add_argument("--cifar101", type=Path, metavar="PATH", help="folder of CIFAR-10.1, version 6")
    parser.add_argument("--tta-flip", action="store_true", help="evaluate with model.tta_flip=true")
    parser.add_argument("--images", type=positive_int, metavar="N", help="test on the first N images only")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed", "16-mixed"), help="default: the run's")
    add_device(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE")
    args = parser.parse_intermixed_args()
    if args.out != parser.get_default("out") and not args.certify:
        parser.error("--out is the figure of --certify; add --certify")
    with one_line_errors():
        results = report(args)
        if args.json:
            from cifar10.files import write_json

            write_json(args.json, results)


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates, prints the results and returns them as plain Python."""
    import cifar10
    from cifar10.inference.evaluate import check_classes, evaluate, find_run, load_data
    from cifar10.inference.robustness_sets import read_cifar10c, read_cifar101
    from cifar10.models.build import load_model
    from cifar10.networks.base import CIFAR10_CLASSES
    from cifar10.networks.weights import published_entry
    from cifar10.training.record import device_name

    predictor = cifar10.load(args.checkpoint, args.device)
    if args.cifar10c or args.cifar101:
        check_classes("CIFAR-10", CIFAR10_CLASSES, predictor)
    cifar10c = read_cifar10c(args.cifar10c) if args.cifar10c else {}  # before the tests, which take minutes
    cifar101 = read_cifar101(args.cifar101) if args.cifar101 else None
    data, run = load_data(predictor, args.data), find_run(predictor.checkpoint)
    classifier = load_model(predictor.checkpoint).to(predictor.device)
    network: Any = classifier.network
    if args.tta_flip:
        if getattr(network, "tta_flip", True):
            raise cifar10.UserError("--tta-flip: the network has it enabled already, or does not support it; remove it")
        network.tta_flip = True
    precision = args.precision or (run.record["precision"] if run else "32-true")
    test = partial(evaluate, classifier, precision=precision, batch_size=data.eval_batch_size)
    images = data.test_images[: args.images], data.test_labels[: args.images]
    clean, published = test(*images), published_entry(predictor.checkpoint)
    results: dict[str, Any] = {
        "model": type(classifier).__name__,
        "checkpoint": predictor.checkpoint.name if published else str(predictor.checkpoint),
        "data": data.name,
        "images": len(clean.predictions.labels),
        "tta_flip": getattr(network, "tta_flip", False),
        "precision": precision,
        "device": device_name(predictor.device),
    }
    rows = results | {
        "accuracy": f"{clean.test['accuracy']:.2%}",
        "loss": f"{clean.test['loss']:.4f}",
        "calibration error": f"{clean.ece:.2%}",
    }
    if not (args.data or args.images or args.tta_flip):
        if run and predictor.checkpoint.name == "best.ckpt":
            rows["metrics.json"] = compare_to_record(clean.test, run.record)
        elif published:
            rows["weights.json"] = compare_to_record(clean.test, published)
    results |= {"test": clean.test, "ece": clean.ece}
    print_rows(rows)
    if args.certify:
        import numpy as np

        from cifar10.results.figures import save_figure
        from cifar10.results.figures.robustness import PERTURBATIONS, accuracy_table, certified_radii, robustness_figure

        correct = clean.predictions.predicted == clean.predictions.labels
        radii = certified_radii(network, images[0], correct)
        results["certified_accuracy"] = {str(size): float(np.mean(radii > size)) for size in PERTURBATIONS}
        save_figure(robustness_figure({}, {results["model"]: radii}), args.out)
        print(f"\n{accuracy_table({'certified accuracy': radii})}\n\n{args.out}")
    return results | test_robustness(args, test, images, clean, cifar10c, cifar101)


def test_robustness(
    args: argparse.Namespace,
    test: "Callable[..., Evaluation]",
    images: "tuple[Tensor, Tensor]",
    clean: "Evaluation",
    cifar10c: "dict[str, LabeledImages]",
    cifar101: "LabeledImages | None",
) -> dict[str, Any]:
    """Evaluates on the chosen corrupted or new images, prints the results and returns them as plain Python."""
    from cifar10.inference.corruptions import PARAMETERS, corruption
    from cifar10.inference.robustness_sets import EXTRA, mean_corruption_error

    results: dict[str, Any] = {}
    if cifar101:
        found = test(*cifar101.tensors(args.images))
        results["cifar101"] = {"images": len(found.predictions.labels), "test": found.test, "ece": found.ece}
        accuracy, count = found.test["accuracy"], len(found.predictions.labels)
        print_rows({"CIFAR-10.1": f"{accuracy:.2%} of {count:,} images, calibration error {found.ece:.2%}"})
    if args.corruptions:
        results["corruptions"] = found = evaluate_corruptions(
            PARAMETERS, lambda kind, severity: test(*images, corrupt=corruption(kind, severity))
        )
        print_table("accuracy under", clean, found)
    if cifar10c:
        results["cifar10c"] = found = evaluate_corruptions(
            cifar10c, lambda kind, severity: test(*cifar10c[kind].severity(severity).tensors(args.images))
        )
        print_table("CIFAR-10-C", clean, found, EXTRA)
        results["mean_corruption_error"] = error = mean_corruption_error(found)
        print(f"\nmean corruption error: {error:.2%}, not normalized")
    return results


def print_rows(rows: dict[str, Any]) -> None:
    print("\n".join(f"  {name:<17}  {value}" for name, value in rows.items()), flush=True)


def compare_to_record(test: dict[str, Any], record: dict[str, Any]) -> str:
    """Compares test results with the record of the run, or with the entry of published weights."""
    names = [name for name in ("accuracy", "class_accuracy", "confusion") if name in record["test"]]
    if all(test[name] == record["test"][name] for name in names):
        return f"same accuracy{' and confusion matrix' if 'confusion' in names else ', overall and by class'}"
    return f"{record['test']['accuracy']:.2%} on {record['device']} in {record['precision']}: results differ"


def evaluate_corruptions(kinds: Iterable[str], test: "Callable[[str, int], Evaluation]") -> "Corruptions":
    """Calls `test` for each corruption at each severity, with a progress bar."""
    from tqdm import tqdm

    results: Corruptions = {kind: [] for kind in kinds}
    jobs = [(kind, severity) for kind in results for severity in range(1, 6)]
    for kind, severity in tqdm(jobs, "Corruptions", leave=False, disable=None):
        found = test(kind, severity)
        results[kind].append({"accuracy": found.test["accuracy"], "ece": found.ece})
    return results


def print_table(title: str, clean: "Evaluation", results: "Corruptions", extra: Sequence[str] = ()) -> None:
    """Prints a Markdown table: accuracy by corruption and severity. extra: corruptions that the mean leaves out."""

    def row(name: str, values: list[dict[str, float]], cells: Sequence[str] = [""] * 5) -> str:
        means = [f"{mean(value[key] for value in values):.1%}" for key in ("accuracy", "ece")]
        return f"| {' | '.join([name.replace('_', ' '), *cells, *means])} |"

    rows = {kind: row(kind, one, [f"{value['accuracy']:.1%}" for value in one]) for kind, one in results.items()}
    averaged = [kind for kind in results if kind not in extra]
    print(f"\n| {title} | 1 | 2 | 3 | 4 | 5 | mean | mean calibration error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(row("no corruption", [{"accuracy": clean.test["accuracy"], "ece": clean.ece}]))
    print(*(rows[kind] for kind in averaged), sep="\n")
    name = f"these {len(averaged)} corruptions" if extra else "all corruptions"
    print(row(name, [value for kind in averaged for value in results[kind]]))
    print("".join(f"{rows[kind]}\n" for kind in extra), end="")


if __name__ == "__main__":
    main()
