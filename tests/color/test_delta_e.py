"""Compares color differences with scikit-image in float64 and with published values."""

import numpy as np
import pytest
import torch
from skimage.color import deltaE_cie76, deltaE_ciede94, deltaE_ciede2000, rgb2lab
from torch.utils._python_dispatch import TorchDispatchMode

from cifar10.color.delta_e import (
    delta_e_76,
    delta_e_94,
    delta_e_2000,
    full_precision,
    mean_difference,
    redmean,
    to_color_space,
    to_lab,
    to_rgb,
)

CIE = {"cie76": (delta_e_76, deltaE_cie76), "cie94": (delta_e_94, deltaE_ciede94)}
CIE["ciede2000"] = (delta_e_2000, deltaE_ciede2000)
FUNCTIONS = {name: function for name, (function, _) in CIE.items()} | {"redmean": redmean}
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

# Sharma, Wu and Dalal (2005), table 1: L*, a*, b* of both colors and their CIEDE2000.
PUBLISHED = [
    (50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425),
    (50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615),
    (50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412),
    (50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669),
    (50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461),
    (50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065),
    (50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492),
    (50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977),
    (50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030),
    (50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


def random_images(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def random_lab(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Returns L* in [0, 100], a* and b* in [-110, 110]."""
    low, high = torch.tensor([[[0, -110, -110]], [[100, 110, 110]]], dtype=dtype).view(2, 3, 1, 1)
    return low + (high - low) * random_images(*shape, dtype=dtype)


def cube(side: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Returns a regular grid of the RGB cube, including black, white and grays: (side ** 3, 3, 1, 1)."""
    steps = torch.linspace(0, 1, side, dtype=dtype)
    return torch.cartesian_prod(steps, steps, steps)[:, :, None, None]


def colors(*rows: tuple[float, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(rows, dtype=dtype)[:, :, None, None]


def published(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    first, second, expected = zip(*[(row[:3], row[3:6], row[6]) for row in PUBLISHED], strict=True)
    return colors(*first, dtype=dtype), colors(*second, dtype=dtype), list(expected)


def reference_lab(images: torch.Tensor) -> np.ndarray:
    return rgb2lab(images.double().numpy(), channel_axis=-3)


def reference(delta: str, first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """Returns the difference by scikit-image, or by the study's formula for redmean."""
    first, second = first.double().numpy(), second.double().numpy()
    if delta != "redmean":
        return CIE[delta][1](*np.broadcast_arrays(first, second), channel_axis=-3)
    red, green, blue = np.moveaxis(first - second, -3, 0)
    mean = (first[..., 0, :, :] + second[..., 0, :, :]) / 2
    return np.sqrt(2 * red**2 + 4 * green**2 + 3 * blue**2 + mean * (red**2 - blue**2))


def gradients(delta: str, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the gradients of the sum of all differences with respect to both colors."""
    pair = first.clone().requires_grad_(), second.clone().requires_grad_()
    return torch.autograd.grad(FUNCTIONS[delta](*pair).sum(), pair)


def test_lab_of_rgb_cube_matches_scikit_image():
    colors = cube(26)  # 0.00 and 0.04 lie in the linear part of sRGB
    np.testing.assert_allclose(to_lab(colors), reference_lab(colors), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("gray", "lightness"),
    [(0.0, 0.0), (0.5, 53.389), (1.0, 100.0)],  # 116 (((0.5 + 0.055) / 1.055) ** (2.4 / 3)) - 16
)
def test_lab_of_gray(gray, lightness):
    """Tolerance: white is (0.9505, 1, 1.0888) by the matrix and (0.95047, 1, 1.08883) by definition."""
    lab = to_lab(torch.full((3, 1, 1), gray)).flatten()
    np.testing.assert_allclose(lab, [lightness, 0, 0], rtol=0, atol=5e-3)


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 5, 7), (4, 2, 3, 5, 7)])
def test_lab_keeps_shape(shape):
    assert to_lab(random_images(*shape)).shape == shape


def test_lab_in_float64_matches_scikit_image():
    images = random_images(2, 3, 8, 8).double()
    np.testing.assert_allclose(to_lab(images), reference_lab(images), rtol=0, atol=1e-11)


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_color_space_of_each_difference(delta):
    images = random_images(2, 3, 4, 4)
    assert torch.equal(to_color_space(images, delta), images if delta == "redmean" else to_lab(images))


@PRECISIONS
@pytest.mark.parametrize("delta", FUNCTIONS)
def test_difference_of_random_colors_matches_reference(delta, dtype):
    """Samples all of L*a*b*, also outside the RGB gamut, to cover every chroma and hue."""
    sample = random_images if delta == "redmean" else random_lab
    first, second = sample(2, 40, 3, 25, 25, dtype=dtype)
    difference = FUNCTIONS[delta](first, second)
    assert difference.dtype == dtype
    expected = reference(delta, first, second)
    np.testing.assert_allclose(difference, expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-9)


@PRECISIONS
@pytest.mark.parametrize("delta", FUNCTIONS)
def test_difference_of_all_pairs_in_rgb_cube_matches_reference(delta, dtype):
    colors = to_color_space(cube(6, dtype), delta)
    difference = FUNCTIONS[delta](colors[:, None], colors)
    assert difference.shape == (216, 216, 1, 1)
    np.testing.assert_allclose(difference, reference(delta, colors[:, None], colors), rtol=0, atol=1e-4)


@PRECISIONS
def test_ciede2000_matches_published_pairs(dtype):
    first, second, expected = published(dtype)
    np.testing.assert_allclose(delta_e_2000(first, second).flatten(), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(delta_e_2000(second, first).flatten(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("delta", "expected"), [("cie76", 100), ("cie94", 100), ("ciede2000", 100), ("redmean", 3)])
def test_difference_of_black_and_white(delta, expected):
    black, white = to_color_space(colors((0, 0, 0), (1, 1, 1)), delta)
    assert FUNCTIONS[delta](black, white).item() == pytest.approx(expected, abs=1e-3)


def test_reference_of_cie94_is_first_color():
    """The weight of chroma is 1 for a gray reference and 1 / (1 + 0.045 * 100) for one of chroma 100."""
    gray, saturated = colors((50, 0, 0), (50, 100, 0))
    assert delta_e_94(gray, saturated).item() == pytest.approx(100, rel=1e-6)
    assert delta_e_94(saturated, gray).item() == pytest.approx(100 / 5.5, rel=1e-6)


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_equal_colors_have_zero_distance_and_gradient(delta):
    lab = torch.cat(
        [to_color_space(cube(6), delta), random_lab(200, 3, 1, 1), colors((0, 0, 0), (50, 0, 0), (50, 0, -30))]
    )
    assert FUNCTIONS[delta](lab, lab).abs().max() == 0
    first, second = gradients(delta, lab, lab.clone())
    assert first.abs().max() == 0
    assert second.abs().max() == 0


@pytest.mark.parametrize("delta", FUNCTIONS)
@pytest.mark.parametrize("gray", [0.0, 0.5, 1.0])
def test_gradient_wrt_rgb_is_zero_at_equal_colors(delta, gray):
    prototype = torch.full((1, 3, 4, 4), gray, requires_grad=True)
    image = to_color_space(torch.full((1, 3, 4, 4), gray), delta)
    mean_difference(image, to_color_space(prototype, delta), delta).sum().backward()
    assert prototype.grad.abs().max() == 0


@PRECISIONS
@pytest.mark.parametrize("delta", FUNCTIONS)
def test_gradients_wrt_rgb_are_finite_for_all_pairs_in_rgb_cube(delta, dtype):
    colors = cube(6, dtype).requires_grad_()
    lab = to_color_space(colors, delta)
    FUNCTIONS[delta](lab[:, None], lab).sum().backward()
    assert colors.grad.isfinite().all()


@PRECISIONS
@pytest.mark.parametrize("delta", ["cie76", "cie94", "ciede2000"])
@pytest.mark.parametrize("tint", [0, 1e-38, 1e-20, 1e-15, 1e-12, 1e-8, 1e-4])
def test_gradients_are_finite_near_black_and_gray(delta, dtype, tint):
    """Square roots and arctangents have infinite slope there."""
    tints = [(0, 0), (tint, 0), (0, tint), (-tint, 0), (0, -tint), (tint, -tint), (60, 20), (-10, -80)]
    lab = colors(*[(lightness, a, b) for lightness in (0, 50, 100) for a, b in tints], dtype=dtype)
    first, second = gradients(delta, lab[:, None], lab)
    assert first.isfinite().all()
    assert second.isfinite().all()


@PRECISIONS
def test_gradients_are_finite_for_opposite_hues(dtype):
    angles = torch.arange(0, 360, 15, dtype=torch.float64).deg2rad()
    first = torch.stack([torch.full_like(angles, 50), 40 * angles.cos(), 40 * angles.sin()], 1)[:, :, None, None]
    second = first * torch.tensor([1, -1, -1]).view(3, 1, 1)
    pairs = [(first, second), (first, 2 * second), published(torch.float64)[:2]]
    for pair in pairs:
        assert all(gradient.isfinite().all() for gradient in gradients("ciede2000", *(x.to(dtype) for x in pair)))


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_gradients_match_finite_differences(delta):
    """Avoids equal colors, grays and opposite hues, where differences are not differentiable."""
    sample = random_images if delta == "redmean" else random_lab
    first, second = sample(2, 8, 3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(FUNCTIONS[delta], (first.requires_grad_(), second.requires_grad_()))


def test_gradient_at_black_matches_slope_of_linear_parts():
    """Near black, the distance to white decreases by dL* = 903.3 / 12.92 per unit of gray."""
    black = torch.zeros(1, 3, 4, 4, requires_grad=True)
    mean_difference(to_lab(torch.ones(1, 3, 4, 4)), to_lab(black), "cie76").sum().backward()
    assert black.grad.sum().item() == pytest.approx(-903.3 / 12.92, rel=1e-3)


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_mean_difference_matches_mean_of_reference(delta):
    images, prototypes = to_color_space(random_images(7, 3, 32, 32), delta).split((4, 3))
    expected = [[reference(delta, image, prototype).mean() for prototype in prototypes] for image in images]
    np.testing.assert_allclose(mean_difference(images, prototypes, delta), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_empty_batch_has_zero_gradient(delta):
    prototypes = random_images(2, 3, 4, 4).requires_grad_()
    mean_difference(torch.rand(0, 3, 4, 4), prototypes, delta).sum().backward()
    assert prototypes.grad.abs().sum() == 0


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_equal_images_have_zero_distance(delta):
    images = to_color_space(random_images(30, 3, 32, 32), delta)  # from 26 on, cdist defaults to matrix products
    assert mean_difference(images, images, delta).diagonal().tolist() == [0.0] * 30


@pytest.mark.parametrize("delta", FUNCTIONS)
@pytest.mark.parametrize("block", [1, 3 * 20 * 2, 1000])
def test_blocks_do_not_change_differences_and_gradients(delta, block):
    """The blocks contain 1, 2 and all 7 images."""
    images, prototypes = to_color_space(random_images(10, 3, 4, 5), delta).split((7, 3))
    results = []
    for size in (block, 10**6):
        pair = images.clone().requires_grad_(), prototypes.clone().requires_grad_()
        means = mean_difference(*pair, delta, block=size)
        means.square().sum().backward()
        results.append((means.detach(), *(colors.grad for colors in pair)))
    for blocked, whole in zip(*results, strict=True):
        torch.testing.assert_close(blocked, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_block_bounds_memory_of_forward_and_backward(delta):
    class LargestTensor(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, list | tuple) else [result]:
                if isinstance(tensor, torch.Tensor):
                    self.elements = max(self.elements, tensor.numel())
            return result

    images, prototypes = random_images(60, 3, 8, 8), random_images(10, 3, 8, 8)
    with LargestTensor() as largest:
        means = mean_difference(images, prototypes.requires_grad_(), delta, block=10 * 64 * 5)
        means.sum().backward()
    pairs = 10 * 64 * 5  # of 38,400
    assert largest.elements <= max(3 * pairs, images.numel())


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_half_precision_inputs_are_computed_in_float32(delta):
    first, second = to_color_space(random_images(2, 3, 8, 8), delta).half()
    difference = FUNCTIONS[delta](first, second)
    assert difference.dtype == torch.float32
    assert torch.equal(difference, FUNCTIONS[delta](first.float(), second.float()))
    means = mean_difference(first[None], second[None], delta)
    assert means.dtype == torch.float32
    assert torch.equal(means, mean_difference(first[None].float(), second[None].float(), delta))


def test_to_rgb_inverts_to_lab_under_autocast():
    images = random_images(4, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        back = to_rgb(to_lab(images))
    torch.testing.assert_close(back, images, rtol=0, atol=1e-5)


def test_conversions_on_gpu_disable_tf32():
    before = torch.backends.cudnn.allow_tf32
    with full_precision("cuda"):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.is_autocast_enabled("cuda")
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32 is before is True


@pytest.mark.parametrize("delta", FUNCTIONS)
def test_autocast_has_no_effect(delta):
    images = random_images(6, 3, 8, 8)
    expected = mean_difference(to_color_space(images, delta), to_color_space(images[:3], delta), delta)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(
            mean_difference(to_color_space(images, delta), to_color_space(images[:3], delta), delta), expected
        )


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), lambda first, _: to_color_space(first, "cie76")])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.rand(2, 8, 8, 3), r"shape \(2, 8, 8, 3\), expected \(\.\.\., 3, H, W\)"),
        (torch.rand(3, 8), r"shape \(3, 8\), expected \(\.\.\., 3, H, W\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "dtype torch.uint8, expected floating point"),
    ],
)
def test_invalid_colors_raise_value_error(function, wrong, message):
    with pytest.raises(ValueError, match=message):
        function(wrong, wrong)


@pytest.mark.parametrize("function", [to_color_space, lambda images, delta: mean_difference(images, images, delta)])
def test_unknown_delta_raises_value_error(function):
    with pytest.raises(ValueError, match="delta='cmc': expected one of cie76, cie94, ciede2000, redmean"):
        function(torch.rand(1, 3, 4, 4), "cmc")


@pytest.mark.parametrize("shapes", [((2, 3, 4, 4), (2, 3, 4, 5)), ((3, 4, 4), (2, 3, 4, 4)), ((2, 3, 4, 4), (3, 4, 4))])
def test_incompatible_shapes_raise_value_error(shapes):
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\) and \(P, 3, H, W\)"):
        mean_difference(*(torch.rand(shape) for shape in shapes), "cie76")


@pytest.mark.parametrize(
    ("value", "where"), [(255.0, r"\[0, 255\]"), (-0.5, r"\[-0.5, 0\]"), (float("nan"), r"\[nan, nan\]")]
)
def test_colors_out_of_range_raise_value_error(value, where):
    images = torch.zeros(1, 3, 4, 4)
    images[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match=rf"values in {where}, expected \[0, 1\]"):
        to_color_space(images, "cie76")
