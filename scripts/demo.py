"""Serves a web page on which several networks classify a dropped or pasted image side by side.

python scripts/demo.py runs/prototype/seed=1 runs/mlp/seed=1 runs/cnn/seed=1

Needs pip install -e '.[demo]'. The page is reachable from this machine only, and sends nothing to other machines.
"""

import os
from pathlib import Path

from cifar10.inference.command_line import add_device, make_parser, one_line_errors, require_packages


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs, or checkpoints")
    parser.add_argument("--image", type=Path, help="image file shown at the start")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free port from 7860")
    add_device(parser)
    args = parser.parse_intermixed_args()
    if args.port is not None and not 1 <= args.port <= 65535:
        parser.error(f"--port: got {args.port}, expected 1 to 65535")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it at import
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["no_proxy"] = "*"  # Gradio sends requests to its own server
    with one_line_errors():
        require_packages("demo", "gradio")

        from cifar10.data.image_io import read_images
        from cifar10.inference.demo import first_samples, launch, load_predictors, make_page

        if args.image:
            read_images([args.image])  # reports an unreadable file
        predictors = load_predictors(args.runs, args.device)
        page = make_page(predictors, first_samples(predictors), args.image)
        print(f"{launch(page, args.port)} (Ctrl-C to stop)", flush=True)
        page.block_thread()


if __name__ == "__main__":
    main()
