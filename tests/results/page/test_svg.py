"""Figures and images as parts of a page."""

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cifar10.results.page.svg import INK, moving_png, png, svg


def draw(title="title", label="0.001"):
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([0, 1.23456], [0, 1], "o-", color="#0072B2", label=label)
    axes.imshow(np.zeros((3, 3)), extent=(0, 1, 0, 1))
    axes.set_title(title)
    axes.legend()
    return figure


def test_what_is_black_takes_the_page_s_colour_and_what_has_a_colour_keeps_it():
    drawn = svg("", draw)
    assert INK not in drawn
    assert {"#000000", "black"}.isdisjoint(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn))
    assert "currentColor" in drawn
    assert "#0072b2" in drawn


def test_no_two_figures_share_an_id_and_every_reference_is_its_own():
    first, second = svg("", draw), svg("", draw, title="another")
    ids = [re.findall(r'\bid="([^"]+)"', drawn) for drawn in (first, second)]
    assert not set(ids[0]) & set(ids[1])
    for own, drawn in zip(ids, (first, second), strict=True):
        assert len(own) == len(set(own))
        assert set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", drawn)) == set(own) != set()


def test_the_same_figure_is_the_same_text():
    assert svg("x", draw) == svg("x", draw)


def test_words_are_kept_as_they_are_and_places_rounded():
    drawn = svg('cats & "dogs"', draw, title="a < 0.12345")
    assert 'role="img" aria-label="cats &amp; &#34;dogs&#34;"' in drawn
    assert ">a &lt; 0.12345</text>" in drawn
    assert ">0.001</text>" in drawn
    assert not re.search(r' d="[^"]*\.\d{3}', drawn)
    assert "http" not in drawn


def test_images_come_back_as_they_were():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 4), dtype=np.uint8)
    frames[..., 3] = 255
    film = Image.open(BytesIO(b64decode(moving_png(list(frames), 100).removeprefix("data:image/png;base64,"))))
    shown = []
    for place in range(film.n_frames):
        film.seek(place)
        shown.append((np.array(film.convert("RGBA")), film.info["duration"]))
    assert film.info["loop"] == 0
    assert [duration for _, duration in shown] == [100, 100, 2000]
    assert all(np.array_equal(pixels, frame) for (pixels, _), frame in zip(shown, frames, strict=True))
    still = Image.open(BytesIO(b64decode(png(frames[0]).partition(",")[2])))
    assert np.array_equal(np.array(still), frames[0])
