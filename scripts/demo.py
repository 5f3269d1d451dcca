"""A page to play with, in the browser: drop or paste an image and see what each model says of it, side by side.

python scripts/demo.py runs/prototype/seed=1 runs/mlp/seed=1 runs/cnn/seed=1

Needs pip install -e '.[demo]'. It is served to this machine alone and calls nowhere.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cifar10.inference.predictor import TrainedModel

SAMPLES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="finished runs' folders, or checkpoints")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860")
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator, if there is one)")
    args = parser.parse_args()
    if args.port is not None and not 1 <= args.port <= 65535:
        parser.error(f"--port {args.port}: choose 1 to 65535")
    if find_spec("gradio") is None:
        sys.exit("demo.py: gradio is not installed; pip install -e '.[demo]'")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    import cifar10
    from cifar10.inference.demo.page import launch, make_page

    try:
        models = opened(args.runs, args.device)
        launch(make_page(models, *samples(models)), args.port)
    except (cifar10.UserError, OSError) as error:
        sys.exit(f"demo.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\ndemo.py: stopped")


def opened(paths: Sequence[Path], device: str | None) -> "dict[str, TrainedModel]":
    """The models by what the page calls them. Raises UserError for those that cannot be shown together."""
    import cifar10
    from cifar10.inference.evaluate import run_of

    models: dict[str, TrainedModel] = {}
    for path in paths:
        trained = cifar10.load(path, device)
        run = run_of(trained.checkpoint)
        title = run.title if run else f"{type(trained.model).__name__}, {path}"
        models[f"{title}, {path}" if title in models else title] = trained
    if len({tuple(trained.class_names) for trained in models.values()}) > 1:
        raise cifar10.UserError(
            "these models have different classes; show those together that were trained on the same"
        )
    return models


def samples(models: "Mapping[str, TrainedModel]") -> tuple["Tensor | None", list[str]]:
    """The first test images, with their classes, of the first run whose data is there still; none without any."""
    from cifar10.errors import UserError
    from cifar10.inference.evaluate import run_of

    for run in filter(None, (run_of(trained.checkpoint) for trained in models.values())):
        try:
            data = run.data
        except UserError as error:
            print(f"demo.py: no test images to pick from: {error}", file=sys.stderr)
        else:
            return data.test_images[:SAMPLES], [data.class_names[label] for label in data.test_labels[:SAMPLES]]
    return None, []


if __name__ == "__main__":
    main()
