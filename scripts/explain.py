"""Draws the color difference of each pixel between a test image and each class's nearest prototype.

python scripts/explain.py prototype_best --image 7              writes why.png
python scripts/explain.py runs/prototype/seed=1 --image 7       explains a finished run
"""

from pathlib import Path

from cifar10.inference.command_line import add_checkpoint, make_parser, one_line_errors


def main() -> None:
    parser = make_parser(__doc__)
    add_checkpoint(parser)
    parser.add_argument("--image", type=int, default=0, metavar="N", help="index of the test image (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("why.png"), help="output file: .png, .svg or .pdf (default: why.png)"
    )
    args = parser.parse_args()

    with one_line_errors():
        title = explain(args.checkpoint, args.image, args.out)
    print(f"{args.out}: {title}")


def explain(checkpoint: Path, index: int, out: Path) -> str:
    """Writes the figure; returns its title, with true and predicted class."""
    import cifar10
    from cifar10.errors import UserError
    from cifar10.files import write_atomically
    from cifar10.inference.evaluate import load_data
    from cifar10.networks.prototype import PrototypeNetwork
    from cifar10.results.figures.explanation import explanation_figure

    kind = out.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise UserError(f"--out {out}: expected a file name that ends in .png, .svg or .pdf")
    predictor = cifar10.load(checkpoint, "cpu")
    network = predictor.network
    if not isinstance(network, PrototypeNetwork):
        raise UserError(f"{checkpoint}: expected model=prototype, got {network.name}")
    data = load_data(predictor, ())
    images, labels = data.test_images, data.test_labels
    names = [name.encode(errors="replace").decode() for name in data.class_names]  # figures need valid Unicode
    if not 0 <= index < len(labels):
        raise UserError(f"--image {index}: expected 0 to {len(labels) - 1}")
    predicted = network(images[index][None])[0].argmax()
    title = f"test image {index}: {names[labels[index]]}, predicted {names[predicted]}"
    figure = explanation_figure(network, images[index], title)
    write_atomically(out, lambda file: figure.savefig(file, dpi=192, format=kind))
    return title


if __name__ == "__main__":
    main()
