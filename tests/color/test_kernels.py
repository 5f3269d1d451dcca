"""Compares compiled kernels with the eager functions; skipped without a compiler."""

import pytest
import torch

from cifar10.color.delta_e import mean_difference, to_color_space
from cifar10.color.kernels import can_compile, compiled_mean_difference, compiled_to_color_space

SLOW = [pytest.param(delta, marks=pytest.mark.slow) for delta in ("cie94", "redmean")]  # a compilation each


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("delta", ["cie76", *SLOW])
def test_differences_and_gradients_match_eager_functions(delta, weighted, compiler):
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(10, 3, 32, 32, generator=generator)
    weights = torch.rand(32, 32, generator=generator) if weighted else torch.ones(32, 32)
    images, prototypes = to_color_space(rgb, delta).split(9)
    prototypes = torch.cat([prototypes, images[:1]])  # one pair is equal: difference and gradient are 0
    results = []
    for function in (mean_difference, compiled_mean_difference):
        variables = prototypes.clone().requires_grad_(), weights.clone().requires_grad_()
        means = function(images, variables[0], delta, *(variables[1:] if weighted else ()))
        means.square().sum().backward()
        results.append((means.detach(), *(variable.grad for variable in variables if variable.grad is not None)))
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
    assert results[1][0][0, -1] == 0
    torch.testing.assert_close(compiled_to_color_space(rgb, delta), to_color_space(rgb, delta), rtol=1e-5, atol=1e-4)


def test_ciede2000_raises_value_error():
    with pytest.raises(ValueError, match="ciede2000"):
        compiled_mean_difference(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), "ciede2000")


def test_incompatible_shapes_raise_value_error():
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\) and \(P, 3, H, W\)"):
        compiled_mean_difference(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5), "cie76")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 for the internal stack trace",
            "No working C++ co",
        ),
        (
            "C++ compile error\nOutput:\na.h:4:10: fatal error: omp.h: No such file\n    4 | #include",
            "a.h:4:10: fatal er",
        ),
        ("", "RuntimeError"),
    ],
)
def test_failed_compilation_warns_in_one_line(error, reason, monkeypatch, caplog):
    def kernels(delta):
        raise RuntimeError(error)

    monkeypatch.setattr("cifar10.color.kernels._kernels", kernels)
    assert not can_compile(torch.rand(2, 3, 4, 4), "cie76")
    (message,) = caplog.messages
    assert message.startswith("model.compile")
    assert reason in message
    assert "\n" not in message
