"""Tests of Muon against torch.optim.Muon, torch.optim.SGD and the singular value decomposition."""

import pytest
import torch
from torch import nn

from cifar10.errors import UserError
from cifar10.models.mlp import MLP
from cifar10.models.muon import MOMENTUM, Muon, orthogonalize

SETTINGS = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (25, 25)])
def test_orthogonalized_matrix_keeps_its_singular_vectors(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalize(matrix, torch.float32) @ right.T
    clear = values > 0.05 * values.norm()  # five steps do not raise the smallest ones to 1
    assert found.diagonal()[clear].min() > 0.6
    assert found.diagonal().max() < 1.3
    torch.testing.assert_close(found, found.diagonal().diag(), rtol=0, atol=1e-4)


def test_updates_of_hidden_weights_equal_those_of_pytorch():
    """Of a square matrix: for others PyTorch scales the rate. It also uses bfloat16."""
    torch.manual_seed(0)
    start = torch.randn(16, 16)
    start *= 4 / start.norm()  # the norm that Muon keeps
    own, reference = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = (
        Muon([own], [], torch.bfloat16, **SETTINGS),
        torch.optim.Muon([reference], lr=0.1, weight_decay=0.0, momentum=MOMENTUM),
    )
    for _ in range(3):
        gradient = torch.randn(16, 16)
        moves = []
        for weight, optimizer in zip((own, reference), optimizers, strict=True):
            weight.data.mul_(4 / weight.data.norm())
            before = weight.detach().clone()
            weight.grad = gradient.clone()
            optimizer.step()
            moves.append(weight.detach() - before)
        assert torch.cosine_similarity(*(move.flatten() for move in moves), dim=0) > 0.99
        assert moves[0].norm() == pytest.approx(moves[1].norm().item(), rel=0.05)


def test_convolution_is_a_matrix_of_its_outputs_and_keeps_its_norm():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last))
    flat = nn.Parameter(weight.detach().flatten(1).clone())
    for parameter in (weight, flat):
        parameter.grad = torch.arange(288.0).sin().view(8, 4, 3, 3).view_as(parameter)
        Muon([parameter], [], torch.float32, **SETTINGS | {"lr": 1e-6}).step()
    torch.testing.assert_close(weight.detach().flatten(1), flat.detach())
    assert weight.norm().item() == pytest.approx(8**0.5, rel=1e-4)


def test_other_parameters_are_trained_by_sgd():
    start = torch.linspace(-1, 1, 7)
    own, reference = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = Muon([], [own], torch.float32, **SETTINGS), torch.optim.SGD([reference], **SETTINGS)
    for step in range(3):
        for parameter, optimizer in zip((own, reference), optimizers, strict=True):
            parameter.grad = (step + 1) * start.cos()
            optimizer.step()
    assert torch.equal(own, reference)


def test_hidden_layers_are_all_but_the_first_and_the_last(random_data, quiet_trainer):
    data = random_data([0, 1] * 8, batch_size=4, val_size=4)
    model = MLP(["class 0", "class 1"], batch_norm=True, optimizer="muon", learning_rate=0.01)
    trainer = quiet_trainer()
    trainer.fit(model, data)
    groups = {group["hidden"]: group["params"] for group in trainer.optimizers[0].param_groups}
    assert [tuple(weight.shape) for weight in groups[True]] == [(150, 300)]
    assert {id(p) for p in groups[False]} == {id(p) for p in model.parameters()} - {id(p) for p in groups[True]}


def test_muon_needs_batch_normalization():
    with pytest.raises(UserError, match="batch_norm"):
        MLP(optimizer="muon")
