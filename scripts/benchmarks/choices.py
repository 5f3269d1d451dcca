"""Measures the effect of single implementation choices: the same work with and without each.

Training steps at batch size 32 in a bare loop, or evaluation of 500 images; for prototypes, mean differences of
100 images to 10 prototypes and their gradient. The images are random. A ratio below 1 means that the choice is slower.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measure import Measurement, Rows, interleaved, seconds
from cifar10.color.delta_e import mean_difference, to_color_space
from cifar10.color.kernels import compiled_mean_difference
from cifar10.models.cnn import CNN
from cifar10.models.mlp import MLP
from cifar10.training.precision import autocast, best_device


def choices(data: str, rounds: int) -> dict[str, Rows]:
    cnn = partial(steps, CNN, torch.channels_last, 8)
    mlp = partial(steps, MLP, torch.contiguous_format, 300)
    compiled, blocks, pairwise = map(differences, (compiled_mean_difference, mean_difference, cdist))
    pairs = {
        "cnn: channels_last memory format": (cnn(), steps(CNN, torch.contiguous_format, 8)),
        "cnn: bfloat16 (used only on hardware that supports it)": (cnn(precision="bf16-mixed"), cnn()),
        "cnn: torch.compile (not used)": (cnn(compiled=True), cnn()),
        "cnn: evaluation in batches of 500 instead of 32": (evaluation(500), evaluation(32)),
        "mlp: fused Adam": (mlp(), mlp(fused=False)),
        "mlp: torch.compile (not used)": (mlp(compiled=True), mlp()),
        "prototypes: blocks instead of cdist": (blocks, pairwise),
        "prototypes: compiled kernels instead of cdist": (compiled, pairwise),
        "prototypes: compiled kernels instead of blocks": (compiled, blocks),
    }
    rows: Rows = {}
    for choice, (chosen, other) in pairs.items():
        rows |= interleaved({choice: {"with": chosen, "without": other}}, rounds)
    return {"seconds": rows}


def steps(
    model: type[Any],
    memory_format: torch.memory_format,
    count: int,
    precision: str = "32-true",
    compiled: bool = False,
    fused: bool = True,
) -> Measurement:
    """Returns a measurement of the seconds of `count` training steps at batch size 32."""
    device = best_device()
    layers = model().network.layers.to(device).to(memory_format=memory_format)
    network = torch.compile(layers) if compiled else layers
    optimizer = torch.optim.Adam(layers.parameters(), fused=fused)
    images = torch.rand(32, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
    labels = torch.arange(32, device=device) % 10

    def train() -> None:
        for _ in range(count):
            with autocast(precision, device):
                loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return seconds(train)


def evaluation(batch_size: int) -> Measurement:
    """Returns a measurement of the seconds that the CNN takes to classify 500 images."""
    model = CNN().to(best_device()).eval()
    images = torch.randint(256, (500, 3, 32, 32), dtype=torch.uint8, device=best_device())
    return seconds(torch.inference_mode()(lambda: [model(batch) for batch in images.split(batch_size)]))


def differences(measure: Callable[..., Tensor]) -> Measurement:
    """Measures the seconds of the mean differences of 100 images to 10 prototypes, and of their gradient."""
    images, prototypes = to_color_space(torch.rand(110, 3, 32, 32, device=best_device()), "cie76").split(100)
    prototypes = prototypes.clone().requires_grad_()
    return seconds(lambda: measure(images, prototypes, "cie76").sum().backward(), times=5)


def cdist(images: Tensor, prototypes: Tensor, delta: str) -> Tensor:
    """Computes the mean differences of cie76 by PyTorch's own pairwise distance, pixel by pixel."""
    pixels, targets = (colors.flatten(2).permute(2, 0, 1) for colors in (images, prototypes))
    return torch.cdist(pixels, targets, compute_mode="donot_use_mm_for_euclid_dist").mean(0)
