"""The picture of scripts/demo.py's page in the documents: what models say of an image, in Chromium without a window.

python scripts/screenshot.py docs/pictures/demo.png photos/cat.png runs/prototype/seed=1 runs/mlp/seed=1 runs/cnn/seed=1
python scripts/screenshot.py phone.png photos/cat.png runs/cnn/seed=1 --width 390 --scheme dark

Needs pip install -e '.[dev]' and Chromium.
"""

import argparse
import os
import shutil
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # demo.py lies beside this file, wherever it is run from

COLOURS = 256
"""Of the picture: it stays small and looks the same."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="PNG")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="what is dropped on the page")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="as of scripts/demo.py")
    parser.add_argument("--width", type=int, default=1000, metavar="PX", help="of the window (default: 1000)")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    args = parser.parse_args()
    if missing := [name for name in ("gradio", "playwright") if find_spec(name) is None]:
        sys.exit(f"screenshot.py: {', '.join(missing)} not installed; pip install -e '.[dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("screenshot.py: there is no chromium; install it, apt-get install chromium")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

    import cifar10
    from cifar10.data.image_io import read_images
    from cifar10.files import write_atomically
    from cifar10.inference.demo.page import launch, make_page
    from demo import opened, samples

    try:
        read_images([args.image])  # or its error, before a browser waits for it
        models = opened(args.runs, "cpu")
        page = make_page(models, *samples(models))
        content = pictured(launch(page, None, block=False), args.image, chromium, args.width, args.scheme)
        page.close(verbose=False)
        write_atomically(args.out, lambda file: file.write(content))
    except (cifar10.UserError, OSError) as error:
        sys.exit(f"screenshot.py: {error}")
    print(f"  {args.out}  {len(content):,} bytes")


def pictured(address: str, image: Path, chromium: str, width: int, scheme: str) -> bytes:
    """The whole page as PNG, after the image was dropped on it."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tab.goto(address)
        tab.locator("#image input[type=file]").set_input_files(image)
        tab.locator("#seen img").wait_for()
        tab.wait_for_load_state("networkidle")
        shot = tab.screenshot(full_page=True, animations="disabled")
        browser.close()
    content = BytesIO()
    Image.open(BytesIO(shot)).convert("RGB").quantize(COLOURS).save(content, "PNG", optimize=True)
    return content.getvalue()


if __name__ == "__main__":
    main()
