"""Colour differences against scikit-image's, which are computed in float64."""

import numpy as np
import pytest
import torch
from skimage.color import deltaE_cie76, rgb2lab

from cifar10.color import mean_delta_e, to_lab


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def reference_lab(images: torch.Tensor) -> np.ndarray:
    return rgb2lab(images.double().numpy(), channel_axis=-3)


def test_lab_of_the_whole_rgb_cube_is_that_of_scikit_image():
    steps = torch.linspace(0, 1, 26)  # 0.00 and 0.04 are in the part where sRGB is linear
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(3, 26, -1)
    np.testing.assert_allclose(to_lab(cube), reference_lab(cube), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("grey", "lightness"),
    [(0.0, 0.0), (0.5, 53.389), (1.0, 100.0)],  # 116 (((0.5 + 0.055) / 1.055) ** (2.4 / 3)) - 16
)
def test_grey_has_its_lightness_and_no_colour(grey, lightness):
    """Within 0.005 of no colour: white is 0.9505, 1, 1.0888 by the matrix and 0.95047, 1, 1.08883 by definition."""
    lab = to_lab(torch.full((3, 1, 1), grey)).flatten()
    np.testing.assert_allclose(lab, [lightness, 0, 0], rtol=0, atol=5e-3)


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 5, 7), (4, 2, 3, 5, 7)])
def test_lab_keeps_the_shape(shape):
    assert to_lab(random_images(*shape)).shape == shape


def test_lab_in_float64_agrees_with_scikit_image_to_rounding():
    images = random_images(2, 3, 8, 8).double()
    np.testing.assert_allclose(to_lab(images), reference_lab(images), rtol=0, atol=1e-11)


def test_mean_delta_e_of_every_pair_is_that_of_scikit_image():
    images, prototypes = random_images(7, 3, 32, 32).split((4, 3))
    references = [reference_lab(prototype) for prototype in prototypes]
    expected = [
        [deltaE_cie76(reference_lab(image), reference, channel_axis=0).mean() for reference in references]
        for image in images
    ]
    distances = mean_delta_e(to_lab(images), to_lab(prototypes))
    assert distances.shape == (4, 3)
    np.testing.assert_allclose(distances, expected, rtol=0, atol=1e-4)


def test_distance_from_black_to_white_is_100():
    black, white = to_lab(torch.zeros(1, 3, 2, 2)), to_lab(torch.ones(1, 3, 2, 2))
    assert mean_delta_e(black, white).item() == pytest.approx(100, abs=1e-3)


def test_equal_images_are_at_distance_zero_exactly():
    lab = to_lab(random_images(30, 3, 32, 32))  # a matrix product takes over at 26 images unless it is ruled out
    assert mean_delta_e(lab, lab).diagonal().tolist() == [0.0] * 30


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_gradient_vanishes_at_equal_colours(grey):
    prototype = torch.full((1, 3, 4, 4), grey, requires_grad=True)
    mean_delta_e(to_lab(torch.full((1, 3, 4, 4), grey)), to_lab(prototype)).sum().backward()
    assert prototype.grad.abs().max() == 0


def test_gradient_at_black_is_the_slope_of_the_difference():
    """Distance to white from a grey near black falls by dL*: 903.3 / 12.92 per unit of grey, in the linear parts."""
    black = torch.zeros(1, 3, 4, 4, requires_grad=True)
    mean_delta_e(to_lab(torch.ones(1, 3, 4, 4)), to_lab(black)).sum().backward()
    assert black.grad.sum().item() == pytest.approx(-903.3 / 12.92, rel=1e-3)
