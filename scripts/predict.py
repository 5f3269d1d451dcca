"""What a trained model says of images of your own, of any size.

python scripts/predict.py runs/cnn/seed=1 cat.jpg photos/       a table; folders with all that is below them
python scripts/predict.py runs/cnn/seed=1 photos/ --csv         or --json, for programs
python scripts/predict.py best.ckpt cat.jpg --top 5             a checkpoint needs nothing beside it

Images that cannot be read are named, the others go on. Exit status: 0 all were read, 1 some were not, or nothing was.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

BLOCK = 500
"""Images that the model looks at at once; the next ones are decoded meanwhile."""
CELL = 18
"""Characters of a column."""
Row = tuple[str, list[tuple[str, float]]]
"""An image's path, and its most probable classes with their probabilities."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a finished run's folder, or a checkpoint")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE|FOLDER")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes for each image (default: 3)")
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator, if there is one)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a list of objects")
    form.add_argument("--csv", action="store_true", help="a row for each image, with a head")
    args = parser.parse_args()
    if args.top < 1:
        parser.error(f"--top {args.top}: choose at least 1")

    import cifar10

    try:
        bad: list[Path] = []
        paths = listed(args.images, bad)
        if not paths:
            sys.exit("predict.py: there is no image to look at")
        total = len(paths) + len(bad)
        model = cifar10.load(args.checkpoint, args.device)
        args.top = min(args.top, len(model.class_names))
        show = as_json if args.json else as_csv if args.csv else as_table
        show(answers(model, paths, args.top, bad), args.top, max(len(shown(path)) for path in paths))
    except (cifar10.UserError, OSError) as error:
        sys.exit(f"predict.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\npredict.py: stopped")
    if bad:
        sys.exit(f"predict.py: {len(bad):,} of {total:,} images cannot be read")


def listed(names: Sequence[Path], bad: list[Path]) -> list[Path]:
    """The files and those below the folders; what has none goes to `bad` and to standard error."""
    from cifar10.data.image_folder import image_files

    found = []
    for name in names:
        try:
            below = image_files(name) if name.is_dir() else [name] if name.exists() else []
            reason = "no images in this folder" if name.is_dir() else "no such file or folder"
        except OSError as error:  # a folder that may not be listed
            below, reason = [], error.strerror
        if not below:
            bad.append(name)
            print(f"{shown(name)}: {reason}", file=sys.stderr)
        found += below
    return found


def answers(model: Any, paths: Sequence[Path], top: int, bad: list[Path]) -> Iterator[Row]:
    """A row for each image that can be read, in order; the others go to `bad` and to standard error."""
    import torch
    from torch import Tensor
    from tqdm import tqdm

    from cifar10.data.image_io import read_each

    images: list[Tensor] = []
    names: list[str] = []
    bar = tqdm(read_each(paths), "Images", len(paths), delay=1, leave=False, disable=None)
    for place, image in enumerate(bar):
        if isinstance(image, Tensor):
            images.append(image)
            names.append(str(paths[place]))
        else:
            bad.append(paths[place])
            bar.write(f"{shown(paths[place])}: {image}", file=sys.stderr)
        if images and (len(images) == BLOCK or place == len(paths) - 1):
            bar.clear()  # a terminal gets the rows in its place
            yield from zip(names, model.predict(torch.stack(images)).top(top), strict=True)
            images, names = [], []


def shown(path: Path | str) -> str:
    """The path on one line."""
    return str(path) if str(path).isprintable() else repr(str(path))


def as_table(rows: Iterable[Row], top: int, width: int) -> None:
    cells = [f"{place + 1}" for place in range(top)]
    print("  ".join([f"{'image':<{width}}", *(f"{cell:<{CELL}}" for cell in cells)]).rstrip())
    for name, classes in rows:
        cells = [f"{probability:>6.1%} {one}" for one, probability in classes]
        print("  ".join([f"{shown(name):<{width}}", *(f"{cell:<{CELL}}" for cell in cells)]).rstrip())


def as_csv(rows: Iterable[Row], top: int, width: int) -> None:
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files can be any bytes
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", *(f"{what}_{place + 1}" for place in range(top) for what in ("class", "probability"))])
    for name, classes in rows:
        writer.writerow([name, *(value for one, probability in classes for value in (one, f"{probability:.6f}"))])


def as_json(rows: Iterable[Row], top: int, width: int) -> None:
    found = [
        {"image": name, "top": [{"class": one, "probability": probability} for one, probability in classes]}
        for name, classes in rows
    ]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
