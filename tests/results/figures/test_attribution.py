"""Explanations against their definitions, and the sanity check that they depend on the weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("captum", reason="needs Captum: pip install -e '.[explain]'")

from cifar10.networks.base import to_unit
from cifar10.networks.cnn import CNNNetwork
from cifar10.networks.mlp import MLPNetwork
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures.attribution import attribute, attribution_figure, integrated_gradients, occlusion
from cifar10.results.saved_run import SavedRun


@pytest.fixture(scope="module")
def image():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, 4, 4), dtype=torch.uint8, generator=generator).repeat_interleave(8, 1).repeat(1, 1, 8)


def make(network, **arguments):
    torch.manual_seed(0)
    return network(**arguments).eval()


def test_occlusion_is_the_mean_decrease_over_the_patches_of_a_pixel(image):
    network, pixels = make(MLPNetwork), to_unit(image)[None]
    total, count = np.zeros((32, 32)), np.zeros((32, 32))
    for row in range(0, 25, 2):
        for column in range(0, 25, 2):
            patch = slice(row, row + 8), slice(column, column + 8)
            occluded = pixels.clone()
            occluded[0, :, *patch] = pixels.mean((2, 3))[0, :, None, None]
            change = network(pixels).softmax(1)[0, 3] - network(occluded).softmax(1)[0, 3]
            total[patch] += change.item()
            count[patch] += 1
    np.testing.assert_allclose(occlusion(network, pixels, 3), total / count, atol=1e-6)


@pytest.mark.parametrize("network", [MLPNetwork, CNNNetwork])
def test_integrated_gradients_sum_to_the_change_of_the_logit(network, image):
    network, pixels = make(network, tta_flip=True), to_unit(image)[None]
    mean = pixels.mean((2, 3), keepdim=True).expand_as(pixels)
    expected = (network(pixels) - network(mean))[0, 2].item()
    assert integrated_gradients(network, pixels, 2).sum().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_grad_cam_is_the_weighted_sum_of_feature_maps(batch_norm, image):
    network, pixels = make(CNNNetwork, batch_norm=batch_norm), to_unit(image)[None]
    flatten = [type(layer).__name__ for layer in network.layers].index("Flatten")
    features = network.layers[:flatten](network.normalize(pixels)).detach().requires_grad_()
    logits = network.layers[flatten:](features)
    (gradient,) = torch.autograd.grad(logits.max(), features)
    expected = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
    expected = F.interpolate(expected, (32, 32), mode="bilinear")[0, 0].detach()
    np.testing.assert_allclose(attribute(network, image).maps["Grad-CAM"], expected, atol=1e-6)


def test_difference_map_of_prototypes_is_that_of_the_predicted_class(image):
    network = make(PrototypeNetwork)
    found = attribute(network, image)
    (_, prototype), (title, difference) = found.maps.items()
    assert torch.equal(prototype, network.prototypes[found.label])
    assert torch.equal(difference, network.difference_maps(image[None])[0][0, found.label])
    assert title.startswith("Delta E (cie76) ")


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
def test_explanations_change_with_random_weights(name, synthetic_runs):
    """Sanity check of Adebayo et al., "Sanity checks for saliency maps", 2018, by rank correlation."""
    run = SavedRun(synthetic_runs / f"model={name}")
    torch.manual_seed(0)
    network = type(run.network)(**run.network.arguments).eval()
    correlations = {}
    for image in run.data.test_images[:3]:
        trained, random = attribute(run.network, image), attribute(network, image)
        maps = {key: (trained.maps[key], random.maps[key]) for key in trained.maps.keys() & random.maps.keys()}
        for name, pair in (maps | {"occlusion": (trained.occlusion, random.occlusion)}).items():
            ranks = torch.stack([values.flatten().argsort().argsort().double() for values in pair])
            correlations.setdefault(name, []).append(torch.corrcoef(ranks)[0, 1].abs())
    assert {name: value for name, values in correlations.items() if (value := np.mean(values)) > 0.5} == {}


def test_figure_has_a_row_per_network_and_one_scale_of_occlusion(image):
    found = [attribute(make(network), image) for network in (PrototypeNetwork, MLPNetwork, CNNNetwork)]
    found[1] = found[1]._replace(occlusion=torch.linspace(-0.5, 0.25, 1024).view(32, 32))
    figure = attribution_figure(image, ["a", "b", "c"], found, "title")
    *axes, bar = figure.axes
    titles = [one.get_title() for one in axes]
    assert titles[::4] == ["a", "b", "c"]
    assert [titles[5], titles[9]] == ["", "Grad-CAM"]
    assert titles[6::4] == ["integrated gradients"] * 2
    assert titles[3::4] == ["occlusion"] * 3
    assert axes[7].images[0].get_array()[0, 0].tolist() == [5, 48, 97]  # the darkest blue
    assert bar.get_ylim() == (-0.5, 0.5)
