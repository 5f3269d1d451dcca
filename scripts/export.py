"""Exports a trained network to ONNX and torch.export, with a model card; checks the files on the whole test set.

python scripts/export.py cnn_best                               writes export/cnn_best/
python scripts/export.py runs/cnn/seed=1                        writes runs/cnn/seed=1/export/
python scripts/export.py best.ckpt data=folder data.root=PATH --out exported

Needs pip install -e '.[export]'. The input is raw images, (N, 3, 32, 32) uint8 for any N; the output is logits. Files
are written only if the logits of all test images differ by at most 1e-4 from PyTorch's.
"""

import json
from io import BytesIO
from operator import methodcaller
from pathlib import Path
from time import perf_counter

from cifar10.errors import require_packages
from cifar10.inference.command_line import add_checkpoint, make_parser, one_line_errors


def main() -> None:
    parser = make_parser(__doc__)
    add_checkpoint(parser)
    parser.add_argument("data", nargs="*", metavar="data=...", help="data settings of train.py (default: the run's)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: export/ in the run, export/NAME for names")
    args = parser.parse_intermixed_args()
    with one_line_errors():
        require_packages("export", "onnx", "onnxscript", "onnxruntime")
        export(args.checkpoint, args.data, args.out)


def export(checkpoint: Path, overrides: list[str], out: Path | None) -> None:
    """Exports the network, checks and writes the files, and prints the results of the checks."""
    import torch

    import cifar10
    from cifar10.files import write_atomically
    from cifar10.inference.evaluate import evaluate, find_run, load_data
    from cifar10.inference.export import BATCH, Runtime, check, export_network, onnx_runtime, to_onnx, to_pt2
    from cifar10.inference.model_card import describe_training, make_card, to_markdown
    from cifar10.models.build import load_model
    from cifar10.networks.weights import published_entry

    predictor = cifar10.load(checkpoint, "cpu")
    data = load_data(predictor, overrides)
    program = export_network(predictor.network)
    files = {"model.onnx": to_onnx(program, predictor.class_names), "model.pt2": to_pt2(program)}
    start = perf_counter()
    expected = predictor.logits(data.test_images, BATCH)
    speed = len(expected) / (perf_counter() - start)
    runtimes: dict[str, Runtime] = {
        "onnxruntime": onnx_runtime(files["model.onnx"]),
        "torch.export": torch.export.load(BytesIO(files["model.pt2"])).module(),
    }
    checks = {name: check(name, runtime, data.test_images, expected) for name, runtime in runtimes.items()}
    tested = evaluate(
        load_model(predictor.checkpoint), data.test_images, data.test_labels, batch_size=data.eval_batch_size
    )
    run, published = find_run(predictor.checkpoint), published_entry(predictor.checkpoint)
    training = describe_training(run.record) if run else published and published["training"]
    card = make_card(predictor, training, tested, files, checks)
    files |= {"card.json": json.dumps(card, indent=2).encode() + b"\n", "card.md": to_markdown(card).encode()}
    folder = out or (Path("export") / checkpoint.name if published else predictor.checkpoint.parent / "export")
    for name, content in files.items():
        write_atomically(folder / name, methodcaller("write", content))
        print(f"  {folder / name}  {len(content):,} bytes")
    for name, result in checks.items():
        print(
            f"  {name:<12}  {result.same_predictions:,} of {result.images:,} predictions agree, largest difference "
            f"{result.largest_difference:.1e}, {result.images_per_second:,.0f} images/s"
        )
    threads = torch.get_num_threads()
    print(f"  PyTorch {speed:,.0f} images/s; batches of {BATCH}, {threads} thread{'s' if threads > 1 else ''}")


if __name__ == "__main__":
    main()
