"""The numbers of the test set again, from a checkpoint: accuracy, loss, calibration; on any data; under corruptions.

python scripts/evaluate.py runs/cnn/seed=1                          the run's test; says whether metrics.json has it too
python scripts/evaluate.py runs/cnn/seed=1 --corruptions            and noise, blur, brightness, contrast and JPEG
python scripts/evaluate.py best.ckpt data=folder data.root=PATH     on other images of the same classes
python scripts/evaluate.py runs/cnn/seed=1 --tta-flip --json e.json also look at each image mirrored; keep it all
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifar10.data.datamodule import ImageData
    from cifar10.inference.evaluate import Evaluation
    from cifar10.inference.predictor import TrainedModel

Strengths = dict[str, list[dict[str, float]]]
"""Corruption -> accuracy and expected calibration error at each strength, the weakest first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a finished run's folder, or a checkpoint")
    parser.add_argument("data", nargs="*", metavar="data=...", help="as of train.py (default: what it was tested on)")
    parser.add_argument("--corruptions", action="store_true", help="test under corruptions too, at five strengths each")
    parser.add_argument("--tta-flip", action="store_true", help="look at each image as it is and mirrored")
    parser.add_argument("--images", type=int, metavar="N", help="only the first N test images")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed", "16-mixed"), help="default: as the run's")
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator, if there is one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there")
    args = parser.parse_args()
    if args.images is not None and args.images < 1:
        parser.error(f"--images {args.images}: choose at least 1")

    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from cifar10.errors import UserError
    from cifar10.files import write_json
    from cifar10.training.config import explain

    try:
        found = report(args)
        if args.json:
            write_json(args.json, found)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        sys.exit(f"evaluate.py: {explain(error)}")
    except KeyboardInterrupt:
        sys.exit("\nevaluate.py: stopped")


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Prints it; returns all of it as plain Python."""
    import cifar10
    from cifar10.errors import UserError
    from cifar10.inference.evaluate import chosen_data, evaluate, run_of
    from cifar10.training.record import device_name

    trained = cifar10.load(args.checkpoint, args.device)
    data, run = chosen_data(trained, args.data), run_of(trained.checkpoint)
    if args.tta_flip:
        if getattr(trained.model.network, "tta_flip", True):
            raise UserError("--tta-flip: this model looks at mirrored images already, or never does; leave it out")
        trained.model.network.tta_flip = True
    precision = args.precision or (run.record["precision"] if run else "32-true")
    clean = evaluate(trained.model, data, precision, images=args.images)
    about = {
        "model": type(trained.model).__name__,
        "checkpoint": str(trained.checkpoint),
        "data": data.name,
        "images": len(clean.predictions.labels),
        "tta_flip": getattr(trained.model.network, "tta_flip", False),
        "precision": precision,
        "device": device_name(trained.device),
    }
    rows = {name: str(value) for name, value in about.items()} | {
        "accuracy": f"{clean.test['accuracy']:.2%}",
        "loss": f"{clean.test['loss']:.4f}",
        "calibration error": f"{clean.ece:.2%}",
    }
    if run and trained.checkpoint.name == "best.ckpt" and not (args.data or args.images or args.tta_flip):
        rows["metrics.json"] = agreement(clean.test, run.record)
    print("\n".join(f"  {name:<17}  {value}" for name, value in rows.items()), flush=True)
    found = about | {"test": clean.test, "ece": clean.ece}
    if args.corruptions:
        found["corruptions"] = corrupted(trained, data, precision, args.images)
        print("\n" + "\n".join(table(clean, found["corruptions"])))
    return found


def agreement(test: dict[str, Any], record: dict[str, Any]) -> str:
    """Whether the run found the same, in words."""
    if all(test[name] == record["test"][name] for name in ("accuracy", "class_accuracy", "confusion")):
        return "the same accuracy and confusion matrix"
    return f"{record['test']['accuracy']:.2%}, on {record['device']} in {record['precision']}: not the same"


def corrupted(trained: "TrainedModel", data: "ImageData", precision: str, images: int | None) -> Strengths:
    """What the model makes of the test images under every corruption."""
    from tqdm import tqdm

    from cifar10.inference.corruptions import STRENGTHS, corruption
    from cifar10.inference.evaluate import evaluate

    todo = [(kind, strength + 1) for kind, values in STRENGTHS.items() for strength in range(len(values))]
    found: Strengths = {kind: [] for kind in STRENGTHS}
    for kind, strength in tqdm(todo, "Corruptions", leave=False, disable=None):
        one = evaluate(trained.model, data, precision, corruption(kind, strength), images)
        found[kind].append({"accuracy": one.test["accuracy"], "ece": one.ece})
    return found


def table(clean: "Evaluation", found: Strengths) -> Iterator[str]:
    """Accuracy by corruption and strength, as Markdown."""
    yield "| accuracy under | 1 | 2 | 3 | 4 | 5 | mean | mean calibration error |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield f"| nothing |  |  |  |  |  | {clean.test['accuracy']:.1%} | {clean.ece:.1%} |"
    for kind, strengths in found.items():
        values = [one["accuracy"] for one in strengths]
        cells = [*values, mean(values), mean(one["ece"] for one in strengths)]
        yield f"| {kind} | {' | '.join(f'{value:.1%}' for value in cells)} |"
    everything = [one for strengths in found.values() for one in strengths]
    accuracy, ece = (mean(one[name] for one in everything) for name in ("accuracy", "ece"))
    yield f"| all of them |  |  |  |  |  | {accuracy:.1%} | {ece:.1%} |"


if __name__ == "__main__":
    main()
