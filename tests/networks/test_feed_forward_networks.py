"""Tests the two feed-forward networks against the study's shapes and an independent forward pass."""

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


def weighted_layers(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize(("network", "count"), [(MLPNetwork, 968_560), (CNNNetwork, 1_641_802)])
def test_number_of_parameters_matches_the_study(network, count):
    shapes = [(9 * a, b) for a, b in FILTERS[network]] + DENSE[network]
    assert sum(a * b + b for a, b in shapes) == count
    assert sum(parameter.numel() for parameter in network().parameters()) == count


@both
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_one_logit_per_class_name(network, classes):
    model = network(class_names=[str(i) for i in range(classes)])
    assert model(random_images(3)).shape == (3, classes)


@pytest.mark.parametrize(("network", "tolerance"), [(MLPNetwork, 0.5), (CNNNetwork, 0.05)])
def test_initial_loss_is_near_that_of_uniform_predictions(network, tolerance):
    """ln 10. The MLP's input is not centered, so its initial logits are larger: the loss was 0.1 to 0.4 above."""
    model, images = network(), random_images(50)
    if network is CNNNetwork:
        model.fit_normalization(images)
    loss = F.cross_entropy(model(images), torch.arange(50) % 10).item()
    assert loss == pytest.approx(log(10), abs=tolerance)


@both
def test_initial_weights_are_glorot_uniform_and_biases_zero(network):
    """Uniform in +-sqrt(6 / (fan_in + fan_out)), as in Keras; fans of a 3 x 3 convolution count nine times."""
    fans = [9 * (a + b) for a, b in FILTERS[network]] + [a + b for a, b in DENSE[network]]
    layers = weighted_layers(network())
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


def test_pooling_before_relu_is_bit_identical_in_values_and_gradients():
    """Compares the order in the CNN with that of the study, with many ties at and above 0."""
    x = torch.randint(-3, 3, (8, 4, 6, 6)).float().requires_grad_()
    y = x.detach().clone().requires_grad_()
    ours, study = F.relu(F.max_pool2d(x, 2)), F.max_pool2d(F.relu(y), 2)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (study * weight).sum().backward()
    assert torch.equal(ours, study)
    assert torch.equal(x.grad, y.grad)


def test_mlp_matches_numpy():
    model, images = MLPNetwork(), random_images(5)
    x = images.numpy().reshape(5, -1) / 255.0
    for i, layer in enumerate(weighted_layers(model)):
        nn.init.normal_(layer.bias)
        weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
        x = x @ weight.T + bias
        x = np.where(x > 0, x, np.expm1(x)) if i < 2 else x
    np.testing.assert_allclose(model(images).detach(), x, rtol=0, atol=1e-5)


def test_cnn_matches_the_study_s_layers_on_standardized_images():
    model, images = CNNNetwork().double(), random_images(3)
    model.mean, model.std = torch.rand(3, 32, 32).double(), torch.rand(3, 32, 32).double() + 0.5
    x = torch.stack([(image.double() / 255 - model.mean) / model.std for image in images])
    layers = iter(weighted_layers(model))
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


@pytest.mark.parametrize("count", [1, 512, 515])  # summed in blocks of 256
def test_pixel_statistics_match_numpy(count):
    images = torch.randint(256, (count, 3, 4, 4), dtype=torch.uint8)
    images[:, 0, 0, 0] = 7  # a constant pixel: one gray level
    mean, std = pixel_statistics(images)
    scaled = images.numpy() / 255.0
    expected = scaled.std(0)
    expected[scaled.min(0) == scaled.max(0)] = 1 / 255
    assert (mean.dtype, std.dtype) == (torch.float32, torch.float32)
    np.testing.assert_allclose(mean, scaled.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("network", "normalized"), [(MLPNetwork, [300, 150]), (CNNNetwork, [64, 128, 128, 256, 256, 128, 64])]
)
def test_batch_norm_replaces_the_bias_of_each_hidden_layer(network, normalized):
    model = network(batch_norm=True)
    norms = [layer for layer in model.layers if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == normalized
    *hidden, last = weighted_layers(model)
    assert [layer.bias is None for layer in hidden] == [True] * len(normalized)
    assert last.bias is not None
    # A scale and a shift instead of a bias add one parameter per hidden unit.
    counts = [sum(parameter.numel() for parameter in each.parameters()) for each in (model, network())]
    assert counts[0] - counts[1] == sum(normalized)


def test_whitening_filters_whiten():
    """The covariance of the first 27 outputs is the identity, except for the 0.01 added to each variance."""
    images = torch.rand(50, 3, 12, 12).double().cumsum(3) - 6  # correlated neighbors
    filters = whitening_filters(images)
    assert torch.equal(filters[27:], -filters[:27])
    outputs = F.conv2d(images, filters[:27]).transpose(0, 1).reshape(27, -1)
    patches = np.lib.stride_tricks.sliding_window_view(images.numpy(), (3, 3), axis=(2, 3))
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 27)
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))
    expected = np.diag(variances / (variances + 0.01))
    np.testing.assert_allclose(outputs @ outputs.T / outputs.shape[1], expected, rtol=0, atol=1e-8)


@both
def test_tta_averages_logits_over_augmentations(network):
    model, images = network(tta_flip=True, tta_shift_px=1), random_images(3)
    with torch.no_grad():
        assert torch.equal(model.train()(images), model.layers(model.normalize(images)))  # no TTA in training
        model.eval()
        padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect").to(torch.uint8)
        augmented = [padded[:, :, i : i + 32, j : j + 32] for i in range(3) for j in range(3)]
        flipped = F.pad(images.flip(3).float(), (1, 1, 1, 1), mode="reflect").to(torch.uint8)
        augmented += [flipped[:, :, i : i + 32, j : j + 32] for i in range(3) for j in range(3)]
        expected = torch.stack([model.layers(model.normalize(batch)) for batch in augmented]).mean(0)
        torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)
