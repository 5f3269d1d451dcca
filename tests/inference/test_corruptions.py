"""Tests each corruption against a reference implementation, its seed, and its order of severities."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import hsv2rgb, rgb2hsv

from cifar10.data.scenes import make_images
from cifar10.inference.corruptions import PARAMETERS, corruption


@pytest.fixture(scope="module")
def images():
    return make_images(50, 0)[0]


@pytest.mark.parametrize("kind", PARAMETERS)
def test_error_increases_with_severity(kind, images):
    errors = []
    for severity in range(1, 6):
        changed = corruption(kind, severity)(images)
        assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
        assert torch.equal(changed, corruption(kind, severity)(images))
        errors.append((changed.float() - images).square().mean().item())
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_noise_has_the_given_deviation_and_differs_by_batch_and_seed(images):
    gray = torch.full((200, 3, 32, 32), 128, dtype=torch.uint8)
    change = corruption("gaussian noise", 5)
    first, second = change(gray), change(gray)
    assert not torch.equal(first, second)
    assert not torch.equal(first, corruption("gaussian noise", 5, seed=1)(gray))
    assert first.float().std().item() == pytest.approx(25.5, rel=0.01)
    assert first.float().mean().item() == pytest.approx(128, abs=0.2)


def test_blur_matches_scipy(images):
    expected = gaussian_filter(images.numpy() / 255, (0, 0, 1.0, 1.0), mode="mirror", radius=4)
    np.testing.assert_allclose(corruption("gaussian blur", 5)(images).numpy(), expected * 255, atol=0.51)


def test_brightness_matches_scikit_image(images):
    colors = rgb2hsv(images.numpy().transpose(0, 2, 3, 1))
    colors[..., 2] = (colors[..., 2] + 0.3).clip(max=1)
    expected = hsv2rgb(colors).transpose(0, 3, 1, 2) * 255
    np.testing.assert_allclose(corruption("brightness", 5)(images).numpy(), expected, atol=1)


def test_contrast_keeps_the_mean_and_scales_the_deviation(images):
    pixels = images.double()
    mean = pixels.mean((2, 3), keepdim=True)
    expected = mean + 0.15 * (pixels - mean)
    torch.testing.assert_close(corruption("contrast", 5)(images).double(), expected, rtol=0, atol=0.51)


def test_jpeg_is_close_to_libjpeg(images):
    def compressed(image):
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=40)
        return np.array(Image.open(file)).transpose(2, 0, 1)

    expected = np.stack([compressed(image) for image in images.numpy()]).astype(int)
    changed = corruption("JPEG", 5)(images).numpy()
    assert np.abs(changed - expected).mean() < 0.4 * np.abs(images.numpy() - expected).mean()
