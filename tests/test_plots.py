"""Figures show the numbers that went in."""

import numpy as np
import torch

from cifar10.plots import confusion_figure, confusions_figure, difference_figure, image_rows_figure

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


def test_rows_of_images_have_titles_beside_and_over_them():
    images = torch.rand(2, 3, 3, 4, 4)
    axes = image_rows_figure(images, ["one", "two"], NAMES).axes
    assert [part.get_title() for part in axes] == [*NAMES, "", "", ""]
    assert [part.get_ylabel() for part in axes] == ["one", "", "", "two", "", ""]
    np.testing.assert_array_equal(axes[4].images[0].get_array(), images[1, 1].permute(1, 2, 0))


def test_difference_maps_share_one_scale_and_the_nearest_is_bold():
    maps = torch.stack([torch.full((4, 4), 30.0), torch.full((4, 4), 12.0), torch.full((4, 4), 20.0)])
    axes = difference_figure(torch.rand(3, 4, 4), torch.rand(3, 3, 4, 4), maps, NAMES, "Delta E").axes
    top, below = axes[1:4], axes[5:8]
    assert [part.get_title() for part in top] == NAMES
    assert [part.title.get_fontweight() for part in top] == ["normal", "bold", "normal"]
    assert [part.get_title() for part in below] == ["30.0", "12.0", "20.0"]
    assert {part.images[0].get_clim() for part in below} == {(0, 30)}
