"""Explains predictions: color differences, Grad-CAM, integrated gradients, and occlusion for all models.

python scripts/explain.py prototype_best mlp_best cnn_best --image 7                           writes why.png
python scripts/explain.py runs/cnn/seed=1 --image cat.jpg --out cat.svg                        explains an image file
python scripts/explain.py runs/prototype/seed=1 --image 7 --classes    draws the color difference to every class

Needs pip install -e '.[explain]', except for --classes.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cifar10.errors import UserError, require_packages
from cifar10.inference.command_line import CHECKPOINT, add_figure, make_parser, one_line_errors

if TYPE_CHECKING:
    from torch import Tensor

    from cifar10.inference.predictor import Predictor


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help=CHECKPOINT)
    parser.add_argument("--image", default="0", metavar="N|FILE", help="index of a test image, or a file (default: 0)")
    parser.add_argument("--classes", action="store_true", help="compare with the prototypes of every class")
    add_figure(parser, "why.png")
    args = parser.parse_args()
    with one_line_errors():
        print(f"{args.out}: {explain(args)}")


def explain(args: argparse.Namespace) -> str:
    """Writes the figure; returns its title."""
    if not args.classes:
        require_packages("explain", "captum")
    import cifar10
    from cifar10.networks.prototype import PrototypeNetwork
    from cifar10.results.figures import save_figure
    from cifar10.results.figures.attribution import attribute, attribution_figure
    from cifar10.results.figures.explanation import explanation_figure

    predictors = [cifar10.load(path, "cpu") for path in args.models]
    image, title = find_image(args.image, predictors[0])
    if args.classes:
        network, *others = [predictor.network for predictor in predictors]
        if others or not isinstance(network, PrototypeNetwork):
            raise cifar10.UserError("--classes: expected a single model, a run of model=prototype")
        title += f", predicted {network.class_names[network(image[None])[0].argmax()]}"
        figure = explanation_figure(network, image, title)
    else:
        found = [attribute(predictor.network, image) for predictor in predictors]
        names = [
            f"{predictor.network.name}: {predictor.class_names[one.label]} {one.probability:.0%}"
            for predictor, one in zip(predictors, found, strict=True)
        ]
        figure = attribution_figure(image, names, found, title)
        title += f"; {', '.join(names)}"
    save_figure(figure, args.out)
    return title


def find_image(name: str, predictor: "Predictor") -> tuple["Tensor", str]:
    """Returns an image (3, 32, 32) uint8 and its title. name: a file, or the index of a test image."""
    from cifar10.data.image_io import read_images
    from cifar10.inference.evaluate import load_data

    if not name.isdecimal():
        return read_images([Path(name)])[0], Path(name).name
    data = load_data(predictor, ())
    labels, names = data.test_labels, predictor.class_names
    if int(name) >= len(labels):
        raise UserError(f"--image {name}: expected 0 to {len(labels) - 1}, or an image file")
    return data.test_images[int(name)], f"test image {name}: {names[labels[int(name)]]}"


if __name__ == "__main__":
    main()
