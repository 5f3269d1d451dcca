"""Tests the defaults of the base class."""

import pytest
import torch

from cifar10.networks.base import CIFAR10_CLASSES, Network, to_unit


class LinearNetwork(Network):
    def __init__(self) -> None:
        super().__init__(CIFAR10_CLASSES)
        self.layer = torch.nn.Linear(3 * 32 * 32, 10)

    def forward(self, images):
        return self.layer(to_unit(images).flatten(1))


def test_defaults_of_network_with_forward_only():
    images = torch.arange(2 * 3 * 32 * 32, dtype=torch.uint8).reshape(2, 3, 32, 32)
    network = LinearNetwork()
    torch.testing.assert_close(network.embed(images), network.layer((images / 255).flatten(1)))
    assert network.name == "Linear"
    assert network.first_layer() is None
    assert network.prototype_images() is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_to_unit_returns_float32_for_any_precision(dtype):
    assert to_unit(torch.rand(2, 3, 4, 4).to(dtype)).dtype == torch.float32
