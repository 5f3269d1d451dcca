"""Serves a web page on which several networks classify an image side by side."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio
import numpy as np
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from torch import Tensor

from cifar10.data.image_io import read_each
from cifar10.errors import UserError
from cifar10.inference.demo_pictures import TOP, Picture, comparison, enlarge, explanations, to_pixels
from cifar10.inference.evaluate import find_run
from cifar10.inference.predictor import Predictor
from cifar10.networks.prototype import PrototypeNetwork

SAMPLES = 20  # test images to choose from
IMAGE: dict[str, Any] = {"height": 300, "buttons": [], "format": "png"}
GALLERY: dict[str, Any] = {"interactive": False, "show_label": False, "buttons": [], "format": "png"}
EVENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def first_samples(predictors: Mapping[str, Predictor]) -> list[tuple[Tensor, str]]:
    """Returns up to 20 test images with their class names, from the first run with available data."""
    for run in filter(None, (find_run(predictor.checkpoint) for predictor in predictors.values())):
        try:
            labels = run.data.test_labels[:SAMPLES]
            return [(image, run.class_names[label]) for image, label in zip(run.data.test_images, labels, strict=False)]
        except UserError as error:
            print(f"the page shows no test images: {error}", file=sys.stderr)
    return []


def make_page(
    predictors: Mapping[str, Predictor], samples: Sequence[tuple[Tensor, str]], first: Path | None = None
) -> gradio.Blocks:
    """Builds the page. samples: images (3, 32, 32) uint8 with class names. first: the image shown at the start."""
    compared = {name: one.network for name, one in predictors.items() if isinstance(one.network, PrototypeNetwork)}
    labels, comparisons = [], []
    with gradio.Blocks(title="Image classifiers", analytics_enabled=False, delete_cache=(86400, 86400)) as page:
        classes = ", ".join(next(iter(predictors.values())).class_names)
        gradio.Markdown(f"# Image classifiers\n\nClasses: {classes}. No image leaves this machine.")
        with gradio.Row():
            start, title = str(first) if first else None, "Image: drop, paste or choose a file"
            image = gradio.Image(start, label=title, sources=["upload", "clipboard"], elem_id="image", **IMAGE)
            title = "Input of the networks: 32 x 32 pixels"
            resized = gradio.Image(label=title, interactive=False, elem_id="resized", **IMAGE)
        if samples:
            add_samples(samples, image)
        with gradio.Row():
            for title in predictors:
                with gradio.Column(min_width=180):
                    gradio.Markdown(f"**{title}**")
                    labels.append(gradio.Label(show_label=False, num_top_classes=TOP, elem_classes="prediction"))
        for title in compared:
            gradio.Markdown(f"**{title}**: nearest prototypes; below, their color difference maps with the mean")
            comparisons.append(gradio.Gallery(columns=TOP, height="auto", elem_classes="comparison", **GALLERY))
        gradio.Markdown("**Explanations**: red supports the prediction, blue opposes it; occlusion has a common scale")
        explained = gradio.Gallery(columns=3, height="auto", elem_classes="explanation", **GALLERY)
        outputs = [resized, *labels, *comparisons]
        # preprocess=False: the project decodes the file itself, which limits its number of pixels.
        predict = classify(predictors, list(compared.values()))
        explain = explain_all(list(predictors.values()))
        gradio.on([image.change, page.load], predict, image, outputs, preprocess=False, **EVENT)
        gradio.on([image.change, page.load], explain, image, explained, preprocess=False, **EVENT)
    return page


def add_samples(samples: Sequence[tuple[Tensor, str]], image: gradio.Image) -> None:
    """Adds a row of images; clicking one copies it to `image`."""
    gradio.Markdown("Test images:")
    shown: Any = [(enlarge(to_pixels(sample)), name) for sample, name in samples]
    row: dict[str, Any] = {"columns": len(samples), "height": 130, "allow_preview": False}
    gallery = gradio.Gallery(shown, elem_id="samples", **row, **GALLERY)

    def choose(event: gradio.SelectData) -> np.ndarray:
        return to_pixels(samples[event.index][0])

    gallery.select(choose, None, image, **EVENT)


def classify(
    predictors: Mapping[str, Predictor], compared: Sequence[PrototypeNetwork]
) -> Callable[[dict[str, Any] | None], list[Any]]:
    """Returns a function that maps an uploaded file to the values of the page's output components."""

    def predict(file: dict[str, Any] | None) -> list[Any]:
        image = read(file)
        if not isinstance(image, Tensor):
            if image:
                gradio.Warning(f"Cannot read this image: {image}.", title="Error")
            return [None] * (1 + len(predictors) + len(compared))
        top = [dict(predictor.predict(image).top(len(predictor.class_names))[0]) for predictor in predictors.values()]
        return [enlarge(to_pixels(image)), *top, *(comparison(network, image) for network in compared)]

    return predict


def read(file: dict[str, Any] | None) -> Tensor | str:
    """Returns an uploaded image, (3, 32, 32) uint8, or the reason why it cannot be read; empty without a file."""
    return next(read_each([Path(file["path"])])) if file and file["path"] else ""


def explain_all(predictors: Sequence[Predictor]) -> Callable[[dict[str, Any] | None], list[Picture] | None]:
    """Returns a function that maps an uploaded file to the pictures of the gallery of explanations."""

    def explain(file: dict[str, Any] | None) -> list[Picture] | None:
        image = read(file)
        return explanations(predictors, image) if isinstance(image, Tensor) else None

    return explain


def launch(page: gradio.Blocks, port: int | None) -> str:
    """Serves the page on the loopback interface in a background thread; returns its URL. Sends no request elsewhere."""
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    address: dict[str, Any] = {"server_name": "127.0.0.1", "server_port": port, "share": False}
    # Refuses requests for other host names: a page of another site could reach this server by DNS rebinding.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    address["app_kwargs"] = {"middleware": [hosts]}
    options: dict[str, Any] = {"prevent_thread_lock": True, "ssr_mode": False, "quiet": True, "footer_links": []}
    try:
        return page.launch(**address, **options, theme=theme, max_file_size="50mb")[1]
    except OSError as error:
        raise UserError(f"cannot listen on port {port or '7860 to 7959'}; choose another one with --port N") from error
