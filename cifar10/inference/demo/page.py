"""The page of scripts/demo.py, made of Gradio's parts: an image in, what each model says of it side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio
from torch import Tensor

from cifar10.data.image_io import read_each
from cifar10.errors import UserError
from cifar10.inference.demo.parts import as_pixels, comparison, small_picture
from cifar10.inference.predictor import TrainedModel
from cifar10.models.prototype import Prototype

TITLE = "What is in the picture?"
SHOWN = 5
"""Classes under each answer."""
STYLE = Path(__file__).with_name("page.css")
FONTS = ["system-ui", "sans-serif"]


def make_page(models: dict[str, TrainedModel], samples: Tensor | None, names: Sequence[str]) -> gradio.Blocks:
    """models: their titles and what answers; samples: (N, 3, 32, 32) uint8 to pick from, with a name each."""
    # A day is longer than a visit; what was shown is deleted when the server ends.
    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(86400, 86400)) as page:
        classes = next(iter(models.values())).class_names
        gradio.Markdown(
            f"# {TITLE}\n\nEach model answers with one of: {', '.join(classes)}. Nothing leaves this machine."
        )
        with gradio.Row():
            with gradio.Column(scale=3, min_width=280):
                image = gradio.Image(
                    label="An image: drop, paste or choose one",
                    sources=["upload", "clipboard"],
                    type="filepath",
                    format="png",
                    height=300,
                    buttons=[],
                    elem_id="image",
                )
                # It stays a file: this project decodes it, with a bound on its pixels, and not Gradio. No subclass:
                # Gradio would write a .pyi file beside this one.
                image.preprocess = lambda payload: payload and payload.path
            with gradio.Column(scale=2, min_width=200):
                seen = gradio.HTML(small_picture(None), elem_id="seen")
        if samples is not None:
            pictures = [(as_pixels(sample), name) for sample, name in zip(samples, names, strict=True)]
            gallery = gradio.Gallery(
                pictures,
                label="Or one of the test set",
                columns=10,
                height=None,
                allow_preview=False,
                interactive=False,
                buttons=[],
                format="png",
                elem_id="samples",
            )

            def pick(event: gradio.SelectData) -> Any:
                return as_pixels(samples[event.index])

            gallery.select(pick, None, image, show_progress="hidden", api_visibility="private")
        with gradio.Row():
            labels = [
                gradio.Label(label=title, num_top_classes=SHOWN, min_width=180, elem_classes="said") for title in models
            ]
        compared = [gradio.HTML(elem_classes="compared") for one in models.values() if isinstance(one.model, Prototype)]
        outputs = [seen, *labels, *compared]
        image.change(answering(models), image, outputs, show_progress="hidden", api_visibility="private")
    return page


def answering(models: dict[str, TrainedModel]) -> Callable[[str | None], list[Any]]:
    """From the image's file to what stands on the page: the small picture, each model's answer, the comparisons."""
    prototypes = {title: one for title, one in models.items() if isinstance(one.model, Prototype)}

    def answer(path: str | None) -> list[Any]:
        image = next(read_each([Path(path)])) if path else ""
        if not isinstance(image, Tensor):
            complaint = f"This image cannot be read: {image}." if image else ""
            return [small_picture(None, complaint), *[None] * len(models), *[""] * len(prototypes)]
        said = [dict(one.predict(image).top(len(one.class_names))[0]) for one in models.values()]
        return [small_picture(image), *said, *(comparison(title, one, image) for title, one in prototypes.items())]

    return answer


def launch(page: gradio.Blocks, port: int | None, block: bool = True) -> str:
    """Serves it to this machine alone, without a call to anywhere; returns the address, at once unless `block`.

    Raises UserError where the port cannot be had.
    """
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            max_file_size="50mb",
            footer_links=[],
            theme=gradio.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"]),
            css_paths=STYLE,
        )
    except OSError as error:
        raise UserError(
            f"port {port or 'from 7860'} is taken, or not allowed; choose a free one with --port"
        ) from error
    if block:
        print(f"{address} (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return address
