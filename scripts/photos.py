"""Copies a few sample photographs from scikit-image; downloads nothing.

python scripts/photos.py photos
python scripts/predict.py runs/cnn/seed=1 photos

The documentation of scikit-image lists their sources; all are free of copyright. The cat is of a CIFAR-10 class. The
others show predictions for images of no known class. Existing files are kept.
"""

from importlib.util import find_spec
from pathlib import Path

from cifar10.errors import UserError
from cifar10.inference.command_line import make_parser, one_line_errors

PHOTOS = {
    "astronaut.png": ("astronaut.png", "Eileen Collins, by NASA; public domain"),
    "cat.png": ("chelsea.png", "the cat Chelsea, by Stéfan van der Walt; CC0"),
    "coffee.png": ("coffee.png", "a cup of coffee, by Rachel Michetti, Pikolo Espresso Bar; CC0"),
    "rocket.jpg": ("rocket.jpg", "a Falcon 9 with DSCOVR, by SpaceX; public domain"),
}
"""File name -> name in scikit-image; subject, author and license."""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path, help="created if missing")
    args = parser.parse_args()
    with one_line_errors():
        copy_photos(args.folder)


def copy_photos(folder: Path) -> None:
    """Copies the photographs and prints their sources. Raises UserError if scikit-image is missing, and OSError."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise UserError("scikit-image not installed; pip install scikit-image")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (stored, source) in PHOTOS.items():
        path, content = folder / name, (Path(package.origin).parent / "data" / stored).read_bytes()
        if not path.exists():
            path.write_bytes(content)
        kept = "" if path.read_bytes() == content else " (kept an existing file with other content)"
        print(f"  {path}  {source}{kept}")


if __name__ == "__main__":
    main()
