"""The attack on linear classifiers of L*a*b* images, whose minimum perturbation is known, and its projection."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cifar10.color.delta_e import to_lab
from cifar10.inference.attack import attack, mean_norm, minimum_perturbation, project
from cifar10.networks.mlp import MLPNetwork


def test_minimum_perturbation_of_a_linear_classifier_is_found():
    """The dual norm of the mean of Euclidean norms is the largest Euclidean norm of a pixel's weights, times pixels."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 4, 4, generator=generator)
    lab = 20 * torch.randn(50, 3, 4, 4, generator=generator)

    def logits(lab):
        score = (lab * weights).sum((1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], 1)

    labels = logits(lab).argmax(1)
    expected = logits(lab)[:, 0].abs() / (16 * weights.norm(dim=0).max())
    found = attack(logits, lab, labels, steps=200)
    assert (found > expected * (1 - 1e-4)).all()
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_projection_equals_a_numerical_optimum():
    generator = torch.Generator().manual_seed(0)
    change, radius = torch.randn(4, 3, 2, 2, generator=generator), torch.tensor([0.3, 0.7, 0, 9])
    found = project(change, radius)
    assert mean_norm(found).tolist() == pytest.approx([0.3, 0.7, 0, mean_norm(change)[3].item()], abs=1e-6)
    for one, projected, limit in zip(change[:2].double(), found[:2], radius[:2], strict=True):
        bound = {"type": "ineq", "fun": lambda x, limit=limit: float(limit) - mean_of(x)}
        best = minimize(lambda x, one=one: ((x - one.numpy().ravel()) ** 2).sum(), np.full(12, 1e-3), constraints=bound)
        np.testing.assert_allclose(projected.ravel(), best.x, atol=1e-3)


def mean_of(change):
    return np.linalg.norm(change.reshape(3, -1), axis=0).mean()


def test_adversarial_examples_are_misclassified_and_in_srgb():
    torch.manual_seed(0)
    network, images = MLPNetwork(), torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    seen = []
    network.register_forward_hook(lambda module, inputs, logits: seen.append((inputs[0].detach(), logits.argmax(1))))
    labels = network(images).argmax(1)
    found = minimum_perturbation(network, images, labels, steps=20)
    assert all(pixels.min() >= 0 and pixels.max() <= 1 for pixels, _ in seen[2:])
    lab, smallest = to_lab(images / 255), torch.full((4,), float("inf"))
    for pixels, predicted in seen[2:]:
        distance = (to_lab(pixels) - lab).norm(dim=1).mean((1, 2))
        smallest = torch.where(predicted != labels, smallest.minimum(distance), smallest)
    np.testing.assert_allclose(found, smallest, atol=1e-3)


def test_no_image_is_attacked_if_all_are_misclassified():
    network, images = MLPNetwork(), torch.zeros(2, 3, 32, 32)
    assert minimum_perturbation(network, images, (network(images).argmax(1) + 1) % 10, steps=1).tolist() == [0, 0]


def test_misclassified_image_needs_no_perturbation():
    network, images = MLPNetwork(), torch.zeros(2, 3, 32, 32)
    predicted = network(images).argmax(1)
    found = minimum_perturbation(network, images, torch.stack([predicted[0], (predicted[1] + 1) % 10]), steps=5)
    assert (found == 0).tolist() == [False, True]
