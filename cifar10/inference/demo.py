"""Serves a page on which several networks classify an image side by side; prototypes also show why."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio
import matplotlib
import numpy as np
from torch import Tensor

from cifar10.data.image_io import read_each
from cifar10.errors import UserError
from cifar10.inference.evaluate import run_of
from cifar10.inference.predictor import Predictor
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures.explanation import compare

SAMPLES = 20  # test images to choose from
TOP = 5  # classes shown for each network, and prototypes
PIXEL = 8  # screen pixels
IMAGE: dict[str, Any] = {"height": 300, "buttons": [], "format": "png"}
GALLERY: dict[str, Any] = {"interactive": False, "show_label": False, "buttons": [], "format": "png"}
EVENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def load_predictors(paths: Sequence[Path], device: str | None) -> dict[str, Predictor]:
    """Loads networks, by their titles on the page. Raises UserError if their classes differ."""
    predictors: dict[str, Predictor] = {}
    for path in paths:
        predictor = Predictor(path, device)
        run = run_of(predictor.checkpoint)
        title = run.title if run else f"{predictor.network.name}, {path}"
        predictors[f"{title}, {path}" if title in predictors else title] = predictor
    if len({tuple(predictor.class_names) for predictor in predictors.values()}) > 1:
        raise UserError("these networks have different classes; show networks with the same classes together")
    return predictors


def first_samples(predictors: Mapping[str, Predictor]) -> list[tuple[Tensor, str]]:
    """Returns the first test images and their classes, of the first run whose data is available."""
    for run in filter(None, (run_of(predictor.checkpoint) for predictor in predictors.values())):
        try:
            labels = run.data.test_labels[:SAMPLES]
            return [(image, run.class_names[label]) for image, label in zip(run.data.test_images, labels, strict=False)]
        except UserError as error:
            print(f"no test images to choose from: {error}", file=sys.stderr)
    return []


def make_page(
    predictors: Mapping[str, Predictor], samples: Sequence[tuple[Tensor, str]], first: Path | None = None
) -> gradio.Blocks:
    """Builds the page. samples: images (3, 32, 32) uint8 with their classes; first: the image shown at the start."""
    compared = {name: one.network for name, one in predictors.items() if isinstance(one.network, PrototypeNetwork)}
    labels, comparisons = [], []
    with gradio.Blocks(title="Image classifiers", analytics_enabled=False, delete_cache=(86400, 86400)) as page:
        classes = ", ".join(next(iter(predictors.values())).class_names)
        gradio.Markdown(f"# Image classifiers\n\nClasses: {classes}. No image leaves this machine.")
        with gradio.Row():
            start, title = str(first) if first else None, "An image: drop, paste or choose one"
            image = gradio.Image(start, label=title, sources=["upload", "clipboard"], elem_id="image", **IMAGE)
            title = "What the networks see: 32 x 32 pixels"
            seen = gradio.Image(label=title, interactive=False, elem_id="seen", **IMAGE)
        if samples:
            add_samples(samples, image)
        with gradio.Row():
            for title in predictors:
                with gradio.Column(min_width=180):
                    gradio.Markdown(f"**{title}**")
                    labels.append(gradio.Label(show_label=False, num_top_classes=TOP, elem_classes="prediction"))
        for title in compared:
            gradio.Markdown(f"**{title}**: nearest prototypes; below, color differences from the image, and their mean")
            comparisons.append(gradio.Gallery(columns=TOP, height="auto", elem_classes="comparison", **GALLERY))
        answer, outputs = classify(predictors, list(compared.values())), [seen, *labels, *comparisons]
        # Without preprocessing Gradio leaves decoding, with its bound on pixels, to this project.
        gradio.on([image.change, page.load], answer, image, outputs, preprocess=False, **EVENT)
    return page


def add_samples(samples: Sequence[tuple[Tensor, str]], image: gradio.Image) -> None:
    """Adds a row of images, one of which is shown in `image` when it is clicked."""
    gradio.Markdown("Or choose a test image:")
    shown: Any = [(enlarge(to_pixels(sample)), name) for sample, name in samples]
    row: dict[str, Any] = {"columns": len(samples), "height": 130, "allow_preview": False}
    gallery = gradio.Gallery(shown, elem_id="samples", **row, **GALLERY)

    def choose(event: gradio.SelectData) -> np.ndarray:
        return to_pixels(samples[event.index][0])

    gallery.select(choose, None, image, **EVENT)


def classify(
    predictors: Mapping[str, Predictor], compared: Sequence[PrototypeNetwork]
) -> Callable[[dict[str, Any] | None], list[Any]]:
    """Returns a function from an uploaded file to the values of the page's components."""

    def answer(file: dict[str, Any] | None) -> list[Any]:
        image = next(read_each([Path(file["path"])])) if file and file["path"] else ""
        if not isinstance(image, Tensor):
            if image:
                gradio.Warning(f"This image cannot be read: {image}.", title="Error")
            return [None] * (1 + len(predictors) + len(compared))
        top = [dict(predictor.predict(image).top(len(predictor.class_names))[0]) for predictor in predictors.values()]
        return [enlarge(to_pixels(image)), *top, *(comparison(network, image) for network in compared)]

    return answer


def comparison(network: PrototypeNetwork, image: Tensor) -> list[tuple[np.ndarray, str]]:
    """Returns the nearest prototypes with their classes, then maps of their difference from an image (3, 32, 32)."""
    found = compare(network, image.to(network.prototypes.device))
    maps = found.maps[:TOP].numpy()
    pictures = [*map(to_pixels, (found.prototypes[:TOP] * 255).round().byte())]
    pictures += [*matplotlib.colormaps["viridis"](maps / maps.max(), bytes=True)[..., :3]]
    captions = [network.class_names[label] for label in found.classes[:TOP]] + [f"{one.mean():.3g}" for one in maps]
    return list(zip(map(enlarge, pictures), captions, strict=True))


def to_pixels(image: Tensor) -> np.ndarray:
    """Returns (3, H, W) uint8 as (H, W, 3)."""
    return image.permute(1, 2, 0).contiguous().numpy()


def enlarge(pixels: np.ndarray) -> np.ndarray:
    """Enlarges (H, W, 3) to (8 H, 8 W, 3) without interpolation."""
    return pixels.repeat(PIXEL, 0).repeat(PIXEL, 1)


def launch(page: gradio.Blocks, port: int | None) -> str:
    """Serves the page to this machine only, without any request to others, in the background; returns its address."""
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    address: dict[str, Any] = {"server_name": "127.0.0.1", "server_port": port, "share": False}
    options: dict[str, Any] = {"prevent_thread_lock": True, "ssr_mode": False, "quiet": True, "footer_links": []}
    try:
        return page.launch(**address, **options, theme=theme, max_file_size="50mb")[1]
    except OSError as error:
        raise UserError(f"port {port or 'from 7860'} is not available; choose another one with --port") from error
