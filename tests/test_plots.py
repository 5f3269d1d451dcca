"""Figures show the numbers that went in."""

import numpy as np
import torch

from cifar10.plots import confusion_figure, confusions_figure, image_grid_figure

COUNTS = [[8, 2, 0], [1, 6, 3], [0, 0, 5]]
NAMES = ["cat", "dog", "frog"]


def test_confusion_matrix_shows_rates_as_colour_and_counts_as_text():
    axes = confusion_figure(torch.tensor(COUNTS), NAMES, "run").axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2, 0], [0.1, 0.6, 0.3], [0, 0, 1]], rtol=1e-6)
    assert [text.get_text() for text in axes.texts] == [str(count) for row in COUNTS for count in row]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES


def test_confusions_leave_out_the_hits_on_the_study_s_scale():
    figure = confusions_figure([COUNTS, COUNTS], ["one", "two"], NAMES)
    for axes, title in zip(figure.axes, ["one", "two"], strict=False):
        image = axes.images[0]
        np.testing.assert_allclose(image.get_array(), [[0, 0.2, 0], [0.1, 0, 0.3], [0, 0, 0]], rtol=1e-6)
        assert image.get_clim() == (0, 0.35)
        assert axes.get_title() == title


def test_a_grid_has_a_title_over_each_image_and_nothing_in_the_rest():
    images = torch.rand(3, 3, 4, 4)
    axes = image_grid_figure(images, NAMES, columns=2).axes
    assert [part.get_title() for part in axes] == [*NAMES, ""]
    np.testing.assert_array_equal(axes[1].images[0].get_array(), images[1].permute(1, 2, 0))
    assert not axes[3].images
