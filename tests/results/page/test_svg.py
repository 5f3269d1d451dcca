"""Figures and images as data URIs."""

from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cifar10.results.page.svg import png, svg


def draw(title="title"):
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1])
    axes.imshow(np.zeros((3, 3)), extent=(0, 1, 0, 1))
    axes.set_title(title)
    return figure


def test_a_figure_is_an_image_with_words_and_the_text_of_matplotlib():
    element = svg(draw("a < 0.5"), 'cats & "dogs"')
    attributes = ElementTree.fromstring(str(element).replace('">', '"/>')).attrib
    assert attributes["alt"] == 'cats & "dogs"'
    assert (attributes["width"], attributes["height"]) == ("384", "192")
    drawn = b64decode(attributes["src"].removeprefix("data:image/svg+xml;base64,")).decode()
    texts = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")
    assert "a < 0.5" in [text.text for text in texts]


def test_the_same_figure_is_the_same_text():
    assert svg(draw(), "x") == svg(draw(), "x")


def test_images_come_back_as_they_were():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 4), dtype=np.uint8)
    frames[..., 3] = 255
    film = Image.open(BytesIO(b64decode(png(*frames).removeprefix("data:image/png;base64,"))))
    shown = []
    for place in range(film.n_frames):
        film.seek(place)
        shown.append((np.array(film.convert("RGBA")), film.info["duration"]))
    assert film.info["loop"] == 0
    assert [duration for _, duration in shown] == [350, 350, 2000]
    assert all(np.array_equal(pixels, frame) for (pixels, _), frame in zip(shown, frames, strict=True))
    still = Image.open(BytesIO(b64decode(png(frames[0]).partition(",")[2])))
    assert np.array_equal(np.array(still), frames[0])
