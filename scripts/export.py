"""A trained model for other runtimes: ONNX, torch.export's program and a model card, checked on the whole test set.

python scripts/export.py runs/cnn/seed=1                        writes runs/cnn/seed=1/export/
python scripts/export.py best.ckpt data=folder data.root=PATH --out exported

Needs pip install -e '.[export]'. Input are raw images, (N, 3, 32, 32) uint8, of any number N; output are logits. Both
files must give PyTorch's logits of every test image to within 1e-4, or nothing is written.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a finished run's folder, or a checkpoint")
    parser.add_argument("data", nargs="*", metavar="data=...", help="to check on (default: what it was tested on)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: export/ beside the checkpoint")
    args = parser.parse_args()
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        sys.exit(f"export.py: {', '.join(missing)} not installed; pip install -e '.[export]'")

    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from cifar10.errors import UserError
    from cifar10.training.config import explain

    try:
        export(args.checkpoint, args.data, args.out)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        sys.exit(f"export.py: {explain(error)}")
    except KeyboardInterrupt:
        sys.exit("\nexport.py: stopped")


def export(checkpoint: Path, overrides: list[str], out: Path | None) -> None:
    """Writes the files, after their check, and prints what it found."""
    from io import BytesIO
    from time import perf_counter

    import torch

    import cifar10
    from cifar10.files import write_atomically
    from cifar10.inference.evaluate import chosen_data, evaluate, run_of
    from cifar10.inference.export import BATCH, as_onnx, as_pt2, check, exported, onnx_runtime
    from cifar10.inference.model_card import make_card, markdown

    trained = cifar10.load(checkpoint, "cpu")
    data = chosen_data(trained, overrides)
    program = exported(trained.model)
    files = {"model.onnx": as_onnx(program, trained.class_names), "model.pt2": as_pt2(program)}
    start = perf_counter()
    expected = trained.logits(data.test_images, BATCH)
    speed = len(expected) / (perf_counter() - start)
    runtimes = {
        "onnxruntime": onnx_runtime(files["model.onnx"]),
        "torch.export": torch.export.load(BytesIO(files["model.pt2"])).module(),
    }
    checks = {name: check(name, runtime, data.test_images, expected) for name, runtime in runtimes.items()}
    card = make_card(trained, run_of(trained.checkpoint), evaluate(trained.model, data), files, checks)
    files |= {"card.json": json.dumps(card, indent=2).encode() + b"\n", "card.md": markdown(card).encode()}
    folder = out or trained.checkpoint.parent / "export"
    for name, content in files.items():
        write_atomically(folder / name, lambda file, content=content: file.write(content))
        print(f"  {folder / name}  {len(content):,} bytes")
    for name, found in checks.items():
        told = (
            f"{found.same_answers:,} of {found.images:,} answers the same, logits within {found.largest_difference:.1e}"
        )
        print(f"  {name:<12}  {told}, {found.images_per_second:,.0f} images/s")
    threads = torch.get_num_threads()
    print(f"  PyTorch {speed:,.0f} images/s; on {threads} thread{'s' if threads > 1 else ''}, in batches of {BATCH}")


if __name__ == "__main__":
    main()
