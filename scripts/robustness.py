"""Attacks networks: prints and draws the accuracy by size of the perturbation, in mean Delta E 1976 over the pixels.

python scripts/robustness.py prototype mlp cnn       writes robustness.png
python scripts/robustness.py runs/cnn/seed=1         attacks the network of a finished run

The attack is projected gradient descent in L*a*b*, with the same settings for every network. For prototypes, the
output also contains the certified accuracy, a lower bound under every attack, and the ratio of the perturbations
to the certified radii.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cifar10.inference.command_line import (
    CHECKPOINT,
    add_device,
    add_figure,
    make_parser,
    one_line_errors,
    positive_int,
)

if TYPE_CHECKING:
    import numpy as np

BATCH = 50
"""Images attacked at once, which bounds the memory."""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help=CHECKPOINT)
    parser.add_argument("--images", type=positive_int, default=200, metavar="N", help="first N test images (200)")
    parser.add_argument("--steps", type=positive_int, default=100, metavar="N", help="steps per start (100)")
    parser.add_argument("--restarts", type=positive_int, default=1, metavar="N", help="starts per image (1)")
    add_figure(parser, "robustness.png")
    add_device(parser)
    args = parser.parse_args()
    with one_line_errors():
        print(robustness(args))


def robustness(args: argparse.Namespace) -> str:
    """Attacks the networks, writes the figure and returns the table."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from cifar10.inference.attack import minimum_perturbation
    from cifar10.inference.evaluate import load_data, load_predictors
    from cifar10.networks.prototype import PrototypeNetwork
    from cifar10.results.figures import save_figure
    from cifar10.results.figures.robustness import PERTURBATIONS, accuracy_table, certified_radii, robustness_figure

    attacked: dict[str, np.ndarray] = {}
    certified: dict[str, np.ndarray] = {}
    for name, predictor in load_predictors(args.models, args.device).items():
        data, network, device = load_data(predictor, ()), predictor.network, predictor.device
        images, labels = data.test_images[: args.images], data.test_labels[: args.images]
        found = []
        for place in tqdm(range(0, len(images), BATCH), name, leave=False, disable=None):
            batch = (values[place : place + BATCH].to(device) for values in (images, labels))
            found.append(minimum_perturbation(network, *batch, args.steps, args.restarts))
        attacked[name] = torch.cat(found).cpu().numpy()
        if isinstance(network, PrototypeNetwork) and network.delta == "cie76":
            certified[name] = certified_radii(network, images, attacked[name] > 0)
    save_figure(robustness_figure(attacked, certified), args.out)
    rows = {f"{name}, attacked": values for name, values in attacked.items()}
    rows |= {f"{name}, certified": values for name, values in certified.items()}
    ratios = [ratio_line(name, attacked[name], radii) for name, radii in certified.items()]
    return "\n".join([accuracy_table(rows, (0, 0.1, *PERTURBATIONS)), "", *ratios, str(args.out)])


def ratio_line(name: str, norms: "np.ndarray", radii: "np.ndarray") -> str:
    """Compares the perturbations' norms with the certified radii, both (N,), where the radius is positive."""
    import numpy as np

    ratios = norms[radii > 0] / radii[radii > 0]
    if not len(ratios):
        return f"{name}: no positive certified radius"
    low, median, high = (f"{value:.2f}" for value in np.quantile(ratios, (0, 0.5, 1), method="nearest"))
    return f"{name}: perturbations of {low} to {high} times the certified radius, median {median}, {len(ratios)} images"


if __name__ == "__main__":
    main()
