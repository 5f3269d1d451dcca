"""The two feed-forward networks against the study's shapes and an independent forward pass."""

from math import log, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar10.networks.cnn import CNNNetwork, pixel_statistics, whitening_filters
from cifar10.networks.mlp import MLPNetwork

DENSE = {MLPNetwork: [(3072, 300), (300, 150), (150, 10)], CNNNetwork: [(4096, 128), (128, 64), (64, 10)]}
FILTERS = {MLPNetwork: [], CNNNetwork: [(3, 64), (64, 128), (128, 128), (128, 256), (256, 256)]}

both = pytest.mark.parametrize("network", [MLPNetwork, CNNNetwork])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_images(count: int) -> Tensor:
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)


def weighted(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize(("network", "count"), [(MLPNetwork, 968_560), (CNNNetwork, 1_641_802)])
def test_parameters_are_as_many_as_the_study_s_shapes_have(network, count):
    shapes = [(9 * a, b) for a, b in FILTERS[network]] + DENSE[network]
    assert sum(a * b + b for a, b in shapes) == count
    assert sum(parameter.numel() for parameter in network().parameters()) == count


@both
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_there_is_one_logit_per_class_name(network, classes):
    model = network(class_names=[str(i) for i in range(classes)])
    assert model(random_images(3)).shape == (3, classes)


@pytest.mark.parametrize(("network", "tolerance"), [(MLPNetwork, 0.5), (CNNNetwork, 0.05)])
def test_initial_loss_is_that_of_guessing(network, tolerance):
    """Loss near ln 10. The MLP's input is not centred, so its logits are not yet small: it was 0.1 to 0.4 above."""
    model, images = network(), random_images(50)
    if network is CNNNetwork:
        model.fit_normalization(images)
    loss = F.cross_entropy(model(images), torch.arange(50) % 10).item()
    assert loss == pytest.approx(log(10), abs=tolerance)


@both
def test_weights_begin_glorot_uniform_and_biases_zero(network):
    """Uniform within sqrt(6 / (fan in + fan out)), where a 3 x 3 filter counts nine times, as in Keras."""
    fans = [9 * (a + b) for a, b in FILTERS[network]] + [a + b for a, b in DENSE[network]]
    layers = weighted(network())
    assert len(layers) == len(fans)
    for layer, fan in zip(layers, fans, strict=True):
        bound = sqrt(6 / fan)
        assert 0.97 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / sqrt(3), rel=0.05)
        assert layer.bias.count_nonzero() == 0


@both
def test_uint8_and_float_images_give_equal_logits(network):
    model, images = network(), random_images(4)
    assert torch.equal(model(images), model(images / 255))


def test_pooling_before_the_relu_changes_no_bit_of_values_or_gradients():
    """What the CNN does, against the study's order; with many ties, at 0 and above."""
    x = torch.randint(-3, 3, (8, 4, 6, 6)).float().requires_grad_()
    y = x.detach().clone().requires_grad_()
    ours, study = F.relu(F.max_pool2d(x, 2)), F.max_pool2d(F.relu(y), 2)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (study * weight).sum().backward()
    assert torch.equal(ours, study)
    assert torch.equal(x.grad, y.grad)


def test_mlp_is_three_dense_layers_with_elu():
    model, images = MLPNetwork(), random_images(5)
    x = images.numpy().reshape(5, -1) / 255.0
    for i, layer in enumerate(weighted(model)):
        nn.init.normal_(layer.bias)
        weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
        x = x @ weight.T + bias
        x = np.where(x > 0, x, np.expm1(x)) if i < 2 else x
    np.testing.assert_allclose(model(images).detach(), x, rtol=0, atol=1e-5)


def test_cnn_is_the_study_s_sequence_on_standardised_images():
    model, images = CNNNetwork().double(), random_images(3)
    model.mean, model.std = torch.rand(3, 32, 32).double(), torch.rand(3, 32, 32).double() + 0.5
    x = torch.stack([(image.double() / 255 - model.mean) / model.std for image in images])
    layers = iter(weighted(model))
    for step in ("conv", "pool", "conv", "conv", "pool", "conv", "conv", "pool"):
        if step == "conv":
            layer = next(layers)
            nn.init.normal_(layer.bias)
            x = F.relu(F.conv2d(x, layer.weight.contiguous(), layer.bias, padding=1))
        else:
            x = F.max_pool2d(x, 2)
    x = x.reshape(3, 4096)
    for last in (False, False, True):
        layer = next(layers)
        x = F.linear(x, layer.weight, layer.bias)
        x = x if last else F.relu(x)
    torch.testing.assert_close(model(images), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 5000, 5003])  # sums go in blocks of 5,000
def test_pixel_statistics_are_numpy_s(count):
    images = torch.randint(256, (count, 3, 4, 4), dtype=torch.uint8)
    images[:, 0, 0, 0] = 7  # a pixel that never changes: one grey level
    mean, std = pixel_statistics(images)
    scaled = images.numpy() / 255.0
    expected = scaled.std(0)
    expected[scaled.min(0) == scaled.max(0)] = 1 / 255
    assert (mean.dtype, std.dtype) == (torch.float32, torch.float32)
    np.testing.assert_allclose(mean, scaled.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("network", "normalised"), [(MLPNetwork, [300, 150]), (CNNNetwork, [64, 128, 128, 256, 256, 128, 64])]
)
def test_batch_normalisation_follows_each_hidden_layer_in_place_of_its_bias(network, normalised):
    model = network(batch_norm=True)
    norms = [layer for layer in model.layers if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == normalised
    *hidden, last = weighted(model)
    assert [layer.bias is None for layer in hidden] == [True] * len(normalised)
    assert last.bias is not None
    # A scale and a shift instead of a bias: as many parameters more as there are hidden units.
    counts = [sum(parameter.numel() for parameter in each.parameters()) for each in (model, network())]
    assert counts[0] - counts[1] == sum(normalised)


def test_whitening_filters_whiten():
    """The covariance of what the first 27 filters see is the identity, but for the 0.01 added to each variance."""
    images = torch.rand(50, 3, 12, 12).double().cumsum(3) - 6  # neighbouring pixels are alike
    filters = whitening_filters(images)
    assert torch.equal(filters[27:], -filters[:27])
    seen = F.conv2d(images, filters[:27]).transpose(0, 1).reshape(27, -1)
    patches = np.lib.stride_tricks.sliding_window_view(images.numpy(), (3, 3), axis=(2, 3))
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 27)
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))
    expected = np.diag(variances / (variances + 0.01))
    np.testing.assert_allclose(seen @ seen.T / seen.shape[1], expected, rtol=0, atol=1e-8)


@both
def test_tta_averages_logits_over_augmentations(network):
    model, images = network(tta_flip=True, tta_shift_px=1), random_images(3)
    with torch.no_grad():
        assert torch.equal(model.train()(images), model.layers(model.scale(images)))  # training sees one view
        model.eval()
        padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect").to(torch.uint8)
        views = [padded[:, :, i : i + 32, j : j + 32] for i in range(3) for j in range(3)]
        mirrored = F.pad(images.flip(3).float(), (1, 1, 1, 1), mode="reflect").to(torch.uint8)
        views += [mirrored[:, :, i : i + 32, j : j + 32] for i in range(3) for j in range(3)]
        expected = torch.stack([model.layers(model.scale(view)) for view in views]).mean(0)
        torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)
