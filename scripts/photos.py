"""A few photographs to try a model on, for those who have none at hand; nothing is downloaded.

python scripts/photos.py photos
python scripts/predict.py runs/cnn/seed=1 photos

They come with scikit-image, whose documentation gives their sources, and are free of copyright. A cat is one of
CIFAR-10's classes; the others show what a model says of what it never learnt. A file that is there stays as it is.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Photo(NamedTuple):
    """name: the file's here; stored: as scikit-image has it; source: whose it is, and by what licence it is here."""

    name: str
    stored: str
    source: str


PHOTOS = (
    Photo("astronaut.png", "astronaut.png", "Eileen Collins, by NASA; public domain"),
    Photo("cat.png", "chelsea.png", "the cat Chelsea, by Stéfan van der Walt; CC0"),
    Photo("coffee.png", "coffee.png", "a cup of coffee, by Rachel Michetti, Pikolo Espresso Bar; CC0"),
    Photo("rocket.jpg", "rocket.jpg", "a Falcon 9 with DSCOVR, by SpaceX; public domain"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="is made if there is none")
    args = parser.parse_args()
    package = find_spec("skimage")
    if package is None:
        sys.exit("photos.py: the photographs come with scikit-image; pip install scikit-image")
    try:
        written = write(args.folder, Path(package.submodule_search_locations[0]) / "data")
    except OSError as error:
        sys.exit(f"photos.py: {error.filename}: {error.strerror}")
    if not written:
        sys.exit("photos.py: this version of scikit-image has none of the photographs; pip install -U scikit-image")


def write(folder: Path, data: Path) -> int:
    """Copies what lies in scikit-image's folder `data` and says whose it is; how many there are. Raises OSError."""
    there = [photo for photo in PHOTOS if (data / photo.stored).is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    for photo in there:
        path, content = folder / photo.name, (data / photo.stored).read_bytes()
        if not path.exists():
            path.write_bytes(content)
        kept = "" if path.read_bytes() == content else " (not this one: another file of that name was there)"
        print(f"  {path}  {photo.source}{kept}")
    return len(there)


if __name__ == "__main__":
    main()
