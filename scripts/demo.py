"""Serves a web page on which several networks classify a dropped or pasted image side by side.

python scripts/demo.py                                shows the best published weights of each model
python scripts/demo.py runs/mlp/seed=1 cnn_best       shows other networks
python scripts/demo.py --static site                  writes a page that any static host serves; needs onnxruntime-web

Needs pip install -e '.[demo]'. The page is reachable from this machine only, and sends nothing to other machines.
--static needs pip install -e '.[export]' and npm install onnxruntime-web. Its page classifies in the browser.
"""

import argparse
import os
from pathlib import Path

from cifar10.errors import require_packages
from cifar10.inference.command_line import CHECKPOINT, add_device, make_parser, one_line_errors


def main() -> None:
    parser = make_parser(__doc__)
    best = "(default: the best published weights of each model)"
    parser.add_argument("runs", nargs="*", type=Path, metavar="CKPT", help=f"{CHECKPOINT} {best}")
    parser.add_argument("--image", type=Path, help="image file shown at the start")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free port from 7860")
    add_device(parser)
    parser.add_argument("--static", type=Path, metavar="FOLDER", help="write the page to FOLDER instead of serving it")
    package = Path("node_modules/onnxruntime-web")
    parser.add_argument("--onnxruntime-web", type=Path, default=package, metavar="PATH", help=f"default: {package}")
    args = parser.parse_intermixed_args()
    if args.port is not None and not 1 <= args.port <= 65535:
        parser.error(f"--port: got {args.port}, expected 1 to 65535")
    if args.static and (args.image or args.port or args.device):
        parser.error("--static writes a page without a server; remove --image, --port and --device")
    with one_line_errors():
        (write_static if args.static else serve)(args)


def write_static(args: argparse.Namespace) -> None:
    require_packages("export", "onnx", "onnxscript", "onnxruntime")

    from cifar10.inference.evaluate import load_predictors
    from cifar10.inference.static_page import write_static_page
    from cifar10.networks.weights import best_names

    predictors = load_predictors(args.runs or best_names(), "cpu")
    size = write_static_page(args.static, predictors, args.onnxruntime_web)
    print(f"wrote {args.static}: {size:,} bytes; python -m http.server -d {args.static} serves it")


def serve(args: argparse.Namespace) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it at import
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["no_proxy"] = "*"  # Gradio sends requests to its own server
    require_packages("demo", "gradio", "captum")

    from cifar10.data.image_io import read_images
    from cifar10.inference.demo import first_samples, launch, make_page
    from cifar10.inference.evaluate import load_predictors
    from cifar10.networks.weights import best_names

    if args.image:
        read_images([args.image])  # reports an unreadable file
    predictors = load_predictors(args.runs or best_names(), args.device)
    page = make_page(predictors, first_samples(predictors), args.image)
    print(f"{launch(page, args.port)} (Ctrl-C to stop)", flush=True)
    page.block_thread()


if __name__ == "__main__":
    main()
