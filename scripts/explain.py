"""Why a prototype run said so: the colour difference of a test image to each typical image, pixel by pixel.

python scripts/explain.py runs/prototype/seed=1 --image 7       writes why.png
"""

import argparse
import sys
from pathlib import Path

from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run of model=prototype")
    parser.add_argument("--image", type=int, default=0, metavar="N", help="which test image, from 0 (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("why.png"), help="the picture (default: why.png)")
    args = parser.parse_args()
    if not (args.run / "best.ckpt").exists():
        sys.exit(f"explain.py: {args.run} holds no trained run; name the folder that train.py told at its end")

    from hydra.utils import instantiate

    from cifar10.errors import UserError
    from cifar10.models.prototype import Prototype
    from cifar10.pictures import why_figure

    try:
        model = Prototype.load_from_checkpoint(args.run / "best.ckpt", map_location="cpu", weights_only=True).eval()
        data = instantiate(OmegaConf.load(args.run / "config.yaml").data, _convert_="all")
        data.prepare_data()
        data.setup()
        if not 0 <= args.image < len(data.test_labels):
            raise UserError(f"--image {args.image}: there are {len(data.test_labels)} test images, counted from 0")
        if args.out.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise UserError(f"--out {args.out}: choose a name that ends in .png, .svg or .pdf")
    except (UserError, OSError) as error:
        sys.exit(f"explain.py: {error}")

    image = data.test_images[args.image]
    true, said = data.class_names[data.test_labels[args.image]], data.class_names[model(image[None])[0].argmax()]
    title = f"test image {args.image}: {true}, taken for {said}"
    figure = why_figure(model, image, title)
    figure.savefig(args.out, dpi=64)
    print(f"{args.out}: {title}")


if __name__ == "__main__":
    main()
