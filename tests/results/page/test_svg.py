"""Figures as data URIs."""

from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure

from cifar10.results.page.svg import svg


def draw(title="title"):
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1])
    axes.imshow(np.zeros((3, 3)), extent=(0, 1, 0, 1))
    axes.set_title(title)
    return figure


def test_figure_is_an_image_with_alt_text_and_searchable_text():
    element = svg(draw("a < 0.5"), 'cats & "dogs"')
    attributes = ElementTree.fromstring(str(element).replace('">', '"/>')).attrib
    assert attributes["alt"] == 'cats & "dogs"'
    assert (attributes["width"], attributes["height"]) == ("384", "192")
    image = b64decode(attributes["src"].removeprefix("data:image/svg+xml;base64,")).decode()
    texts = ElementTree.fromstring(image).iter("{http://www.w3.org/2000/svg}text")
    assert "a < 0.5" in [text.text for text in texts]


def test_equal_figures_give_equal_files():
    assert svg(draw(), "x") == svg(draw(), "x")
