"""Classifies image files of any size with a trained network.

python scripts/predict.py cnn_best cat.jpg                      prints a table; uses published weights
python scripts/predict.py runs/cnn/seed=1 cat.jpg photos/       uses a finished run; reads folders recursively
python scripts/predict.py runs/cnn/seed=1 photos/ --csv         prints CSV; or --json
python scripts/predict.py best.ckpt cat.jpg --top 5             loads a checkpoint without its run folder

Unreadable images are reported on standard error, and the others classified. The exit status is 0 if all were read,
otherwise 1.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import cifar10
from cifar10.inference.command_line import add_checkpoint, add_device, make_parser, one_line_errors, positive_int

if TYPE_CHECKING:
    from cifar10.inference.predictor import Predictor

BLOCK = 500
"""Images per call of the network; threads decode the next ones in the meantime."""
CELL = 18
"""Width of a column in characters."""
RADIUS = "certified_radius"
"""Column for prototypes: no image within this mean Delta E 1976 has another prediction."""
Row = tuple[str, list[tuple[str, float]], list[float]]
"""Path of an image, its most probable classes with their probabilities, and its certified radius, if there is one."""


def main() -> None:
    parser = make_parser(__doc__)
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE|FOLDER")
    parser.add_argument("--top", type=positive_int, default=3, metavar="K", help="classes per image (default: 3)")
    add_device(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", dest="show", action="store_const", const=show_json, help="JSON: a list of objects")
    output.add_argument("--csv", dest="show", action="store_const", const=show_csv, help="CSV: one row per image")
    parser.set_defaults(show=show_table)
    with one_line_errors():
        run(parser.parse_intermixed_args())


def run(args: argparse.Namespace) -> None:
    """Prints the predictions. Raises UserError if an image cannot be read."""
    failed: list[Path] = []
    paths = find_images(args.images, failed)
    total = len(paths) + len(failed)
    if not paths:
        raise cifar10.UserError("no images found")
    predictor = cifar10.load(args.checkpoint, args.device)
    top = min(args.top, len(predictor.class_names))
    width = max(len(printable(path)) for path in paths)
    args.show(predict(predictor, paths, top, failed), top, width, columns(predictor))
    if failed:
        raise cifar10.UserError(f"cannot read {len(failed):,} of {total:,} images")


def find_images(names: Sequence[Path], failed: list[Path]) -> list[Path]:
    """Returns the files, also those in folders; reports missing files and empty folders, and adds them to `failed`."""
    from cifar10.data.image_io import image_files

    found = []
    for name in names:
        try:
            below = image_files(name) if name.is_dir() else [name] * name.exists()
            reason = "no images in this folder" if name.is_dir() else "file or folder not found"
        except OSError as error:  # a folder without read permission
            below, reason = [], str(error.strerror)
        if not below:
            failed.append(name)
            print(f"{printable(name)}: {reason}", file=sys.stderr)
        found += below
    return found


def predict(predictor: "Predictor", paths: Sequence[Path], top: int, failed: list[Path]) -> Iterator[Row]:
    """Yields a row per readable image, in order; reports the others and appends them to `failed`."""
    import torch
    from tqdm import tqdm

    from cifar10.data.image_io import read_each

    block: dict[int, torch.Tensor] = {}
    bar = tqdm(read_each(paths), "Images", len(paths), delay=1, leave=False, disable=None)
    for index, image in enumerate(bar):
        if isinstance(image, torch.Tensor):
            block[index] = image
        else:
            failed.append(paths[index])
            bar.write(f"{printable(paths[index])}: {image}", file=sys.stderr)
        if block and (len(block) == BLOCK or index == len(paths) - 1):
            bar.clear()  # rows overwrite the bar on a terminal
            images = torch.stack(list(block.values()))
            rows, radii = predictor.predict(images).top(top), [[]] * len(images)
            if RADIUS in columns(predictor):
                radii = predictor.network.certified_radius(images.to(predictor.device))[:, None].tolist()
            yield from zip((str(paths[place]) for place in block), rows, radii, strict=True)
            block = {}


def columns(predictor: "Predictor") -> list[str]:
    """Returns the names of additional columns: the certified radius for prototypes with delta=cie76."""
    return [RADIUS] * (getattr(predictor.network, "delta", None) == "cie76")


def printable(path: Path | str) -> str:
    """Returns the path, or its `repr` if it contains line breaks or other control characters."""
    return str(path) if str(path).isprintable() else repr(str(path))


def show_table(rows: Iterable[Row], top: int, width: int, more: Sequence[str]) -> None:
    def show(name: str, cells: Iterable[str]) -> None:
        print("  ".join([f"{name:<{width}}", *(f"{cell:<{CELL}}" for cell in cells)]).rstrip())

    show("image", [*map(str, range(1, top + 1)), *(name.replace("_", " ") for name in more)])
    for name, classes, values in rows:
        cells = [f"{probability:>6.1%} {label}" for label, probability in classes]
        show(printable(name), cells + [f"{value:.3f}" for value in values])


def show_csv(rows: Iterable[Row], top: int, width: int, more: Sequence[str]) -> None:
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.encoding == "utf-8":
        sys.stdout.reconfigure(errors="surrogateescape")  # writes file names byte by byte
    writer = csv.writer(sys.stdout, lineterminator="\n")
    head = [f"{name}_{rank}" for rank in range(1, top + 1) for name in ("class", "probability")]
    writer.writerow(["image", *head, *more])
    for name, classes, values in rows:
        cells = [value for label, probability in classes for value in (label, f"{probability:.6f}")]
        writer.writerow([name, *cells, *(f"{value:.6f}" for value in values)])


def show_json(rows: Iterable[Row], top: int, width: int, more: Sequence[str]) -> None:
    keys = ("class", "probability")
    found = []
    for name, classes, values in rows:
        image = {"image": name, "top": [dict(zip(keys, one, strict=True)) for one in classes]}
        found.append(image | dict(zip(more, values, strict=True)))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
