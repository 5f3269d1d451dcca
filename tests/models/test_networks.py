"""The two networks against the study's shapes and an independent forward pass."""

from math import log, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar10.models.cnn import CNN, pixel_statistics
from cifar10.models.mlp import MLP

DENSE = {MLP: [(3072, 300), (300, 150), (150, 10)], CNN: [(4096, 128), (128, 64), (64, 10)]}
FILTERS = {MLP: [], CNN: [(3, 64), (64, 128), (128, 128), (128, 256), (256, 256)]}

both = pytest.mark.parametrize("network", [MLP, CNN])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_images(count: int) -> Tensor:
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)


def weighted(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize(("network", "count"), [(MLP, 968_560), (CNN, 1_641_802)])
def test_parameters_are_as_many_as_the_study_s_shapes_have(network, count):
    shapes = [(9 * a, b) for a, b in FILTERS[network]] + DENSE[network]
    assert sum(a * b + b for a, b in shapes) == count
    assert sum(parameter.numel() for parameter in network().parameters()) == count


@both
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_there_is_one_logit_per_class_name(network, classes):
    model = network(class_names=[str(i) for i in range(classes)])
    assert model(random_images(3)).shape == (3, classes)


@pytest.mark.parametrize(("network", "tolerance"), [(MLP, 0.5), (CNN, 0.05)])
def test_an_untrained_network_guesses(network, tolerance):
    """Loss near ln 10. The MLP's input is not centred, so its logits are not yet small: it was 0.1 to 0.4 above."""
    model, images = network(), random_images(50)
    if network is CNN:
        model.mean, model.std = pixel_statistics(images)
    loss = model.loss(model(images), torch.arange(50) % 10).item()
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


def test_mlp_is_three_dense_layers_with_elu():
    model, images = MLP(), random_images(5)
    x = images.numpy().reshape(5, -1) / 255.0
    for i, layer in enumerate(weighted(model)):
        nn.init.normal_(layer.bias)
        weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
        x = x @ weight.T + bias
        x = np.where(x > 0, x, np.expm1(x)) if i < 2 else x
    np.testing.assert_allclose(model(images).detach(), x, rtol=0, atol=1e-5)


def test_cnn_is_the_study_s_sequence_on_standardised_images():
    model, images = CNN().double(), random_images(3)
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


@both
def test_adam_is_keras_s(network):
    optimizer = network(learning_rate=0.003).configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    settings = {"lr": 0.003, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0, "amsgrad": False}
    assert {name: optimizer.defaults[name] for name in settings} == settings


@both
def test_the_study_s_learning_rate_is_the_default(network):
    assert network().configure_optimizers().defaults["lr"] == 0.001
